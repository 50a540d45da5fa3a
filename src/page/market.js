// What the page knows: topics, the instruments and feeds they belong to, and bounded histories. Without DOM, clock or socket: time is an
// argument (`now` is monotonic milliseconds, `clock` milliseconds since 1970). All memory is bounded by the number of topics.

export const HISTORY_MS = 120_000, RECENT_MS = 60_000;
export const TRADES_KEPT = 14, PAYLOADS_KEPT = 13;
const BUCKET_MS = 100, BUCKETS = HISTORY_MS / BUCKET_MS, PAYLOAD_CHARS_MAX = 512, TEXT_CHARS_MAX = 24;
const MARKET_TOPIC = /^(.+)\.(bbo|trades)\.([^.]+)$/;

// Events a second over the last ten slots.
export class Rate {
  constructor(slot_ms) { this.slot_ms = slot_ms; this.slots = new Uint32Array(10); this.head = 0; this.first = NaN; }
  advance(now) {
    const slot = Math.floor(now / this.slot_ms);
    for (let at = Math.max(this.head + 1, slot - 9); at <= slot; at++) this.slots[at % 10] = 0;
    this.head = Math.max(this.head, slot);
  }
  mark(now) {
    this.advance(now);
    if (Number.isNaN(this.first)) this.first = now;
    this.slots[this.head % 10]++;
  }
  value(now) {
    this.advance(now);
    const covered_ms = Math.min(now - Math.max(0, this.head - 9) * this.slot_ms, Math.max(now - this.first, 2 * this.slot_ms));
    return this.slots.reduce((sum, count) => sum + count, 0) / covered_ms * 1000 || 0;
  }
}

// The newest `length` values, oldest forgotten.
export class Ring {
  constructor(length) { this.items = new Array(length); this.count = 0; }
  push(item) { this.items[this.count++ % this.items.length] = item; }
  newest(back) {
    return back < Math.min(this.count, this.items.length) ? this.items[(this.count - 1 - back) % this.items.length] : undefined;
  }
}

// Two minutes in slots of 100 ms, whatever the rate: best bid and ask at the slot's end, last trade and traded volume in it.
class MarketHistory {
  constructor(now) {
    for (const name of ["bid", "ask", "trade"]) this[name] = new Float64Array(BUCKETS).fill(NaN);
    for (const name of ["bought", "sold"]) this[name] = new Float64Array(BUCKETS);
    this.head = Math.floor(now / BUCKET_MS);
    this.since = now;
  }
  advance(now) {
    const bucket = Math.floor(now / BUCKET_MS), bid = this.bid[this.head % BUCKETS], ask = this.ask[this.head % BUCKETS];
    for (let at = Math.max(this.head + 1, bucket - BUCKETS + 1); at <= bucket; at++) {
      const slot = at % BUCKETS;
      this.bid[slot] = bid;
      this.ask[slot] = ask;
      this.trade[slot] = NaN;
      this.bought[slot] = this.sold[slot] = 0;
    }
    this.head = Math.max(this.head, bucket);
    return this.head % BUCKETS;
  }
  // A lost connection: what we do not know is a hole, not a flat line.
  cut(now) { const slot = this.advance(now); this.bid[slot] = this.ask[slot] = NaN; }
}

// Messages a second of a feed, one slot a second.
class RateHistory {
  constructor(now) { this.counts = new Float64Array(HISTORY_MS / 1000); this.head = Math.floor(now / 1000); this.since = now; }
  advance(now) {
    const second = Math.floor(now / 1000), length = this.counts.length;
    for (let at = Math.max(this.head + 1, second - length + 1); at <= second; at++) this.counts[at % length] = 0;
    this.head = Math.max(this.head, second);
    return this.head % length;
  }
  mark(now) { this.counts[this.advance(now)]++; }
}

// What the gateway says of a view's topics beside their publications. A loss of which nobody knows the size makes `lost` NaN.
class Standing {
  constructor() { Object.assign(this, { stale: new Map(), lost: 0, lost_at: -Infinity, left_out: 0, left_out_at: -Infinity }); } // topic -> stale since
  hear({ e, s, since, n }, now) {
    if (e === "stale") this.stale.set(s, since);
    if (e === "fresh") this.stale.delete(s);
    if (e === "culled") { this.left_out += n; this.left_out_at = now; }
    if (e === "sourceGap") this.lose(n ?? NaN, now);
  }
  lose(count, now) { this.lost += count; this.lost_at = now; }
  // The worst of it that is true now or was a moment ago; "" where all is well.
  kind(now) { return this.stale.size ? "stale" : now - this.lost_at < RECENT_MS ? "gap" : now - this.left_out_at < RECENT_MS ? "culled" : ""; }
}

