// The arithmetic of the operator's page without a browser: `node --test tests/page/operator_unit.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";

const { address, bytes, classes, count, decades, duration, exact, linear_axis, percent, quantile, round_up, time_steps } = await import("../../src/page/operator/scale.js");
const { APART_MS_MAX, History, latencies_of, nearest, stretches } = await import("../../src/page/operator/history.js");

test("an axis begins at 0, holds what there is, and its steps are round", () => {
  const of = (max, options) => linear_axis(max, options).ticks;
  assert.deepEqual(of(0), [0, 0.5, 1]);
  assert.deepEqual(of(NaN, { least: 10 }), [0, 5, 10]);
  assert.deepEqual(of(-Infinity, { least: 4, whole: true }), [0, 1, 2, 3, 4]);
  assert.deepEqual(of(7), [0, 2, 4, 6, 8]);
  assert.deepEqual(of(8), [0, 2, 4, 6, 8]);
  assert.deepEqual(of(1000, { count: 5 }), [0, 200, 400, 600, 800, 1000]);
  assert.deepEqual(of(10_000), [0, 5000, 10_000]);
  assert.deepEqual(of(2, { whole: true, least: 1 }), [0, 1, 2]);
  assert.deepEqual(of(1024, { base: 1024 }), [0, 512, 1024]);
  assert.deepEqual(of(3.2 * 2 ** 20, { base: 1024 }), [0, 1, 2, 3, 4].map((mib) => mib * 2 ** 20));
  assert.deepEqual(of(1000 * 2 ** 10, { base: 1024 }), [0, 500 * 2 ** 10, 1000 * 2 ** 10]);
});

test("whatever is to be shown, there are few ticks, evenly apart, and the last is the least that holds it", () => {
  for (let exponent = -3; exponent < 13; exponent += 0.037)
    for (const base of [10, 1024])
      for (const steps of [2, 3, 4, 6]) {
        const max = 10 ** exponent, { top, ticks } = linear_axis(max, { count: steps, base, least: 1e-3 }), step = ticks[1];
        assert.ok(ticks.length >= 2 && ticks.length <= steps + 1, `${max}: ${ticks}`);
        assert.ok(top >= max * (1 - 1e-9) && ticks.at(-2) < max, `${max}: ${ticks}`);
        ticks.forEach((tick, at) => assert.ok(Math.abs(tick - at * step) <= step * 1e-9));
        const unit = base === 1024 && max > 1 ? 1024 ** Math.floor(Math.log(max) / Math.log(1024) + 1e-9) : 1;
        assert.match((step / unit).toExponential(9), /^[125]\.0+e/, `${max}: a step of ${step}`);
      }
  assert.deepEqual([0.3, 1, 1.1, 2, 4.9, 5.1, 99, 100].map(round_up), [0.5, 1, 2, 2, 5, 10, 100, 100]);
});

test("powers of ten and minutes that fit", () => {
  assert.deepEqual(decades(10, 1e6), [10, 100, 1e3, 1e4, 1e5, 1e6]);
  assert.deepEqual(decades(20, 5120), [10, 100, 1e3, 1e4]);
  assert.deepEqual(decades(1000, 1000), [1000, 10_000]);
  assert.deepEqual(time_steps(600_000, 5), [0, 120_000, 240_000, 360_000, 480_000, 600_000]);
  assert.deepEqual(time_steps(600_000, 3), [0, 300_000, 600_000]);
  assert.deepEqual(time_steps(60_000, 4), [0, 15_000, 30_000, 45_000, 60_000]);
  assert.deepEqual(time_steps(600_000, 1), [0, 600_000]);
});

test("figures bear their unit, and nothing is never NaN", () => {
  const say = (form, ...values) => values.map(form);
  assert.deepEqual(say(count, 0, 0.5, 7, 999, 999.4, 999.6, 1000, 1234, 12_345, 1e6, 2.5e9), ["0", "0.5", "7", "999", "999", "1 k", "1 k", "1.23 k", "12.3 k", "1 M", "2.5 G"]);
  assert.deepEqual(say(bytes, 0, 1023, 1024, 1536, 2 ** 20, 5 * 2 ** 30), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "5 GiB"]);
  assert.deepEqual(say(duration, 0, 10, 1280, 10_240, 1e6, 10_485_760, 150e6, 900e6), ["0 µs", "10 µs", "1.28 ms", "10.2 ms", "1 s", "10.5 s", "150 s", "15 min"]);
  assert.deepEqual(say(percent, 0, 0.012, 0.5, 1), ["0 %", "1.2 %", "50 %", "100 %"]);
  assert.deepEqual(say(exact, 0, 1234567.89), ["0", "1,234,567.9"]);
  for (const form of [count, bytes, duration, percent, exact]) assert.deepEqual(say(form, NaN, undefined, Infinity), ["–", "–", "–"]);
});

test("a quantile is where so many are below, within the bucket's bounds", () => {
  const bounds = [10, 20, 40];
  assert.ok(Number.isNaN(quantile([0, 0, 0, 0], bounds, 0.5)));
  assert.deepEqual([0.25, 0.5, 1].map((share) => quantile([4, 0, 0, 0], bounds, share)), [2.5, 5, 10]);
  assert.deepEqual([0.5, 0.75, 1].map((share) => quantile([2, 0, 2, 0], bounds, share)), [10, 30, 40]);
  assert.equal(quantile([1, 0, 0, 9], bounds, 0.99), 40, "beyond the last bound nothing is known but that");
  // The naive twin: durations themselves, sorted.
  let seed = 7;
  const random = () => (seed = seed * 48271 % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round++) {
    const all = Array.from({ length: 1 + Math.floor(random() * 50) }, () => random() * 40).sort((a, b) => a - b), counts = [0, 0, 0, 0];
    for (const one of all) counts[bounds.findIndex((bound) => one <= bound)]++;
    for (const share of [0.5, 0.99, 1]) {
      const found = quantile(counts, bounds, share), naive = all[Math.ceil(share * all.length) - 1], bucket = bounds.findIndex((bound) => naive <= bound);
      assert.ok(found <= bounds[bucket] && found >= (bucket ? bounds[bucket - 1] : 0), `${share} of ${all}: ${found}, ${naive}`);
    }
  }
});

