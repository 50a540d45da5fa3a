//! Readings of our own in, answers out.

use super::*;

/// A reading at this second of both clocks, by which so much was published in all.
fn at(second: u64, publications: u64) -> Reading {
    let ms = second * 1_000;
    Reading {
        boot_ms: 5_000 + ms,
        unix_ms: 1_700_000_000_000 + ms,
        grown: Grown { publications, ..Grown::default() },
        ..Reading::default()
    }
}

fn history() -> History {
    History::new(0xabc, 2, Box::new([]))
}

const NOW: Now = Now { boot_ms: 9_000, unix_ms: 1_700_000_004_000 };

fn filled(readings: impl IntoIterator<Item = Reading>) -> History {
    let mut history = history();
    readings.into_iter().for_each(|reading| history.push(reading));
    history
}

fn publications(history: &History) -> Value {
    history.answer(None, 0, NOW)["publications"].take()
}

#[test]
fn a_rate_is_what_grew_over_the_time_that_passed() {
    let mut late = at(2, 1_300);
    (late.boot_ms, late.unix_ms) = (late.boot_ms + 500, late.unix_ms + 500);
    let history = filled([at(0, 700), at(1, 1_000), late, at(3, 1_301)]);
    assert_eq!(publications(&history), json!([null, 300.0, 200.0, 2.0]));
}

#[test]
fn nothing_is_zero_and_not_missing() {
    let answer = filled([at(0, 0), at(1, 0)]).answer(None, 0, NOW);
    for series in ["publications", "deliveries", "bytes_out", "bytes_in"] {
        assert_eq!(answer[series], json!([null, 0.0]), "{series}");
    }
    assert_eq!((&answer["latencies"], &answer["lags"]), (&json!([null, []]), &json!([[], []])));
    assert_eq!((&answer["connections"], &answer["threads"]), (&json!([0, 0]), &json!(["shard 0", "shard 1", "control"])));
    let empty = history().answer(None, 0, NOW);
    assert_eq!((&empty["next"], &empty["at_ms"], &empty["publications"]), (&json!(0), &json!([]), &json!([])));
}

#[test]
fn there_is_a_hole_where_the_process_slept_or_a_clock_was_set() {
    let slept = filled([at(0, 0), at(1, 10), at(31, 9_000), at(32, 9_010)]);
    assert_eq!(publications(&slept), json!([null, 10.0, null, 10.0]));
    for (forwards, by_ms) in [(true, 3_600_000), (false, 3_600_000), (true, 501), (false, 501)] {
        let set = |mut reading: Reading| {
            reading.unix_ms = if forwards { reading.unix_ms + by_ms } else { reading.unix_ms - by_ms };
            reading
        };
        let history = filled([at(0, 0), at(1, 10), set(at(2, 20)), set(at(3, 30))]);
        assert_eq!(publications(&history), json!([null, 10.0, null, 10.0]), "{forwards} {by_ms}");
    }
    let twice_at_once = filled([at(1, 0), at(1, 5), at(2, 6)]);
    assert_eq!(publications(&twice_at_once), json!([null, null, 1.0]));
    let backwards = filled([at(2, 0), at(1, 5)]);
    assert_eq!(publications(&backwards), json!([null, null]));
}

#[test]
fn ten_minutes_are_kept_and_only_what_is_new_is_told() {
    let mut history = history();
    for second in 0..=KEPT as u64 + 5 {
        history.push(at(second, second * second));
        assert!(history.samples.len() <= KEPT);
    }
    let next = KEPT as u64 + 6;
    let told = |run, since| {
        let answer = history.answer(run, since, NOW);
        let (first, until) = (answer["first"].as_u64().unwrap(), answer["next"].as_u64().unwrap());
        assert_eq!((answer["at_ms"].as_array().unwrap().len() as u64, until), (until - first, next));
        first
    };
    assert_eq!(told(None, 0), 6);
    assert_eq!(told(Some("abc"), 0), 6, "what is gone is left out");
    assert_eq!(told(Some("abc"), next - 1), next - 1);
    assert_eq!(told(Some("abc"), next), next, "nothing is new");
    assert_eq!(told(Some("abc"), u64::MAX), next);
    assert_eq!(told(Some("another"), next), 6, "after a restart all is new");
    // The naive twin: every reading is kept, and the last are looked at.
    let naive: Vec<f64> = (6..next).map(|second| (second * second - (second - 1) * (second - 1)) as f64).collect();
    assert_eq!(publications(&history), json!(naive));
}

#[test]
fn latencies_lags_and_feeds_are_told_where_they_are_not_zero() {
    let feed = Arc::new(FeedMetrics::new("upstream", "wss://a", 2));
    let mut history = History::new(1, 1, Box::new([feed.clone()]));
    let mut reading = at(0, 0);
    (reading.latencies[3], reading.feeds) = (7, [4].into());
    history.push(reading.clone());
    let mut reading = Reading { latencies: reading.latencies, ..at(1, 0) };
    reading.latencies[3] += 2;
    reading.latencies[21] += 1;
    (reading.lags[6], reading.feeds) = (9, [10].into());
    history.push(reading);
    let answer = history.answer(None, 0, NOW);
    assert_eq!(answer["latencies"], json!([null, [[3, 2], [21, 1]]]));
    assert_eq!(answer["lags"], json!([[], [[6, 9]]]));
    assert_eq!(answer["messages"], json!([[null, 6.0]]));
    assert_eq!(answer["feeds"][0]["age_ms"], Value::Null, "nothing came yet");
    feed.came(3, NOW.unix_ms - 250);
    let answer = history.answer(None, 0, NOW);
    assert_eq!((&answer["feeds"][0]["age_ms"], &answer["feeds"][0]["messages"]), (&json!(250), &json!(3)));
    let behind = Now { unix_ms: NOW.unix_ms - 1_000, ..NOW };
    assert_eq!(history.answer(None, 0, behind)["feeds"][0]["age_ms"], json!(0), "a clock was set back");
}

#[test]
fn a_thread_is_busy_for_a_share_of_the_time() {
    let with = |second, times: [Option<(u64, u64)>; 3]| Reading {
        threads: times.map(|time| time.map(|(ran_ns, waited_ns)| ThreadTime { ran_ns, waited_ns })).into(),
        ..at(second, 0)
    };
    let before = with(0, [Some((1_000_000, 0)), Some((0, 0)), None]);
    let after = with(1, [Some((251_000_000, 10_000_000)), Some((5_000_000_000, 0)), Some((0, 0))]);
    let answer = filled([before, after]).answer(None, 0, NOW);
    assert_eq!(answer["busy"], json!([[null, 250], [null, 1_000], [null, null]]));
    assert_eq!(answer["waited"], json!([[null, 10], [null, 0], [null, null]]));
}