// A pair of topics of the synthetic market's shape: best prices and trades of one symbol.
export class Instrument {
  constructor(key, prefix, symbol, now) {
    Object.assign(this, { key, prefix, symbol, demo: false, topics: new Set(), bid: "", bid_size: "", ask: "", ask_size: "" });
    Object.assign(this, { price: "", was: "", direction: 0, first: NaN, low: NaN, high: NaN, ticks: 0 });
    Object.assign(this, { trades: new Ring(TRADES_KEPT), rate: new Rate(500), history: new MarketHistory(now), standing: new Standing() });
  }
  quote(value, now) {
    [this.bid, this.bid_size, this.ask, this.ask_size] = [value.b, value.B, value.a, value.A].map(shown);
    const slot = this.history.advance(now);
    this.history.bid[slot] = Number(value.b);
    this.history.ask[slot] = Number(value.a);
  }
  trade(value, now, live) {
    const price = Number(value.p), buy = value.side === "buy", was = Number(this.price);
    this.was = this.price;
    this.price = shown(value.p);
    this.direction = this.was === "" ? 0 : Math.sign(price - was) || this.direction;
    if (price !== was) this.ticks++;
    if (Number.isNaN(this.first)) this.first = this.low = this.high = price;
    this.low = Math.min(this.low, price);
    this.high = Math.max(this.high, price);
    this.trades.push({ price: this.price, size: shown(value.q), buy, at: Number(value.E) });
    if (!live) return;
    const slot = this.history.advance(now);
    this.history.trade[slot] = price;
    this.history[buy ? "bought" : "sold"][slot] += Number(value.q) || 0;
    this.rate.mark(now);
  }
}

// Any other topic: its newest payloads as text.
export class Feed {
  constructor(key, now) {
    Object.assign(this, { key, demo: false, offset: 0, payloads: new Ring(PAYLOADS_KEPT), rate: new Rate(500), history: new RateHistory(now) });
    this.standing = new Standing();
  }
  take(text, offset, now, clock, live) {
    this.offset = offset;
    this.payloads.push({ text, offset, at: clock });
    if (!live) return;
    this.rate.mark(now);
    this.history.mark(now);
  }
}

export class Board {
  constructor() {
    this.topics = new Map(); // topic -> { view, old_until }
    this.views = new Map(); // key -> Instrument or Feed
    this.changed = new Set(); // views to draw
    this.removed = new Set(); // views that became another one
    this.busiest = undefined; // the view to begin with
    this.messages = new Rate(200);
    this.ages = new Ring(1000);
    this.demo = false;
  }
  learn(name, now, generic = false) {
    const known = this.topics.get(name);
    if (known && !generic) return known;
    const market = !generic && MARKET_TOPIC.exec(name), key = market ? `${market[1]}.*.${market[3]}` : name;
    let view = this.views.get(key);
    if (!view) this.views.set(key, (view = market ? new Instrument(key, market[1], market[3], now) : new Feed(key, now)));
    view.topics?.add(name);
    this.changed.add(view);
    const topic = { view, old_until: known?.old_until ?? 0 };
    this.topics.set(name, topic);
    return topic;
  }
  // A topic that has the market's name but not its payloads is a feed like any other.
  demote(name, now) {
    const { view } = this.topics.get(name);
    view.topics.delete(name);
    if (view.topics.size === 0) { this.views.delete(view.key); this.changed.delete(view); this.removed.add(view); }
    return this.learn(name, now, true);
  }
  // What comes up to the offset of SUBSCRIBE's reply is old: it is shown, but counts neither as rate nor as age.
  subscribed(entries, now) {
    const learned = Array.from(entries ?? [], ({ stream, offset }) => {
      const topic = this.learn(stream.split(";", 1)[0], now);
      topic.old_until = offset;
      topic.view.standing.stale.delete(stream); // whose topic is stale is told so now
      return topic;
    });
    const rank = ({ view, old_until }) => [view instanceof Instrument ? 1 : 0, old_until];
    const [busiest] = learned.sort((one, other) => { const [a, b] = [rank(one), rank(other)]; return b[0] - a[0] || b[1] - a[1]; });
    this.busiest ??= busiest?.view;
  }
  take({ topic: name, offset, data }, now, clock) {
    let topic = this.learn(name, now);
    const live = offset > topic.old_until;
    if (live) this.messages.mark(now);
    if (topic.view instanceof Instrument) {
      const value = typeof data === "string" && JSON.parse(data);
      if (is_quote(value)) topic.view.quote(value, now);
      else if (is_trade(value)) topic.view.trade(value, now, live);
      else topic = this.demote(name, now);
      if (value?.demo === true) this.demo = topic.view.demo = true;
      if (live && value?.demo === true && Number.isFinite(value.E)) this.ages.push(clock - value.E);
    }
    if (topic.view instanceof Feed) {
      if (!topic.view.demo && bears_demo(data)) this.demo = topic.view.demo = true;
      topic.view.take(typeof data === "string" ? shortened(data) : hexadecimal(data), offset, now, clock, live);
    }
    this.changed.add(topic.view);
  }
  // An event of the gateway.
  hear(event, now) { this.tell(event.s, (standing) => standing.hear(event, now)); }
  // Publications that cannot be had any more; `to` is undefined where nobody knows.
  gap({ topic, from, to }, now) { this.tell(topic, (standing) => standing.lose(to - from + 1, now)); }
  tell(name, change) {
    const view = this.topics.get(name)?.view;
    if (!view) return;
    change(view.standing);
    this.changed.add(view);
  }
  cut(now) { for (const view of this.views.values()) view.history.cut?.(now); }
  // Median and 99th percentile of the last thousand ages, or undefined.
  age() {
    const known = this.ages.items.slice(0, this.ages.count).sort((a, b) => a - b);
    return known.length ? { median: known[known.length >> 1], p99: known[Math.floor(known.length * 0.99)] } : undefined;
  }
}

