//! Stopping with five thousand subscribers.

use crate::alone;
use crate::common::{Gateway, PUBLISHING, frame};
use crate::members::{Came, Then, join, read_all};

const SUBSCRIBERS: usize = 5_000;
const PUBLICATIONS: usize = 3;

#[test]
fn five_thousand_subscribers_are_told_of_the_stop_and_closed_with_1001() {
    let _alone = alone();
    let mut gateway = Gateway::configured(PUBLISHING);
    let mut members = join(&gateway, "/stream?streams=md.a", SUBSCRIBERS / 2, None);
    let raw_from = members.len();
    members.extend(join(&gateway, "/ws/md.a", SUBSCRIBERS / 2, None));
    for number in 0..PUBLICATIONS {
        gateway.publish("md.a", &number.to_string());
    }
    gateway.terminate();
    // What was published before the stop comes before the close, and so does the announcement, to combined connections.
    let mut heard = vec![(0, 0); SUBSCRIBERS];
    read_all(&mut members, |index, came| {
        let Came::Frame(first, payload) = came else { panic!("{index} lost its connection before it was closed") };
        let (combined, text) = (index < raw_from, String::from_utf8_lossy(payload));
        let (published, announced) = &mut heard[index];
        if first == 0x88 {
            assert_eq!(&payload[..2], 1001u16.to_be_bytes(), "{index}: {text}");
            assert_eq!((*published, *announced), (PUBLICATIONS, usize::from(combined)), "{index} at its close");
            return Then::Stop;
        }
        if combined && text.starts_with("{\"e\":\"serverShutdown\",\"E\":") {
            *announced += 1;
        } else {
            let whole = format!("{{\"stream\":\"md.a\",\"o\":{},\"data\":{published}}}", *published + 1);
            assert_eq!(text, if combined { whole } else { published.to_string() }, "{index}");
            *published += 1;
        }
        Then::Read
    });
    // A gateway whose deadline has come does not wait for the answer.
    for mut member in members {
        std::io::Write::write_all(&mut member.stream, &frame(0x88, &1001u16.to_be_bytes())).ok();
    }
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
}
