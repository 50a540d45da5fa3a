// Numbers for axes and readouts: round steps, units, shares of a histogram. Without DOM and clock.

const STEPS = [1, 2, 5, 10];

// The least of 1, 2, 5 times a power of ten that is not below `rough`.
export function round_up(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * STEPS.find((factor) => factor * power >= rough * (1 - 1e-9));
}

// An axis from 0 to at least `max`, with at most `count` steps of round numbers: of ten, or of their unit where `base` is 1024.
// `least` is the top of an axis on which nothing is; `whole`: things that cannot be halved.
export function linear_axis(max, { count = 4, base = 10, least = 1, whole = false } = {}) {
  const wanted = Math.max(Number.isFinite(max) ? max : 0, least);
  const unit = base === 1024 && wanted > 1 ? 1024 ** Math.floor(Math.log(wanted) / Math.log(1024) + 1e-9) : 1;
  let step = round_up(wanted / unit / count) * unit;
  if (whole) step = Math.max(1, step);
  const steps = Math.max(1, Math.ceil(wanted / step - 1e-9));
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, at) => at * step) };
}

// Powers of ten from the one at or below `low` to the one at or above `high`.
export function decades(low, high) {
  const first = Math.floor(Math.log10(low) + 1e-9), last = Math.ceil(Math.log10(high) - 1e-9);
  return Array.from({ length: Math.max(1, last - first) + 1 }, (_, at) => 10 ** (first + at));
}

// Minutes or seconds before now, so that at most `count` steps fill `window_ms`.
export function time_steps(window_ms, count) {
  const step_ms = [5, 10, 15, 20, 30, 60, 120, 300, 600].map((step_s) => step_s * 1000).find((step) => window_ms / step <= count) ?? window_ms;
  return Array.from({ length: Math.floor(window_ms / step_ms) + 1 }, (_, at) => at * step_ms);
}

// Three digits, four where the unit has them (1023 B), without zeros that say nothing.
const short = (value) => String(Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));

function in_units(value, base, units) {
  let power = 0;
  // 999.6 is 1 k and not 1000.
  while (power < units.length - 1 && Math.abs(value) >= base - 0.5) { value /= base; power++; }
  return `${short(value)}${units[power] && " "}${units[power]}`;
}

// 12.3 k: of things, or of things a second.
export const count = (value) => Number.isFinite(value) ? in_units(value, 1000, ["", "k", "M", "G", "T"]) : "–";
// 1.5 MiB.
export const bytes = (value) => Number.isFinite(value) ? in_units(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) : "–";
// 2.5 ms, of microseconds.
export const duration = (us) => Number.isFinite(us) ? us < 600e6 ? in_units(us, 1000, ["µs", "ms", "s"]) : `${short(us / 60e6)} min` : "–";
export const percent = (share) => Number.isFinite(share) ? `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %` : "–";
// 12,345.6: as exactly as it is known.
export const exact = (value) => Number.isFinite(value) ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : "–";

// Below what so large a share of what was counted lies, as far as the buckets tell: even within a bucket, at least its lower bound
// in the last, which has no upper one. Of nothing: NaN.
export function quantile(counts, bounds, share) {
  const total = counts.reduce((sum, here) => sum + here, 0);
  if (total === 0) return NaN;
  let left = share * total;
  for (let at = 0; at < counts.length; at++) {
    if (counts[at] > 0 && left <= counts[at]) {
      const low = at === 0 ? 0 : bounds[at - 1];
      return at < bounds.length ? low + (bounds[at] - low) * left / counts[at] : low;
    }
    left -= counts[at];
  }
  return bounds.at(-1);
}

// The classes between bounds, in words: 1, 2–10, 11–100, more than 100.
export function classes(bounds) {
  const between = bounds.map((bound, at) => at === 0 ? bound <= 1 ? count(bound) : `1–${count(bound)}` : `${count(bounds[at - 1] + 1)}–${count(bound)}`);
  return [...between.map((text, at) => at > 0 && bounds[at - 1] >= 1000 ? `${count(bounds[at - 1])}–${count(bounds[at])}` : text), `over ${count(bounds.at(-1))}`];
}

// Where a connection comes from: whom a request names has no port, and who comes by a Unix socket has neither.
export const address = ({ address, port }) => port === null ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