// The members of an object as they stand in its text, also where the text was cut short; undefined for what is no object.
export function members(text) {
  const start = text.search(/\S/);
  if (text[start] !== "{") return undefined;
  const found = [];
  let depth = 0, quoted = false, from = start + 1, colon = -1;
  const end_member = (end) => {
    if (colon >= 0) found.push([text.slice(from, colon).trim(), text.slice(colon + 1, end).trim()]);
    [from, colon] = [end + 1, -1];
  };
  for (let at = start; at < text.length; at++) {
    const char = text[at];
    if (quoted) { if (char === "\\") at++; else if (char === '"') quoted = false; continue; }
    if (char === '"') quoted = true;
    else if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") { if (--depth === 0) { end_member(at); return found; } }
    else if (depth === 1 && char === ":" && colon < 0) colon = at;
    else if (depth === 1 && char === ",") end_member(at);
  }
  end_member(text.length);
  return found;
}

// A payload for one line of a table, where little room is: without JSON's marks, without long integers, which are times and
// numbers of messages, and without what the topic's name says already.
export function glance(text, name) {
  const bare = (word) => (/^"[^"\\]*"$/.test(word) ? word.slice(1, -1) : word);
  const said = (value) => /^\d{12,}$/.test(value) || (value.length > 2 && name.toLowerCase().includes(value.toLowerCase()));
  const parts = members(text)?.map((part) => part.map(bare)).filter(([, value]) => !said(value));
  return parts?.length ? parts.map((part) => part.join(":")).join(" ") : text;
}

const is_number = (value) => (typeof value === "string" && value !== "" || typeof value === "number") && Number.isFinite(Number(value));
const is_quote = (value) => typeof value?.s === "string" && is_number(value.b) && is_number(value.a);
const is_trade = (value) => typeof value?.s === "string" && is_number(value.p) && (value.side === "buy" || value.side === "sell");
const bears_demo = (data) => typeof data === "string" && data.includes('"demo"') && JSON.parse(data)?.demo === true;
const shown = (value) => String(value ?? "").slice(0, TEXT_CHARS_MAX);
// A slice keeps its whole parent alive; a clone does not.
const shortened = (text) => text.length > PAYLOAD_CHARS_MAX ? structuredClone(text.slice(0, PAYLOAD_CHARS_MAX)) + "…" : text;
const hexadecimal = (bytes) => {
  const head = Array.from(bytes.subarray(0, 64), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${bytes.length} bytes: ${head}${bytes.length > 64 ? " …" : ""}`;
};
