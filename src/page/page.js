// The page: draws what market.js knows, at most once an animation frame and twenty times a second, however many messages come:
// more the eye does not read, and a slow machine is to spend its time on the messages. It never polls.
import { connect } from "./stream.js";
import { Events, dialler } from "./events.js";
import { Board, Instrument, PAYLOADS_KEPT, TRADES_KEPT, glance, members } from "./market.js";
import { Chart } from "./chart.js";

const TOPICS_MAX = 1000, FLASH_MS = 120, EBB_MS = 240, TICK_MS = 250, FRAME_MS = 45, CHART_MS = 100, STILL_CHART_MS = 1000;
const at = (id) => document.getElementById(id);
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const time_of = (clock, digits = 3) => Number.isFinite(clock) ? new Date(clock).toISOString().slice(11, 20 + digits - (digits ? 0 : 1)) : "–";
const grouped = (text) => text.replace(/^\d{5,}/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
const figure = (value) => value >= 100 ? value.toFixed(0) : value.toFixed(1);
const still = matchMedia("(prefers-reduced-motion: reduce)");

const board = new Board(), rows = new Map(), flashing = new Map(), opened_at = Date.now();
const chart = new Chart(at("chart"));
let selected, link, frame = 0, drawn_at = 0, chart_due = 0, busiest = 1, paused = false, listed = false;
let connection = { state: "connecting" }, lost, stopping = false, over_http = false; // `lost`: since when and why, until live again

// ---- Rows -----------------------------------------------------------------------------------------------------------------------

function element(parent, tag, name = "") {
  const made = parent.appendChild(document.createElement(tag));
  made.className = name;
  return made;
}

function head_cell(tr) {
  const cell = element(tr, "th");
  cell.scope = "row";
  cell.setAttribute("role", "rowheader");
  return cell;
}

// What is wrong with a row's feed, behind its name.
function draw_standing(row, { standing }, now) {
  const kind = standing.kind(now);
  put(row.tag, kind);
  row.tag.dataset.kind = kind;
  row.tr.dataset.stale = String(standing.stale.size > 0);
}

const some = (count) => Number.isNaN(count) ? "Publications" : `${grouped(String(count))} publication${count === 1 ? "" : "s"}`;

function say_standing({ stale, lost, left_out }) {
  const since = Math.min(...stale.values()), sentences = [];
  if (stale.size) sentences.push(`Stale: the feed behind it is gone since ${time_of(since, 0)} UTC.`);
  if (lost !== 0) sentences.push(`Gap: ${some(lost)} could not be had.`);
  if (left_out) sentences.push(`Culled: ${some(left_out)} left out, for newer ones.`);
  return sentences.join(" ");
}

class InstrumentRow {
  constructor(view) {
    this.tr = document.createElement("tr");
    const name = head_cell(this.tr);
    name.append(view.symbol);
    this.tag = element(name, "span", "tag");
    put(element(name, "small"), view.prefix);
    [this.bid_size, this.bid, this.ask, this.ask_size] = ["num size", "num", "num", "num size"].map((kind) => element(this.tr, "td", kind));
    this.price = element(this.tr, "td", "num price-cell");
    this.same = this.price.appendChild(document.createTextNode("–"));
    this.moved = element(this.price, "b");
    this.change = element(this.tr, "td", "num");
    this.mark = element(element(element(this.tr, "td"), "div", "stretch"), "i");
    const meter = element(element(this.tr, "td", "num"), "div", "meter");
    this.bar = element(meter, "i");
    this.rate = element(meter, "span");
    this.ticks = 0;
  }
  draw(view, now) {
    put(this.bid, view.bid || "–");
    put(this.ask, view.ask || "–");
    put(this.bid_size, grouped(view.bid_size));
    put(this.ask_size, grouped(view.ask_size));
    this.draw_rate(view, now);
    if (this.ticks === view.ticks) return;
    this.ticks = view.ticks;
    // The digits that changed bear the colour, as a dealer reads them.
    const was = view.was?.length === view.price.length ? view.was : "";
    let same = 0;
    while (same < was.length && was[same] === view.price[same]) same++;
    put(this.same, was ? view.price.slice(0, same) : view.price);
    put(this.moved, was ? view.price.slice(same) : "");
    const change = change_of(view);
    put(this.change, change.text);
    this.change.className = `num ${change.kind}`;
    this.mark.style.setProperty("--at", view.high > view.low ? ((Number(view.price) - view.low) / (view.high - view.low)).toFixed(3) : "0.5");
    if (view.direction === 0) return;
    this.price.className = `num price-cell flash ${view.direction > 0 ? "up" : "down"}`;
    flashing.set(this.price, now);
  }
  draw_rate(view, now) {
    draw_standing(this, view, now);
    const rate = view.rate.value(now);
    busiest = Math.max(busiest, rate);
    put(this.rate, rate.toFixed(1));
    const share = (rate / busiest).toFixed(2);
    if (share !== this.share) this.bar.style.setProperty("--share", (this.share = share));
  }
}

class FeedRow {
  constructor(view) {
    this.tr = document.createElement("tr");
    const name = head_cell(this.tr);
    name.append(view.key);
    this.tag = element(name, "span", "tag");
    [this.payload, this.offset, this.rate] = ["payload", "num", "num"].map((kind) => element(this.tr, "td", kind));
  }
  draw(view, now) {
    put(this.payload, glance(view.payloads.newest(0)?.text ?? "nothing published yet", view.key));
    put(this.offset, grouped(String(view.offset)));
    this.draw_rate(view, now);
  }
  draw_rate(view, now) {
    draw_standing(this, view, now);
    put(this.rate, figure(view.rate.value(now)));
  }
}

const name_of = (view) => view.symbol ?? view.key;

function row_of(view) {
  let row = rows.get(view);
  if (row) return row;
  row = view instanceof Instrument ? new InstrumentRow(view) : new FeedRow(view);
  row.view = view;
  row.tr.setAttribute("role", "row");
  row.tr.setAttribute("aria-selected", "false");
  row.tr.tabIndex = -1;
  for (const cell of row.tr.cells) if (cell.tagName === "TD") cell.setAttribute("role", "gridcell");
  row.tr.tidegate_view = view;
  const body = at(view instanceof Instrument ? "instruments" : "others");
  // In the order of names, so that a row stays where the eye left it.
  const before = Array.from(body.rows).find((other) => name_of(other.tidegate_view) > name_of(view));
  body.insertBefore(row.tr, before ?? null);
  body.parentElement.hidden = false;
  rows.set(view, row);
  row.tr.hidden = !matches(view);
  // Until the visitor chooses, the busiest is selected.
  if (!selected || (view === board.busiest && !selected.chosen)) select(view, false);
  return row;
}

function remove_row(view) {
  const row = rows.get(view);
  if (!row) return;
  const body = row.tr.parentElement;
  row.tr.remove();
  rows.delete(view);
  body.parentElement.hidden = body.rows.length === 0;
  if (selected?.view !== view) return;
  selected = undefined;
  const next = document.querySelector(".grid tbody tr");
  if (next) select(next.tidegate_view, false);
}

const change_of = (view) => {
  const percent = (Number(view.price) - view.first) / view.first * 100;
  if (!Number.isFinite(percent)) return { text: "–", kind: "" };
  const text = Math.abs(percent).toFixed(2);
  return text === "0.00" ? { text: "0.00%", kind: "" } : { text: `${percent > 0 ? "+" : "−"}${text}%`, kind: percent > 0 ? "rise" : "fall" };
};

// ---- Selection ------------------------------------------------------------------------------------------------------------------

function select(view, chosen) {
  if (selected) {
    const old = rows.get(selected.view)?.tr;
    old?.setAttribute("aria-selected", "false");
    if (old) old.tabIndex = -1;
  }
  selected = { view, chosen: chosen || selected?.chosen === true, drawn: false };
  const tr = rows.get(view).tr, market = view instanceof Instrument;
  at("figure").hidden = false;
  tr.setAttribute("aria-selected", "true");
  tr.tabIndex = 0;
  at("quote").hidden = at("tape").hidden = !market;
  at("payloads").hidden = market;
  put(at("detail-name"), name_of(view));
  put(at("legend"), market ? "Bid and ask, trades, volume" : "Messages a second");
  const what = market ? `Best bid, best ask, trades and volume of ${view.symbol}` : `Messages a second on ${view.key}`;
  at("chart").setAttribute("aria-label", `${what} over the last two minutes`);
  chart.measure();
  chart_due = 0;
  schedule();
}

function on_key(event) {
  const tr = event.target.closest("tbody tr[role=row]");
  if (!tr || event.ctrlKey || event.altKey || event.metaKey) return;
  // One list for the eye, one list for the arrows: from the last instrument down to the first feed.
  const visible = Array.from(document.querySelectorAll(".grid tbody tr:not([hidden])")), here = visible.indexOf(tr), last = visible.length - 1;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -here, End: last - here, Enter: 0, " ": 0 };
  const to = steps[event.key] === undefined ? undefined : here + steps[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = visible[Math.min(Math.max(to, 0), last)];
  select(next.tidegate_view, true);
  next.focus();
}

function matches(view) {
  const name = view instanceof Instrument ? `${view.prefix} ${view.symbol}` : view.key;
  return name.toLowerCase().includes(at("filter").value.trim().toLowerCase());
}

// ---- Drawing --------------------------------------------------------------------------------------------------------------------

function schedule() { frame ||= requestAnimationFrame(draw); }

function draw() {
  const now = performance.now();
  if (now - drawn_at < FRAME_MS) { frame = requestAnimationFrame(draw); return; }
  frame = 0;
  drawn_at = now;
  for (const [cell, since] of flashing) {
    if (now - since < FLASH_MS) continue;
    cell.classList.remove("flash");
    cell.classList.toggle("ebb", now - since < EBB_MS);
    if (now - since >= EBB_MS) flashing.delete(cell);
  }
  // Also where no message comes any more, what flashes goes out.
  if (flashing.size > 0) schedule();
  if (!paused) draw_changes(now);
  if (!selected) return;
  if (!selected.drawn) draw_detail(selected.view);
  if (now >= chart_due && !(paused && selected.drawn)) draw_chart(now);
  selected.drawn = true;
}

function draw_changes(now) {
  for (const view of board.removed) remove_row(view);
  for (const view of board.changed) row_of(view).draw(view, now);
  if (selected && board.changed.has(selected.view)) selected.drawn = false;
  board.removed.clear();
  board.changed.clear();
  at("demo").dataset.on = String(board.demo);
}

function draw_chart(now) {
  chart_due = now + (still.matches ? STILL_CHART_MS : CHART_MS);
  const { view } = selected;
  if (view instanceof Instrument) chart.market(view.history, now, view.price); else chart.rate(view.history, now);
}

const topics_of = ({ prefix, symbol, topics }) => {
  const kinds = Array.from(topics, (name) => name.slice(prefix.length + 1, -symbol.length - 1)).sort();
  return `${prefix}.${kinds.length === 1 ? kinds[0] : `{${kinds.join(",")}}`}.${symbol}`;
};

function draw_detail(view) {
  put(at("standing"), say_standing(view.standing));
  at("standing").dataset.kind = view.standing.stale.size ? "stale" : "";
  if (!(view instanceof Instrument)) return draw_payloads(view);
  put(at("detail-sub"), `${topics_of(view)}${view.demo ? " · synthetic" : ""}`);
  put(at("detail-price"), view.price || "–");
  at("detail-price").className = `price ${view.direction > 0 ? "rise" : view.direction < 0 ? "fall" : ""}`;
  const change = change_of(view);
  put(at("detail-change"), change.text);
  at("detail-change").className = `change ${change.kind}`;
  put(at("quote-bid"), view.bid || "–");
  put(at("quote-ask"), view.ask || "–");
  put(at("quote-bid-size"), view.bid_size && `× ${grouped(view.bid_size)}`);
  put(at("quote-ask-size"), view.ask_size && `× ${grouped(view.ask_size)}`);
  const bid = Number(view.bid), spread = Number(view.ask) - bid, points = spread / bid * 10_000, digits = view.ask.split(".")[1]?.length ?? 0;
  put(at("quote-spread"), view.bid && view.ask ? `${spread.toFixed(digits)} (${points.toFixed(points < 1 ? 2 : 1)} bp)` : "–");
  fill(at("trades"), TRADES_KEPT, 4, (cells, back) => {
    const trade = view.trades.newest(back);
    const kind = trade ? (trade.buy ? "rise" : "fall") : "";
    put(cells[0], trade ? time_of(trade.at) : "");
    put(cells[1], trade ? (trade.buy ? "buy" : "sell") : "");
    put(cells[2], trade?.price ?? "");
    put(cells[3], grouped(trade?.size ?? ""));
    cells[1].className = kind;
    cells[2].className = `num ${kind}`;
    cells[3].className = "num";
  });
}

function draw_payloads(view) {
  put(at("detail-sub"), `offset ${grouped(String(view.offset))}${view.demo ? " · synthetic" : ""}`);
  put(at("detail-price"), "");
  put(at("detail-change"), "");
  const newest = view.payloads.newest(0)?.text ?? "Nothing published yet.";
  put(at("newest"), members(newest)?.map((member) => member.join(": ")).join("\n") || newest);
  at("before").hidden = view.payloads.count < 2;
  fill(at("earlier"), PAYLOADS_KEPT - 1, 3, (cells, back) => {
    const payload = view.payloads.newest(back + 1);
    put(cells[0], payload ? grouped(String(payload.offset)) : "");
    put(cells[1], payload ? time_of(payload.at) : "");
    put(cells[2], glance(payload?.text ?? "", view.key));
    cells[2].className = "payload";
  });
}

// Rows that exist from the start, so that nothing jumps when they fill.
function fill(body, count, width, each) {
  while (body.rows.length < count) { const tr = element(body, "tr"); for (let cell = 0; cell < width; cell++) element(tr, "td"); }
  for (let back = 0; back < count; back++) each(body.rows[back].cells, back);
}

// Four times a second: what changes with time alone.
function tick() {
  const now = performance.now();
  draw_link(now);
  if (paused || lost) return;
  busiest = 1;
  for (const view of board.views.values()) if (view instanceof Instrument) busiest = Math.max(busiest, view.rate.value(now));
  for (const [view, row] of rows) row.draw_rate(view, now);
  const age = board.age();
  put(at("rate"), connection.state === "live" ? board.messages.value(now).toFixed(0) : "–");
  put(at("age"), age ? String(age.median) : "–");
  put(at("age-high"), age ? String(age.p99) : "–");
  put(at("topics"), String(board.topics.size));
  at("since").hidden = at("market").hidden;
  at("empty").hidden = !(listed && board.topics.size === 0);
  schedule();
}

// ---- Connection -----------------------------------------------------------------------------------------------------------------

function draw_link(now) {
  const { state, until } = connection, waiting = state === "waiting";
  at("link").dataset.state = stopping && state === "live" ? "waiting" : state;
  put(at("state"), waiting ? "Disconnected" : state === "connecting" ? "Connecting" : stopping ? "Gateway is stopping" : over_http ? "Live over HTTP" : "Live");
  put(at("countdown"), waiting ? `retry in ${Math.max(0, Math.ceil((until - now) / 1000))} s` : "");
  at("retry").hidden = !waiting;
  document.querySelector("main").dataset.stale = String(lost !== undefined);
  put(at("note"), note());
}

function note() {
  if (paused) return "Paused: the figures stand still, the feed does not.";
  if (lost) return `As of ${time_of(lost.at, 0)} UTC: ${lost.reason || "the connection was lost"}.`;
  return [at("note").dataset.text, count_rows()].filter(Boolean).join(" ");
}

function count_rows() {
  const shown = document.querySelectorAll(".grid tbody tr:not([hidden])").length;
  if (shown < rows.size) return `${shown} of ${rows.size} match.`;
  const count = (number, what) => number > 0 && `${number} ${what}${number === 1 ? "" : "s"}`;
  const [instruments, others] = [at("instruments").rows.length, at("others").rows.length];
  const counts = [count(instruments, "instrument"), count(others, instruments ? "other topic" : "topic")].filter(Boolean);
  return counts.length ? `${counts.join(", ")}.` : "";
}

function say(text) { at("note").dataset.text = text; }

function on_state(now_state) {
  const now = performance.now();
  connection = { ...now_state, until: now + (now_state.wait_ms ?? 0) };
  if (now_state.state === "waiting") {
    if (!lost) board.cut(now);
    lost = { at: lost?.at ?? Date.now(), reason: now_state.reason || lost?.reason };
    for (const id of ["rate", "age", "age-high"]) put(at(id), "–");
  }
  if (now_state.state === "live") { lost = undefined; stopping = false; }
  draw_link(now);
}

async function topics() {
  const answer = await fetch("topics", { cache: "no-store" });
  if (!answer.ok) throw new Error(`GET /topics: ${answer.status}`);
  const { topics: list } = await answer.json();
  listed = true;
  return list.map(({ topic }) => topic);
}

// What was known stays known: a gateway that has just restarted may not have heard from every feed.
async function streams() {
  const asked = early ?? topics();
  early = undefined;
  const names = new Set([...await asked, ...board.topics.keys()]);
  return Array.from(names).slice(0, TOPICS_MAX).map((name) => `${name};last`);
}

async function refresh() {
  try {
    const room = TOPICS_MAX - board.topics.size, fresh = (await topics()).filter((name) => !board.topics.has(name)).slice(0, Math.max(0, room));
    if (over_http && fresh.length) return say("New topics come with the next connection: over plain HTTP nothing can be asked for.");
    await link.subscribe(fresh.map((name) => `${name};last`));
    say(fresh.length === 0 ? "No new topics." : fresh.length === 1 ? "One new topic." : `${fresh.length} new topics.`);
  } catch (error) { say(`Not refreshed: ${error.message}`); }
  tick();
}

function pause() {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  chart_due = 0;
  tick();
}

put(at("host"), location.host);
put(at("since"), `Change and range: since this page was opened at ${time_of(opened_at, 0)} UTC. All times are UTC.`);
for (const id of ["instruments", "others"]) {
  at(id).addEventListener("keydown", on_key);
  at(id).addEventListener("click", (event) => { const tr = event.target.closest("tr"); if (tr) select(tr.tidegate_view, true); });
}
at("filter").addEventListener("input", () => { for (const [view, row] of rows) row.tr.hidden = !matches(view); tick(); });
at("refresh").addEventListener("click", refresh);
at("pause").addEventListener("click", pause);
at("retry").addEventListener("click", () => link.reconnect());
addEventListener("online", () => link.reconnect());
new ResizeObserver(() => { chart.measure(); chart_due = 0; schedule(); }).observe(at("plot"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { chart.measure(); chart_due = 0; schedule(); });

// The list is on its way while the connection opens.
let early = topics();
early.catch(() => {});
const address = new URL("stream", location.href);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const dial = dialler();
link = connect({
  url: address.href,
  streams,
  dial: (url) => {
    const line = dial(url);
    over_http = line instanceof Events;
    return line;
  },
  ongap: (gap) => { board.gap(gap, performance.now()); schedule(); },
  onpublication: (publication) => { board.take(publication, performance.now(), Date.now()); schedule(); },
  onsubscribed: (entries) => { board.subscribed(entries, performance.now()); schedule(); },
  onevent: (event) => {
    if (event.e === "serverShutdown") { stopping = true; draw_link(performance.now()); }
    if (event.e === "leftOut") say(`${event.n} topics are left out: over plain HTTP a URL holds no more.`);
    board.hear(event, performance.now());
    schedule();
  },
  onstate: on_state,
});
setInterval(tick, TICK_MS);
