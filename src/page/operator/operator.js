// The operator's page: asks the gateway each second for what is new, and draws it once for each answer. Where no answer comes it says so
// and goes on asking; time goes on in the plots, so that a hole is seen.
import { History } from "./history.js";
import { another, asked, is_locked } from "./key.js";
import { HistogramPlot, LatencyPlot, TimePlot, clock, element, put } from "./plot.js";
import { bytes, classes, count, duration, exact, percent, quantile } from "./scale.js";
import { ask_slow, draw_feeds, feed_name } from "./tables.js";

const KEPT_MS = 600_000, AFTER_SAMPLE_MS = 80, RETRY_MS = 1_000, SLOW_MS = 5_000, LINES_MAX = 8;
const at = (id) => document.getElementById(id);
const history = new History(KEPT_MS);
let window_ms = KEPT_MS, state = { live: false };

// ---- What is plotted ------------------------------------------------------------------------------------------------------------

const a_second = (value) => `${count(value)}/s`;
const rate = (name, title, unit, about, least = 10) => ({ id: name, title, unit, about, format: count, scale: { least }, series: () => [{ kind: "c1", name: "a second", value: (entry) => entry[name], filled: true }] });
const most = (values) => values.reduce((high, here) => here > high ? here : high, -Infinity);

// One line a thread; of many the busiest, the median and the idlest shard.
function threads({ threads: names }) {
  const line = (thread) => ({ kind: `c${thread % LINES_MAX + 1}`, name: names[thread], value: ({ busy }) => busy[thread], above: ({ waited }) => waited[thread] });
  if (names.length <= LINES_MAX) return names.map((_, thread) => line(thread));
  const control = names.length - 1, ordered = ({ busy }) => busy.slice(0, -1).filter(Number.isFinite).sort((a, b) => b - a);
  return [["busiest shard", () => 0], ["median shard", (length) => length >> 1], ["idlest shard", (length) => length - 1]]
    .map(([name, place], number) => ({ kind: `c${number + 1}`, name, value: (entry) => { const loads = ordered(entry); return loads[place(loads.length)] ?? NaN; } }))
    .concat({ ...line(control), kind: "c8" });
}

// One line a feed; of many the first ones, and the others together.
function feeds({ feeds }) {
  const alone = feeds.length <= LINES_MAX ? feeds.length : LINES_MAX - 1;
  const lines = feeds.slice(0, alone).map((feed, number) => ({ kind: `c${number + 1}`, name: feed_name(feed, number, feeds), value: ({ messages }) => messages[number] ?? NaN }));
  if (alone < feeds.length) lines.push({ kind: "c8", name: `${feeds.length - alone} others`, value: ({ messages }) => messages.slice(alone).reduce((sum, here) => sum + here, 0) });
  return lines;
}

const below = (history, share) => ({ latencies }) => latencies ? quantile(latencies, history.latency_bounds, share) : NaN;
const lag_kinds = ({ lag_bounds }) => classes(lag_bounds).map((name, place) => ({ kind: `l${place + 1}`, name, value: ({ lags }) => lags[place] ?? 0 })).reverse();
const SPECS = [
  [TimePlot, rate("publications", "Publications in", "publications a second", "Publications that were given their place in their topic, by whatever door they came.")],
  [TimePlot, rate("deliveries", "Deliveries", "deliveries a second", "Publications that were sent whole, counted once for each subscriber.")],
  [TimePlot, { id: "traffic", title: "Traffic", unit: "bytes a second", about: "Bytes that the kernel took for clients, and that came from them; without TCP's and, where there is TLS, its own.", format: bytes, exact: bytes, scale: { base: 1024, least: 1024 },
    series: () => [{ kind: "c1", name: "out", value: ({ bytes_out }) => bytes_out, filled: true }, { kind: "c2", name: "in", value: ({ bytes_in }) => bytes_in }] }],
  [TimePlot, { id: "connections", title: "Connections", unit: "clients", about: "Clients that are connected, from accept to close.", format: count, scale: { least: 4, whole: true },
    series: () => [{ kind: "c1", name: "clients", value: ({ connections }) => connections, filled: true }] }],
  [LatencyPlot, { id: "latency", title: "Delivery latency", unit: "from ingest to the last subscriber's send", about: "Of each publication: from its coming to the send that gave it to the last of the subscribers whose sockets take bytes, on each shard. Shades: the share of a second's publications in each bucket.", format: duration, exact: duration,
    series: (history) => [{ kind: "c2", name: "half below", value: below(history, 0.5) }, { kind: "c3", name: "99 % below", value: below(history, 0.99) }, { kind: "c5", name: "slowest", value: below(history, 1) }] }],
  [HistogramPlot, { id: "histogram", title: "Latency histogram", unit: "publications, by delivery latency", about: "The same over the whole time that is shown. A bar is a bucket, as wide as the axis says." }],
  [TimePlot, { id: "lag", title: "Clients behind", unit: "clients, by publications that they lack", about: "Clients whose sockets are full, by how many publications they lack. Who takes bytes lacks nothing for longer than the delivery latency.", format: count, stacked: true, scale: { least: 4, whole: true }, series: lag_kinds }],
  [TimePlot, { id: "load", title: "Load of threads", unit: "share of a processor", about: "Of each thread's time, what it ran. The band above a line: it was ready to run, and others had the processors.", format: percent, exact: percent, axis: { top: 1, ticks: [0, 0.25, 0.5, 0.75, 1] }, series: threads }],
  [TimePlot, { id: "messages", title: "Feeds", unit: "messages a second", about: "Messages that each feed brought.", format: count, scale: { least: 10 }, series: feeds }],
];

