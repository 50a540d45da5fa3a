// What the page has of the gateway's history: samples by this page's own clock. Without DOM, clock and network: time is an argument.
//
// The gateway tells its samples' times by a clock that runs on while its machine sleeps, and how late it is by that clock; so what is a
// hole there is one here, whatever the calendars of the two machines say. The quickest answer tells best how the two clocks stand. Samples of an earlier run of the gateway stay until they are
// too old, and the time between the runs is a hole.

// Two samples that are further apart have a hole between them.
export const APART_MS_MAX = 2500;
// By so much an answer may be late; beyond that one of the two clocks stood still, or ran away.
const LATE_MS_MAX = 2000;

const number = (value) => value ?? NaN;
function dense(pairs, length) {
  const counts = new Array(length).fill(0);
  for (const [at, here] of pairs) counts[at] = here;
  return counts;
}

export class History {
  constructor(kept_ms) { Object.assign(this, { kept_ms, entries: [], run: undefined, next: 0, threads: [], feeds: [], latency_bounds: [], lag_bounds: [] }); }

  get newest() { return this.entries.at(-1); }
  // What to ask for.
  get query() { return this.run === undefined ? "" : `?run=${encodeURIComponent(this.run)}&since=${this.next}`; }

  // An answer of /api/history that came `now`, milliseconds by the page's clock.
  take(answer, now) {
    const offset = now - answer.now_ms, restarted = this.run !== undefined && answer.run !== this.run;
    if (answer.run === this.run) this.shift(offset - this.offset); else this.offset = offset;
    Object.assign(this, { run: answer.run, next: answer.next, threads: answer.threads, feeds: answer.feeds, latency_bounds: answer.latency_bounds_us, lag_bounds: answer.lag_bounds, interval_ms: answer.interval_ms });
    const of = (columns, at) => columns.map((column) => number(column[at]));
    answer.at_ms.forEach((at_ms, at) => {
      const latencies = answer.latencies[at];
      const entry = {
        at: at_ms + this.offset, unix_ms: answer.unix_ms[at], run: answer.run,
        connections: answer.connections[at], subscriptions: answer.subscriptions[at],
        lags: dense(answer.lags[at], answer.lag_bounds.length + 1),
        latencies: latencies && dense(latencies, answer.latency_bounds_us.length + 1),
        busy: of(answer.busy, at).map((permille) => permille / 1000), waited: of(answer.waited, at).map((permille) => permille / 1000),
        messages: of(answer.messages, at),
      };
      for (const name of ["publications", "deliveries", "bytes_out", "bytes_in"]) entry[name] = number(answer[name][at]);
      // A run that ended cannot go on behind one that began later.
      if (!(entry.at <= this.newest?.at)) this.entries.push(entry);
    });
    this.forget(now);
    return restarted;
  }
  // The clocks stand otherwise than was thought: so do the times that went by it.
  shift(by_ms) {
    if (by_ms >= 0 && by_ms <= LATE_MS_MAX) return;
    this.offset += by_ms;
    for (const entry of this.entries) if (entry.run === this.run || Math.abs(by_ms) > LATE_MS_MAX) entry.at += by_ms;
  }
  forget(now) {
    const first = this.entries.findIndex((entry) => entry.at >= now - this.kept_ms - APART_MS_MAX);
    this.entries.splice(0, first < 0 ? this.entries.length : first);
  }
  // Those of the last `window_ms`.
  within(now, window_ms) {
    const first = this.entries.findIndex((entry) => entry.at >= now - window_ms);
    return first < 0 ? [] : this.entries.slice(first);
  }
}

// Whether a line goes on from one sample to the next: same run, no hole.
export const follows = (before, entry) => before !== undefined && before.run === entry.run && entry.at - before.at <= APART_MS_MAX;

// The stretches of a series without a hole: lists of [entry, value].
export function stretches(entries, value) {
  const found = [];
  let before;
  for (const entry of entries) {
    const here = value(entry);
    if (!Number.isFinite(here)) { before = undefined; continue; }
    if (follows(before, entry)) found.at(-1).push([entry, here]); else found.push([[entry, here]]);
    before = entry;
  }
  return found;
}

// The sample nearest to a time, if one is near enough to speak of that time.
export function nearest(entries, at) {
  let low = 0, high = entries.length;
  while (low < high) { const middle = (low + high) >> 1; if (entries[middle].at < at) low = middle + 1; else high = middle; }
  const [before, after] = [entries[low - 1], entries[low]];
  const found = !after || before && at - before.at <= after.at - at ? before : after;
  return found && Math.abs(found.at - at) <= APART_MS_MAX / 2 ? found : undefined;
}

// All latencies of these samples, by bucket.
export function latencies_of(entries, length) {
  const sum = new Array(length).fill(0);
  for (const { latencies } of entries) latencies?.forEach((here, at) => { sum[at] += here; });
  return sum;
}
