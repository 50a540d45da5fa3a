//! The hub against its twin, by random operations; and what only the hub's inside shows.

use proptest::prelude::*;

use super::twin::{ALL_ENCODINGS, CLIENTS, Operation, PATTERNS, Pair, TOPICS, Visit};
use super::*;

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let client = 0..CLIENTS;
    let topic = 0..TOPICS;
    let kind = prop_oneof![Just(PayloadKind::Json), Just(PayloadKind::Text), Just(PayloadKind::Binary)];
    let size = prop_oneof![30 => 0..80usize, 9 => 100..300usize, 1 => Just(66_000)];
    let encoding = prop::sample::select(ALL_ENCODINGS.to_vec());
    let bytes_max = prop_oneof![Just(0), 1..300usize, Just(usize::MAX)];
    let sent = prop_oneof![2 => Just(Some(1000)), 3 => (0..1000usize).prop_map(Some), 1 => Just(Some(0))];
    let sent_permille = prop_oneof![30 => sent, 1 => Just(None)];
    let visit = (client.clone(), bytes_max, sent_permille).prop_map(|(client, bytes_max, sent_permille)| Visit {
        client,
        bytes_max,
        sent_permille,
    });
    let operation = prop_oneof![
        12 => (topic.clone(), kind, size, prop::bool::weighted(0.15))
            .prop_map(|(topic, kind, size, begins)| Operation::Publish { topic, kind, size, begins }),
        6 => (client.clone(), topic.clone(), 0..8u64)
            .prop_map(|(client, topic, start)| Operation::Subscribe { client, topic, start }),
        2 => (client.clone(), topic.clone()).prop_map(|(client, topic)| Operation::Unsubscribe { client, topic }),
        4 => (client.clone(), 0..PATTERNS.len(), any::<bool>())
            .prop_map(|(client, pattern, last)| Operation::SubscribePattern { client, pattern, last }),
        2 => (client.clone(), 0..PATTERNS.len())
            .prop_map(|(client, pattern)| Operation::UnsubscribePattern { client, pattern }),
        4 => (1..3u32).prop_map(|rows_max| Operation::Tour { rows_max }),
        1 => client.clone().prop_map(|client| Operation::UnsubscribeAll { client }),
        1 => client.clone().prop_map(|client| Operation::Leave { client }),
        2 => (client.clone(), encoding).prop_map(|(client, encoding)| Operation::SwitchEncoding { client, encoding }),
        2 => (client, any::<bool>()).prop_map(|(client, blocked)| Operation::Block { client, blocked }),
        1 => topic.prop_map(|topic| Operation::Reopen { topic }),
        16 => prop::collection::vec(visit, 1..CLIENTS).prop_map(|visits| Operation::Turn { visits }),
    ];
    prop::collection::vec(operation, 1..150)
}

/// A derived ring is there while someone reads it. Of a topic's passing rows at most half are idle, and whoever lacks nothing of
/// what its patterns bring has no other.
fn check_derived(pair: &Pair) {
    let hub = &pair.hub;
    for id in &pair.ids {
        let topic = hub.topics.get(*id);
        let heard = topic.heard.as_ref().map_or(&[][..], |heard| &heard.rows);
        let rows = topic.members.iter().chain(heard.iter().filter(|row| !hub.registry.is_idle(**row)));
        assert_eq!(rows.clone().count(), topic.rows());
        assert!(heard.len() <= 2 * (topic.rows() - topic.members.len()), "idle rows are at most half");
        for encoding in ALL_ENCODINGS {
            let subscribed = rows.clone().filter(|row| hub.registry.get(**row).encoding() == encoding).count();
            let encoded = topic.encoded(encoding);
            assert_eq!(encoded.map_or(0, |encoded| encoded.subscriptions as usize), subscribed);
            assert_eq!(encoded.is_some(), subscribed > 0 || encoding == Encoding::Raw);
        }
        for row in heard.iter().filter(|row| !hub.registry.is_idle(**row)) {
            let is_behind = hub.registry.get(*row).cursor < topic.log().next();
            assert!(is_behind || hub.registry.is_noted(*row), "a row that a pattern brought is behind");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn equals_a_queue_per_subscriber(
        limits in prop::collection::vec((1..8u32, 20..700u32), TOPICS),
        torn_bytes_max in prop_oneof![0..300usize, Just(1 << 20)],
        operations in operations(),
    ) {
        let limits: Vec<RingLimits> =
            limits.into_iter().map(|(publications, bytes)| RingLimits { publications, bytes, age_ms: 0 }).collect();
        let mut pair = Pair::new(&limits, torn_bytes_max);
        for operation in operations {
            pair.apply(operation);
            check_derived(&pair);
        }
        pair.finish();
    }
}
