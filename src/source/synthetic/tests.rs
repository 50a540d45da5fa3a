//! The market's promises, over seeds.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Plays `count` publications; each with its moment.
fn publications(seed: u64, count: usize) -> Vec<(u64, usize, Kind, String)> {
    let mut market = Market::new(seed, 500);
    let publication = |_| {
        let due_us = market.due_us();
        let mut payload = Vec::new();
        let (instrument, kind) = market.publish(1_700_000_000_000 + due_us / 1000, &mut payload);
        (due_us, instrument, kind, String::from_utf8(payload).expect("UTF-8"))
    };
    (0..count).map(publication).collect()
}

/// A price or size in the listing's last decimal, read back from its text.
fn units(payload: &Value, name: &str, decimals: u32) -> u64 {
    let text = payload[name].as_str().unwrap_or_else(|| panic!("{name} is a string in {payload}"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert_eq!(fraction.len(), decimals as usize, "{text}");
    format!("{whole}{fraction}").parse().expect("digits")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn prices_are_positive_on_the_tick_and_trades_inside_the_spread(seed in any::<u64>()) {
        let mut best: HashMap<usize, (u64, u64)> = HashMap::new();
        for (due_us, instrument, kind, text) in publications(seed, 4_000) {
            let listing = &LISTINGS[instrument];
            prop_assert!(text.starts_with("{\"demo\":true,\"s\":\""), "{}", text);
            let payload: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(payload["s"].as_str(), Some(listing.symbol));
            prop_assert_eq!(payload["E"].as_u64(), Some(1_700_000_000_000 + due_us / 1000));
            let price = |name| units(&payload, name, listing.decimals);
            let size = |name| units(&payload, name, listing.size_decimals);
            match kind {
                Kind::Bbo => {
                    let (bid, ask) = (price("b"), price("a"));
                    prop_assert!(0 < bid && bid < ask, "{}", text);
                    prop_assert!(bid.is_multiple_of(listing.tick) && ask.is_multiple_of(listing.tick), "{}", text);
                    prop_assert!(size("B") > 0 && size("A") > 0, "{}", text);
                    best.insert(instrument, (bid, ask));
                }
                Kind::Trade => {
                    let (bid, ask) = best[&instrument];
                    let traded = price("p");
                    prop_assert!(bid <= traded && traded <= ask && traded.is_multiple_of(listing.tick), "{}", text);
                    prop_assert!(size("q") > 0, "{}", text);
                    prop_assert!(matches!(payload["side"].as_str(), Some("buy" | "sell")), "{}", text);
                }
            }
        }
        prop_assert_eq!(best.len(), LISTINGS.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_does_not(seed in any::<u64>()) {
        prop_assert_eq!(publications(seed, 500), publications(seed, 500));
        prop_assert_ne!(publications(seed, 500), publications(seed.wrapping_add(1), 500));
    }

    #[test]
    fn about_500_publications_a_second_at_irregular_moments(seed in any::<u64>()) {
        let publications = publications(seed, 20_000);
        let seconds = publications.last().unwrap().0 as f64 / 1e6;
        let rate = publications.len() as f64 / seconds;
        prop_assert!((470.0..530.0).contains(&rate), "{}", rate);
        let trades = publications.iter().filter(|(_, _, kind, _)| *kind == Kind::Trade).count() as f64;
        prop_assert!((0.25..0.31).contains(&(trades / publications.len() as f64)));
        prop_assert!(publications.is_sorted_by_key(|(due_us, ..)| *due_us));
        // Of exponential intervals about 1 - 1/e are below the mean.
        let short = publications.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 2_000).count() as f64;
        prop_assert!((0.60..0.67).contains(&(short / publications.len() as f64)));
    }
}

#[test]
fn every_instrument_has_its_prices_at_once_and_prices_move() {
    let publications = publications(7, 30_000);
    let opening = &publications[..LISTINGS.len()];
    for (place, (due_us, instrument, kind, _)) in opening.iter().enumerate() {
        assert_eq!((*due_us, *instrument, *kind), (0, place, Kind::Bbo));
    }
    for (place, listing) in LISTINGS.iter().enumerate() {
        let bids: std::collections::HashSet<u64> = publications
            .iter()
            .filter(|(_, instrument, kind, _)| *instrument == place && *kind == Kind::Bbo)
            .map(|(_, _, _, text)| units(&serde_json::from_str(text).unwrap(), "b", listing.decimals))
            .collect();
        assert!(bids.len() >= 4, "{}: {bids:?}", listing.symbol);
    }
}

#[test]
fn topics_are_the_prefix_the_kind_and_the_symbol() {
    let topics = topics("demo").expect("a prefix");
    assert_eq!(topics.len(), symbols().len());
    assert_eq!(topics[0].each_ref().map(TopicName::as_str), ["demo.bbo.BTC-USD", "demo.trades.BTC-USD"]);
}