test("classes between bounds are in words", () => {
  assert.deepEqual(classes([1, 10, 100, 1000, 10_000, 100_000]), ["1", "2–10", "11–100", "101–1 k", "1 k–10 k", "10 k–100 k", "over 100 k"]);
});

const answer = (run, first, at_ms, publications, more = {}) => ({
  run, first, next: first + at_ms.length, interval_ms: 1000, now_ms: at_ms.at(-1) + 100, threads: ["shard 0", "control"], feeds: [], latency_bounds_us: [10, 20], lag_bounds: [1],
  at_ms, unix_ms: at_ms.map((ms) => 1_700_000_000_000 + ms), connections: at_ms.map(() => 0), subscriptions: at_ms.map(() => 0), publications, deliveries: publications, bytes_out: publications, bytes_in: publications,
  latencies: at_ms.map((_, at) => publications[at] === null ? null : [[1, 2]]), lags: at_ms.map(() => [[1, 3]]), busy: [at_ms.map(() => 250), at_ms.map(() => null)], waited: [at_ms.map(() => 0), at_ms.map(() => null)], messages: [], ...more,
});

test("samples stand at this page's times, and only what is new is asked for", () => {
  const history = new History(600_000);
  assert.equal(history.query, "");
  history.take(answer("a", 0, [5000, 6000], [null, 4]), 900_000);
  assert.equal(history.query, "?run=a&since=2");
  // Later than the first took: the same clock, so the same distance.
  history.take(answer("a", 2, [7000], [5]), 901_030);
  assert.deepEqual(history.entries.map(({ at }) => at), [898_900, 899_900, 900_900]);
  // Sooner: so the others were late.
  history.take(answer("a", 3, [], [], { now_ms: 7200 }), 901_050);
  assert.deepEqual(history.entries.map(({ at }) => at), [898_850, 899_850, 900_850]);
  const { newest } = history;
  assert.deepEqual([newest.publications, newest.latencies, newest.lags, newest.busy[0], Number.isNaN(newest.busy[1])], [5, [0, 2, 0], [0, 3], 0.25, true]);
  assert.equal(history.entries[0].latencies, null);
  // The page slept for an hour by the gateway's clock, and its own stood still.
  history.take(answer("a", 3, [], [], { now_ms: 3_608_000 }), 901_900);
  assert.deepEqual(history.entries.map(({ at }) => at), [], "what there was is an hour old");
  history.take(answer("a", 3, [3_609_000, 3_610_000], [1, 1]), 903_900);
  assert.deepEqual(latencies_of(history.entries, 3), [0, 4, 0]);
});

test("a restart, a sleep and a missing sample are holes", () => {
  const history = new History(600_000), values = ({ publications }) => publications;
  history.take(answer("a", 0, [1000, 2000, 3000, 30_000, 31_000, 32_000], [null, 1, 2, null, 3, 4]), 50_000);
  assert.equal(history.take(answer("b", 0, [33_000, 34_000, 35_000], [null, 7, 8]), 53_000), true);
  assert.deepEqual(stretches(history.entries, values).map((run) => run.map(([, value]) => value)), [[1, 2], [3, 4], [7, 8]]);
  const always = stretches(history.entries, () => 1).map((run) => run.length);
  assert.deepEqual(always, [3, 3, 3], "also where a value is known, time and run tell");
  history.take(answer("a", 0, [100, 200], [1, 1]), 53_000 - 40_000);
  assert.equal(history.entries.length, 9, "what is older than what is there is not put behind it");
});

test("what is too old is forgotten, also where nothing comes", () => {
  const history = new History(10_000);
  history.take(answer("a", 0, Array.from({ length: 30 }, (_, at) => at * 1000), Array(30).fill(1)), 100_000);
  assert.ok(history.entries.every(({ at }) => at >= 100_000 - 10_000 - APART_MS_MAX) && history.entries.length >= 10);
  assert.deepEqual(history.within(100_000, 3000).length, 3);
  history.forget(200_000);
  assert.deepEqual([history.entries.length, history.newest, history.within(200_000, 10_000)], [0, undefined, []]);
});

test("the sample at a time is the nearest, if it is near", () => {
  const entries = [1000, 2000, 3000, 9000].map((at) => ({ at }));
  const found = (at) => nearest(entries, at)?.at;
  assert.deepEqual([0, 1400, 1600, 3100, 4000, 6000, 8000, 20_000].map(found), [1000, 1000, 2000, 3000, 3000, undefined, 9000, undefined]);
  assert.equal(nearest([], 5), undefined);
});

test("a connection's address has the port that is known", () => {
  const shown = (text, port) => address({ address: text, port });
  assert.deepEqual([shown("192.0.2.7", 4711), shown("2001:db8::1", 4711), shown("2001:db8::1", null), shown("unix", null)],
    ["192.0.2.7:4711", "[2001:db8::1]:4711", "2001:db8::1", "unix"]);
});
