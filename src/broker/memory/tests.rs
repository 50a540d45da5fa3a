//! The stop, as the order of mail shows it.

use bytes::Bytes;

use super::*;
use crate::hub::{Payload, PayloadKind, TopicName};

/// What lies in a home's mailbox, by its kind.
fn kinds(post: &Post, home: u16) -> Vec<&'static str> {
    let kind = |mail| match mail {
        Mail::Pause => "pause",
        Mail::Barrier { .. } => "barrier",
        Mail::Publish { .. } => "publication",
        Mail::Finish => "finish",
        other => unreachable!("a stop sends no such mail: {other:?}"),
    };
    std::iter::from_fn(|| post.mailbox(home).take()).map(kind).collect()
}

/// A shard that takes its mail late may have taken a publication meanwhile, and mails it to a home that has the first
/// barrier already: the second one is behind it, and nobody is closed before that one is passed.
#[test]
fn a_stop_waits_for_what_a_shard_took_before_it_heard_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let post = Post::new(2, 64, &[]);
        let (mut memory, _handle) =
            Memory::new(post.clone(), &Config::default(), None, Arc::default()).expect("a bell can be made");
        memory.begin_stop(None);
        let publication = NewPublication::new(
            TopicName::parse("late").expect("it is a name"),
            Payload { bytes: Bytes::new(), kind: PayloadKind::Binary },
        );
        let late = Mail::Publish { from: 0, ticket: Ticket::Control(1), answer: false, publication };
        post.mailbox(1).send(late).expect("it has room");
        let first = memory.tokens_given;
        memory.drained(first);
        assert_eq!(kinds(&post, 1), ["pause", "barrier", "publication"], "the other shard has not passed the first");
        memory.drained(first);
        assert_eq!([kinds(&post, 0), kinds(&post, 1)], [vec!["pause", "barrier", "barrier"], vec!["barrier"]]);
        assert_ne!(memory.tokens_given, first);
        memory.drained(memory.tokens_given);
        assert_eq!([kinds(&post, 0), kinds(&post, 1)], [[""; 0]; 2], "one shard has passed the second, one has not");
        memory.drained(memory.tokens_given);
        assert_eq!([kinds(&post, 0), kinds(&post, 1)], [["finish"]; 2]);
    });
}
