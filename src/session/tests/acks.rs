//! What publishers with `?ack=1` are told, and when.

use super::life::SECOND_US;
use super::{Client, rules};
use crate::metrics::CloseClass;
use crate::session::{Answer, Effect, Expiry};
use crate::ws::CloseCode;
use crate::ws::frame::Opcode;

impl Client {
    fn counting(path: &str) -> Client {
        Client::open(rules(), &format!("{path}?ack=1"))
    }

    /// Sends so many messages; each goes on its way with its number.
    #[track_caller]
    fn publish(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for expected in numbers {
            let effect = self.text(r#"{"stream":"pub.a","data":1}"#);
            let is_expected = matches!(effect, Some(Effect::Publish { answer: Answer::Count(number), .. }) if number == expected);
            assert!(is_expected, "{expected}: {effect:?}");
            self.session.acknowledge(self.now_us);
        }
    }

    fn taken(&mut self, number: u64) {
        self.session.taken(number, self.now_us);
        self.session.acknowledge(self.now_us);
    }

    /// What it is told: counts, then perhaps the code of a close.
    fn take_told(&mut self) -> (Vec<String>, Option<u16>) {
        let mut frames = self.take_frames();
        let close = frames.pop_if(|(first, _)| *first == 0x88).map(|(_, body)| u16::from_be_bytes([body[0], body[1]]));
        let texts = frames.into_iter().map(|(first, body)| {
            assert_eq!(first, 0x81);
            String::from_utf8(body).expect("text is UTF-8")
        });
        (texts.collect(), close)
    }
}

fn ack(count: u64) -> Vec<String> {
    vec![format!("{{\"ack\":{count}}}")]
}

#[test]
fn the_count_comes_once_nothing_is_on_its_way_and_else_within_a_second() {
    for path in ["/publish/pub.a", "/publish"] {
        let mut client = Client::counting(path);
        client.publish(1..=4);
        client.taken(2);
        client.taken(1);
        assert_eq!(client.take_told(), (vec![], None));
        assert!(matches!(client.expire(), Expiry::Owes { .. }));
        assert_eq!((client.now_us, client.take_told()), (SECOND_US, (ack(2), None)));
        client.taken(3);
        assert_eq!(client.take_told(), (vec![], None));
        client.taken(4);
        assert_eq!(client.take_told(), (ack(4), None));
        client.publish([5]);
        client.taken(5);
        assert_eq!((client.now_us, client.take_told()), (SECOND_US, (ack(5), None)));
    }
}

#[test]
fn a_client_that_does_not_read_is_owed_one_count() {
    let mut client = Client::counting("/publish");
    for number in 1..1000 {
        client.publish([number]);
        client.taken(number);
    }
    assert!(client.session.owed().len() < 20);
    assert_eq!(client.take_told(), (ack(1), None));
    client.session.acknowledge(client.now_us);
    assert_eq!(client.take_told(), (ack(999), None));
}

#[test]
fn what_is_refused_is_never_counted_nor_what_comes_behind_it() {
    let mut client = Client::counting("/publish");
    client.publish(1..=4);
    client.taken(1);
    client.taken(4);
    client.session.refused(3, client.now_us);
    client.session.close(CloseCode::TRY_AGAIN_LATER, "full", CloseClass::Policy, client.now_us);
    assert_eq!(client.take_told(), (vec![], None), "what became of the second is not known yet");
    assert!(client.text("{}").is_none(), "what comes is thrown away");
    client.taken(2);
    assert_eq!(client.take_told(), (ack(2), Some(1013)));
    client.taken(4);
    assert!(client.session.is_ending() && client.take_owed().is_empty());
}

#[test]
fn a_message_that_cannot_be_read_closes_behind_the_count() {
    let mut client = Client::counting("/publish");
    client.publish(1..=2);
    assert!(client.text("nonsense").is_none());
    client.taken(1);
    assert_eq!(client.take_told(), (vec![], None));
    client.taken(2);
    assert_eq!(client.take_told(), (ack(2), Some(1008)));
}

#[test]
fn the_reply_to_a_close_frame_comes_behind_the_last_count() {
    let mut client = Client::counting("/publish/pub.a");
    client.publish(1..=2);
    assert!(client.frame(Opcode::Close, &1000u16.to_be_bytes()).is_none());
    // Its end of the stream is no news, and whoever closes it now is late.
    client.session.ended_by_peer(client.now_us);
    client.session.close(CloseCode::GOING_AWAY, "", CloseClass::GoingAway, client.now_us);
    assert!(client.take_owed().is_empty() && !client.session.is_ending());
    client.taken(1);
    client.taken(2);
    assert_eq!(client.take_told(), (ack(2), Some(1000)));
    assert_eq!(client.session.close_class(), Some(CloseClass::Normal));
}

#[test]
fn a_close_waits_a_bounded_time() {
    let mut client = Client::counting("/publish");
    client.publish(1..=3);
    assert!(client.frame(Opcode::Close, &1000u16.to_be_bytes()).is_none());
    client.taken(1);
    while !client.session.is_ending() {
        assert!(matches!(client.expire(), Expiry::Owes { .. }));
    }
    assert_eq!(client.now_us, 5 * SECOND_US);
    assert_eq!(client.take_told(), (ack(1), Some(1000)));
}

#[test]
fn publishers_that_did_not_ask_are_not_counted() {
    let mut client = Client::open(rules(), "/publish");
    for _ in 0..3 {
        let effect = client.text(r#"{"stream":"pub.a","data":1}"#);
        assert!(matches!(effect, Some(Effect::Publish { answer: Answer::None, .. })), "{effect:?}");
    }
    client.session.taken(1, 0);
    client.session.acknowledge(SECOND_US);
    assert!(client.take_owed().is_empty());
    assert!(client.frame(Opcode::Close, &1000u16.to_be_bytes()).is_none());
    assert_eq!(client.take_told(), (vec![], Some(1000)));
}
