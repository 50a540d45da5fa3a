//! Few bytes that ask for many: the past of a topic, over and over, and rates that each make a topic of their own.

use crate::common::figures::{comes_to, metric};
use crate::common::{Client, Gateway};
use crate::{Cost, Scene};

const PAYLOAD_BYTES: usize = 4000;
const HISTORY_BURST_BYTES: usize = 1_000_000;

fn payload() -> String {
    format!("{:?}", "x".repeat(PAYLOAD_BYTES))
}

/// One client asks for what there is and leaves it again, as long as it may; gives how often it was given all of `count`.
fn asks_again_and_again(gateway: &Gateway, stream: &str, count: usize) -> usize {
    let mut client = Client::connect(gateway, "/ws");
    let (name, _) = stream.split_once(';').expect("a stream with options");
    for round in 0..10 {
        let reply = client.ask("SUBSCRIBE", &format!("[\"{stream}\"]"));
        if reply.starts_with("{\"error\":{\"code\":8,") {
            assert!(reply.contains("history_burst_bytes"), "{reply}");
            // Of the present it may hear as before.
            assert_eq!(client.ask("SUBSCRIBE", &format!("[\"{name}\"]")), "{\"result\":null}");
            return round;
        }
        assert!(reply.starts_with("{\"result\":["), "{reply}");
        (0..count).for_each(|_| assert_eq!(client.text().len(), payload().len()));
        assert_eq!(client.ask("UNSUBSCRIBE", &format!("[\"{name}\"]")), "{\"result\":null}");
    }
    panic!("nothing bounds it")
}

/// `since` and `last` turn sixty bytes into a whole ring. Asked once, all of it is given; asked again and again, it has a pace.
#[test]
fn replay_amplification() {
    const COUNT: usize = 240;
    let limits = format!("[limits]\nhistory_burst_bytes = {HISTORY_BURST_BYTES}\nhistory_bytes_per_second = 1\n");
    let mut scene = Scene::new(&format!("{limits}[[topic]]\npattern = \"past.>\"\nring_bytes = 1048576\n"));
    let (epoch, _) = scene.gateway.publish("past.one", &payload());
    for number in 0..COUNT {
        scene.gateway.publish(&format!("past.many.t{number}"), &payload());
        if number > 0 {
            scene.gateway.publish("past.one", &payload());
        }
    }
    // What both shards hold of it, and while a ring grows half of it more; what one visit sends to each client.
    let rings = 2 * 2 * COUNT * (PAYLOAD_BYTES + 1024) * 3 / 2;
    let cost = Cost { resident_bytes: rings as u64 + Cost::clients(8, 1 << 20).resident_bytes, ..Cost::clients(8, 0) };
    scene.attack(cost, |gateway| {
        for _ in 0..4 {
            // Each time what was asked for is less than the burst, or the first.
            let whole = asks_again_and_again(gateway, &format!("past.one;since={epoch}:0"), COUNT);
            assert_eq!(whole, HISTORY_BURST_BYTES.div_ceil(COUNT * PAYLOAD_BYTES), "since");
            let newest = asks_again_and_again(gateway, "past.many.*;last", COUNT);
            assert_eq!(newest, HISTORY_BURST_BYTES.div_ceil(COUNT * PAYLOAD_BYTES), "last of a pattern");
        }
    });
}

/// Each rate of a topic is a topic of its own while somebody hears it: only those that are listed, and none for longer.
#[test]
fn rate_bomb() {
    const TOPICS: usize = 100;
    /// A topic with its name and a ring for what is published on it.
    const VARIANT_BYTES: u64 = 8 << 10;
    let mut scene = Scene::new(
        "[limits]\nreplica_linger_ms = 100\n[[topic]]\npattern = \"rates.>\"\nkind = \"state\"\nrates_ms = [100, 1000]\n",
    );
    let streams = |rate: &str| {
        let all: Vec<_> = (0..TOPICS).map(|topic| format!("\"rates.t{topic}{rate}\"")).collect();
        format!("[{}]", all.join(","))
    };
    let cost = Cost::clients(8, 2 * TOPICS as u64 * VARIANT_BYTES);
    scene.attack(cost, |gateway| {
        let before = metric(gateway, "topics", "");
        for client in 0..4 {
            let mut client = (client, Client::connect(gateway, "/ws"));
            for number in 0..90 {
                let rate_ms = 1 + client.0 * 90 + number;
                if rate_ms != 100 {
                    assert_eq!(
                        client.1.error("SUBSCRIBE", &streams(&format!(";rate={rate_ms}ms"))),
                        4,
                        "{rate_ms} is not listed"
                    );
                }
            }
        }
        let after = metric(gateway, "topics", "");
        assert!(after <= before, "{after} topics: nothing is made of what is not listed");
        let mut client = Client::connect(gateway, "/ws");
        for rate in [";rate=100ms", ";rate=1s"].repeat(20) {
            client.ask("SUBSCRIBE", &streams(rate));
            assert_eq!(client.ask("UNSUBSCRIBE", &streams("")), "{\"result\":null}");
        }
        drop(client);
        // The bystanders' topic is left, on both shards.
        comes_to(gateway, "topics", "", 2);
    });
}