// ---- The cursor, which all plots share ------------------------------------------------------------------------------------------

let asked_frame = 0;
const cursor = {
  at: undefined,
  go(time) { this.at = time; this.read(); },
  leave() { this.at = undefined; this.read(); },
  read() { asked_frame ||= requestAnimationFrame(() => { asked_frame = 0; for (const plot of plots) plot.read(); }); },
};
const plots = SPECS.map(([Plot, spec]) => new Plot(at("plots"), spec, cursor));

// ---- Figures and tables ---------------------------------------------------------------------------------------------------------

const behind = ({ lags }) => lags.reduce((sum, here) => sum + here, 0);
const FIGURES = [
  ["Connections", ({ connections }) => exact(connections)],
  ["Subscriptions", ({ subscriptions }) => exact(subscriptions)],
  ["Publications in", ({ publications }) => a_second(publications)],
  ["Deliveries", ({ deliveries }) => a_second(deliveries)],
  ["Out", ({ bytes_out }) => `${bytes(bytes_out)}/s`],
  ["Latency, 99 % below", (entry) => duration(below(history, 0.99)(entry))],
  ["Clients behind", (entry) => exact(behind(entry))],
  ["Busiest shard", ({ busy }) => percent(most(busy.slice(0, -1).filter(Number.isFinite)))],
].map(([name, of]) => {
  const group = element(at("figures"), "div");
  element(group, "dt", {}, name);
  return { of, value: element(group, "dd", {}, "–") };
});

function draw() {
  const now = performance.now(), { live } = state, newest = live ? history.newest : undefined;
  history.forget(now);
  const view = { history, entries: history.within(now, window_ms), now, window_ms, live };
  for (const plot of plots) plot.draw(view);
  for (const { of, value } of FIGURES) put(value, newest ? of(newest) : "–");
  draw_feeds(history, live, now - state.answered_at);
}

// ---- Asking ---------------------------------------------------------------------------------------------------------------------

function say(kind, text) {
  at("link").dataset.state = kind;
  put(at("state"), text);
}

async function ask() {
  try {
    const answer = await asked(`api/history${history.query}`);
    if (answer.status === 401 || answer.status === 403) return locked(answer.status);
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const told = await answer.json(), now = performance.now(), restarted = history.take(told, now);
    state = { live: true, answered_at: now, restarted_at: restarted ? Date.now() : state.restarted_at };
    // As long as its hole is seen.
    say("live", Date.now() - state.restarted_at < KEPT_MS ? `Live, restarted at ${clock(state.restarted_at)} UTC` : "Live");
    // A moment after its next sample.
    return Math.min(Math.max((told.at_ms.at(-1) ?? told.now_ms) + told.interval_ms - told.now_ms, 0) + AFTER_SAMPLE_MS, 2 * RETRY_MS);
  } catch (error) {
    const since = state.since ?? Date.now(), why = error.name === "TimeoutError" ? "no answer" : error instanceof TypeError ? "not reachable" : error.message;
    state = { ...state, live: false, since };
    say("gone", `Gone since ${clock(since)} UTC: ${why}`);
    return RETRY_MS;
  }
}

// Nothing is asked until there is a key, so that a page that lies open fills no log.
async function locked(status) {
  state = { ...state, live: false };
  say("locked", "A key is needed");
  draw();
  await another(status);
  say("connecting", "Asking the gateway");
  return 0;
}

async function go_on() {
  const wait_ms = await ask();
  draw();
  setTimeout(go_on, wait_ms);
}

function choose(event) {
  const button = event.target.closest("button");
  if (!button) return;
  window_ms = Number(button.dataset.ms);
  for (const other of at("windows").children) other.setAttribute("aria-pressed", String(other === button));
  draw();
}

put(at("host"), location.host);
at("windows").addEventListener("click", choose);
at("plots").addEventListener("toggle", draw, true);
new ResizeObserver(() => { if (is_locked()) return; for (const plot of plots) plot.measure(); draw(); }).observe(at("plots"));
go_on().then(ask_slow);
// Seldom, as it is looked for, and not at all for nobody.
setInterval(() => { if (state.live && !document.hidden) ask_slow(); }, SLOW_MS);
