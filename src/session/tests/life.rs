//! Deadlines, rates, pongs, errors, closes.

use super::{Client, UNIX_MS, client_frame, rules};
use crate::hub::{Epoch, Position};
use crate::metrics::CloseClass;
use crate::session::{Answer, Effect, Expiry};
use crate::ws::CloseCode;
use crate::ws::frame::Opcode;

pub(super) const SECOND_US: u64 = 1_000_000;

impl Client {
    /// The clock runs to the session's deadline and a little short of it.
    #[track_caller]
    pub(super) fn expire(&mut self) -> Expiry {
        let due_us = self.session.deadline_us(&self.rules);
        assert!(due_us > self.now_us, "a deadline lies ahead");
        self.now_us = due_us - 1;
        assert_eq!(self.session.expire(&self.rules, self.moment()), Expiry::NotYet { due_us }, "not a moment early");
        self.now_us = due_us;
        self.session.expire(&self.rules, self.moment())
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_408_and_then_reset() {
    let mut client = Client::new(rules());
    assert!(client.say(b"GET /ws HTTP/1.1\r\n").is_none());
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    assert_eq!(client.now_us, 5 * SECOND_US);
    assert!(client.take_owed().starts_with(b"HTTP/1.1 408 "));
    assert_eq!(client.expire(), Expiry::Reset);
}

#[test]
fn a_refused_client_has_its_time_to_leave_from_the_refusal_on() {
    let mut client = Client::new(rules());
    client.now_us = 4 * SECOND_US;
    assert!(client.say(b"nonsense\r\n\r\n").is_none());
    assert_eq!(client.expire(), Expiry::Reset);
    assert_eq!(client.now_us, 9 * SECOND_US);
}

#[test]
fn between_two_requests_a_connection_ends_in_order() {
    let mut client = Client::new(rules());
    assert!(client.say(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").is_none());
    client.take_owed();
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    assert_eq!((client.session.close_class(), client.take_owed().len()), (Some(CloseClass::Normal), 0));
}

#[test]
fn a_client_of_events_gets_a_comment_every_15_s_unless_it_has_yet_to_take_one() {
    let mut client = Client::new(rules());
    let request = b"GET /sse?streams=a HTTP/1.1\r\nHost: localhost\r\n\r\nGET / and more";
    assert!(matches!(client.say(request), Some(Effect::Admit { .. })));
    client.session.admit(&[]);
    assert!(client.take_owed().ends_with(b"\r\nConnection: close\r\n\r\n"));
    for tick in 1..10 {
        assert!(matches!(client.expire(), Expiry::Owes { .. }));
        assert_eq!(client.now_us, tick * 15 * SECOND_US);
        if tick % 3 == 0 {
            assert_eq!(client.take_owed(), b":\n\n");
        }
    }
    client.session.close(CloseCode::TRY_AGAIN_LATER, "too slow", CloseClass::Lag, client.now_us);
    assert_eq!((client.session.owed(), client.session.is_ending()), (&b""[..], true));
}

#[test]
fn a_silent_client_is_pinged_and_then_reset() {
    let mut client = Client::open(rules(), "/ws");
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    // A fifth either way.
    assert!((20 * SECOND_US..=30 * SECOND_US).contains(&client.now_us));
    assert_eq!(client.take_frames(), [(0x89, Vec::new())]);
    let pinged_us = client.now_us;
    // Until the ping's bytes have arrived its client is not expected to answer, however long that takes.
    for (number, first) in [true, false, false].into_iter().enumerate() {
        assert!(matches!(client.expire(), Expiry::Asks { first: is_first, .. } if is_first == first));
        assert_eq!(client.now_us, pinged_us + (number as u64 + 1) * SECOND_US);
    }
    client.session.ping_acknowledged(client.now_us);
    let arrived_us = client.now_us;
    assert_eq!(client.expire(), Expiry::Reset);
    assert_eq!(client.now_us, arrived_us + 8 * SECOND_US);
    assert_eq!(client.session.close_class(), Some(CloseClass::Timeout));
}

#[test]
fn a_ping_that_was_not_sent_yet_is_not_asked_about() {
    let mut client = Client::open(rules(), "/ws");
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    assert!(matches!(client.expire(), Expiry::NotYet { .. }) && !client.session.is_asked_of_ping());
    client.take_owed();
    assert!(matches!(client.expire(), Expiry::Asks { first: true, .. }));
    // It answers before the kernel does.
    client.frame(Opcode::Pong, b"");
    client.session.ping_acknowledged(client.now_us);
    assert!(client.session.deadline_us(&client.rules) >= client.now_us + 20 * SECOND_US);
}

#[test]
fn whatever_comes_answers_a_ping() {
    let mut client = Client::open(rules(), "/ws");
    for opcode in [Opcode::Pong, Opcode::Ping] {
        assert!(matches!(client.expire(), Expiry::Owes { .. }));
        client.now_us += SECOND_US;
        client.frame(opcode, b"");
        client.take_owed();
        assert!(client.session.deadline_us(&client.rules) >= client.now_us + 20 * SECOND_US);
    }
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    client.now_us += SECOND_US;
    client.session.took_bytes(client.now_us);
    assert_eq!(client.session.deadline_us(&client.rules), client.now_us + SECOND_US, "taking a backlog is a sign of life");
}

#[test]
fn a_message_that_began_must_end() {
    let mut client = Client::open(rules(), "/ws");
    let bytes = client_frame(Opcode::Text, br#"{"method":"PING","id":1}"#);
    // A byte every ten seconds does not put it off.
    assert!(client.say(&bytes[..8]).is_none());
    for at in 8..10 {
        client.now_us += 10 * SECOND_US;
        assert!(client.say(&bytes[at..=at]).is_none());
    }
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    assert_eq!((client.now_us, client.take_close()), (30 * SECOND_US, 1008));
}

#[test]
fn a_close_frame_that_nobody_answers_ends_in_a_reset() {
    for (class, code) in [(CloseClass::GoingAway, CloseCode::GOING_AWAY), (CloseClass::Lag, CloseCode::TRY_AGAIN_LATER)] {
        let mut rules = rules();
        (rules.limits.close_timeout_ms, rules.limits.close_deadline_ms) = (1_000, 2_000);
        let mut client = Client::open(rules, "/ws");
        client.session.close(code, "", class, client.now_us);
        assert_eq!(client.take_close(), code.0);
        assert_eq!(client.expire(), Expiry::Reset);
        assert_eq!(client.now_us, if class == CloseClass::Lag { 2 } else { 1 } * SECOND_US);
    }
}

#[test]
fn a_close_is_echoed_with_its_code() {
    for body in [&b""[..], b"\x03\xe8", b"\x0f\xa0bye"] {
        let mut client = Client::open(rules(), "/ws");
        assert!(client.frame(Opcode::Close, body).is_none());
        assert_eq!(client.take_frames(), [(0x88, body[..body.len().min(2)].to_vec())]);
        assert!(client.session.is_ending());
        assert!(client.text(r#"{"method":"PING"}"#).is_none() && client.take_owed().is_empty(), "what comes behind is nothing");
    }
}

#[test]
fn nothing_is_owed_behind_a_close_frame() {
    let mut client = Client::open(rules(), "/ws");
    let effect = client.text(r#"{"method":"PUBLISH","params":["pub.a",1],"id":7}"#);
    let Some(Effect::Publish { answer: Answer::Reply(id), .. }) = effect else { panic!("{effect:?}") };
    client.session.close(CloseCode::TRY_AGAIN_LATER, "", CloseClass::Lag, 0);
    client.session.published(&id, Position { epoch: Epoch::from_number(1), offset: 1 });
    client.session.announce_shutdown(0, 0);
    client.session.close(CloseCode::GOING_AWAY, "", CloseClass::GoingAway, 0);
    assert_eq!(client.take_frames(), [(0x88, vec![0x03, 0xf5])]);
}

#[test]
fn of_pings_that_find_much_owed_the_newest_is_answered() {
    let mut rules = rules();
    (rules.limits.requests_burst, rules.limits.requests_per_second) = (10_000, 10_000);
    let mut client = Client::open(rules, "/ws");
    const PINGS: u32 = 2_000;
    (0..PINGS).for_each(|number| assert!(client.frame(Opcode::Ping, &number.to_be_bytes()).is_none()));
    assert!(client.session.owed().len() < 5_000, "pongs are bounded: {}", client.session.owed().len());
    let pongs = client.take_frames();
    assert!(pongs.iter().all(|(first, _)| *first == 0x8a));
    let numbers: Vec<u32> = pongs.iter().map(|(_, body)| u32::from_be_bytes(body[..].try_into().expect("four"))).collect();
    assert!(numbers.is_sorted() && numbers[0] == 0 && numbers.last() == Some(&(PINGS - 1)));
}

#[test]
fn requests_beyond_the_rate_get_error_8_until_the_bucket_fills_again() {
    let mut client = Client::open(rules(), "/ws");
    for number in 0..200 {
        assert!(client.text(r#"{"method":"PING","id":1}"#).is_none());
        assert_eq!(client.take_text(), format!(r#"{{"result":{{"time":{UNIX_MS}}},"id":1}}"#), "request {number}");
    }
    assert!(client.text(r#"{"method":"PING","id":2}"#).is_none());
    let text = client.take_text();
    assert!(text.starts_with(r#"{"error":{"code":8,"#) && text.ends_with(r#","id":2}"#), "{text}");
    client.now_us += SECOND_US / 20;
    assert!(client.text(r#"{"method":"PING","id":3}"#).is_none());
    assert!(client.take_text().starts_with(r#"{"result":"#));
}

#[test]
fn echoed_messages_beyond_the_rate_close_with_1008() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut client = Client::open(rules(), "/echo");
        for _ in 0..200 {
            assert!(client.frame(opcode, b"x").is_none());
            assert_eq!(client.take_frames().len(), 1);
        }
        assert!(client.frame(opcode, b"x").is_none());
        assert_eq!(client.take_close(), 1008);
    }
}

#[test]
fn of_pings_beyond_the_rate_the_newest_is_answered_with_the_next_token() {
    let mut client = Client::open(rules(), "/ws");
    (0..200).for_each(|_| drop(client.frame(Opcode::Ping, b"within")));
    assert_eq!(client.take_frames().len(), 200);
    for payload in [&b"first"[..], b"second", b"newest"] {
        assert!(client.frame(Opcode::Ping, payload).is_none());
        assert!(client.take_owed().is_empty(), "there is no token for it");
    }
    assert!(matches!(client.expire(), Expiry::Owes { .. }));
    assert_eq!((client.now_us, client.take_frames()), (SECOND_US / 20, vec![(0x8a, b"newest".to_vec())]));
    // The token went to it; what comes now waits again, unless a later ping overtakes it with a token of its own.
    assert!(client.frame(Opcode::Ping, b"overtaken").is_none());
    client.now_us += SECOND_US / 20;
    assert!(client.frame(Opcode::Ping, b"with a token").is_none());
    assert_eq!(client.take_frames(), [(0x8a, b"with a token".to_vec())]);
    assert!(client.session.deadline_us(&client.rules) > client.now_us + SECOND_US, "nothing is late any more");
}

#[test]
fn a_hundred_pings_in_a_row_beyond_the_rate_are_borne_and_one_more_closes_with_1008() {
    let mut client = Client::open(rules(), "/ws");
    for round in 0..3 {
        while client.session.pong_due_us().is_none() {
            assert!(client.frame(Opcode::Ping, b"x").is_none());
            client.take_frames();
        }
        (1..100).for_each(|_| drop(client.frame(Opcode::Ping, b"x")));
        assert!(!client.session.is_ending(), "round {round}");
        if round < 2 {
            client.expire();
        }
    }
    assert!(client.frame(Opcode::Ping, b"x").is_none());
    assert_eq!(client.take_close(), 1008);
}

#[test]
fn a_torn_frame_has_its_own_time_however_long_ago_the_last_message_was() {
    let mut client = Client::open(rules(), "/ws");
    client.now_us += 3600 * SECOND_US;
    let ping = client_frame(Opcode::Ping, b"torn");
    let message = client_frame(Opcode::Text, br#"{"method":"PING","id":1}"#);
    for bytes in [&ping, &message] {
        for cut in [1, 3, 6, 8] {
            client.now_us += 60 * SECOND_US;
            assert!(client.say(&bytes[..cut]).is_none());
            let due_us = client.session.deadline_us(&client.rules);
            assert!(due_us >= client.now_us + 20 * SECOND_US, "cut at {cut}: {} us are left", due_us - client.now_us);
            assert!(client.say(&bytes[cut..]).is_none());
            assert_eq!(client.take_frames().len(), 1);
        }
    }
}

#[test]
fn a_hundred_errors_in_a_row_close_with_1008() {
    let mut client = Client::open(rules(), "/ws");
    for round in 0..2 {
        for _ in 0..99 {
            client.now_us += SECOND_US;
            assert!(client.text("nonsense").is_none());
            assert_eq!(client.take_text().find(r#"{"error":{"code":1,"#), Some(0));
        }
        if round == 0 {
            client.text(r#"{"method":"PING"}"#);
            assert!(client.take_text().starts_with(r#"{"result":"#), "a good one in between begins the count anew");
        }
    }
    client.text("nonsense");
    assert_eq!(client.take_close(), 1008);
}

#[test]
fn a_subscriber_that_sends_bytes_is_closed_with_1003_and_a_wrong_frame_with_its_code() {
    let check = |frame: &[u8], code: u16| {
        let mut client = Client::open(rules(), "/ws");
        assert!(client.say(frame).is_none());
        assert_eq!(client.take_close(), code);
    };
    check(&client_frame(Opcode::Binary, b"x"), 1003);
    check(&client_frame(Opcode::Text, b"\xff"), 1007);
    check(&client_frame(Opcode::Text, &vec![b'x'; (64 << 10) + 1]), 1009);
    check(&[0x81, 0x01, b'x'], 1002);
    check(&[0xc1, 0x80, 0, 0, 0, 0], 1002);
}

#[test]
fn whoever_does_not_take_its_replies_is_congested_until_it_does() {
    let mut rules = rules();
    rules.limits.reply_bytes_max = 100;
    let mut client = Client::open(rules, "/ws");
    let mut requests = 0;
    while !client.session.is_congested(&client.rules) {
        client.text(r#"{"method":"PING","id":1}"#);
        requests += 1;
    }
    assert!(requests > 1 && client.session.owed().len() > 100);
    client.session.owed_went(client.session.owed().len() - 100);
    assert!(!client.session.is_congested(&client.rules));
}

#[test]
fn publishers_are_closed_for_what_they_may_not_publish() {
    let mut client = Client::open(rules(), "/publish/pub.a");
    let effect = client.frame(Opcode::Binary, b"\x00");
    assert!(matches!(effect, Some(Effect::Publish { answer: Answer::None, .. })), "{effect:?}");
    for message in [r#"{"stream":"other","o":1,"data":1}"#, "nonsense"] {
        let mut client = Client::open(rules(), "/publish");
        assert!(client.text(message).is_none());
        assert_eq!(client.take_close(), 1008);
    }
    let mut client = Client::open(rules(), "/ws");
    assert!(client.text(r#"{"method":"PUBLISH","params":["other",1],"id":1}"#).is_none());
    assert!(client.take_text().starts_with(r#"{"error":{"code":4,"#));
}
