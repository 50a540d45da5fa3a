// The client and the model of the page without a browser: `node --test tests/page/unit.mjs`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

// As data URLs, so that no package file is needed beside the sources.
const load = (name) => import(`data:text/javascript,${encodeURIComponent(readFileSync(new URL(`../../${name}`, import.meta.url), "utf8"))}`);
const { connect } = await load("docs/clients/stream.js");
const { Board, Feed, Instrument, Rate, glance, members } = await load("src/page/market.js");

class Socket {
  static all = [];
  constructor(url) { Object.assign(this, { url, readyState: 0, sent: [] }); Socket.all.push(this); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  async open() { this.readyState = 1; await this.onopen(); }
  reply(value) { this.onmessage({ data: JSON.stringify(value) }); }
}
globalThis.WebSocket = Socket;
const settle = () => new Promise((resolve) => setImmediate(resolve));

function start(options = {}) {
  Socket.all = [];
  const seen = { publications: [], states: [], events: [], entries: [] };
  const link = connect({
    url: "ws://gateway/stream",
    onpublication: (publication) => seen.publications.push(publication),
    onstate: (state) => seen.states.push(state),
    onevent: (event) => seen.events.push(event),
    onsubscribed: (entries) => seen.entries.push(entries),
    ...options,
  });
  return { link, seen, socket: () => Socket.all.at(-1) };
}

test("the first key tells what a message is", () => {
  const { link, seen, socket } = start();
  socket().onmessage({ data: '{"stream":"a.b","o":7,"data":{"x":",\\"data\\":","e":1}}' });
  socket().onmessage({ data: '{"stream":"a.b","o":8,"t":1723,"data":"text"}' });
  socket().onmessage({ data: '{"e":"serverShutdown","E":1,"in":2}' });
  assert.deepEqual(seen.publications, [{ topic: "a.b", offset: 7, data: '{"x":",\\"data\\":","e":1}' }, { topic: "a.b", offset: 8, data: '"text"' }]);
  assert.equal(seen.events[0].e, "serverShutdown");
  link.close();
});

test("a binary publication, with and without a time", () => {
  const { link, seen, socket } = start();
  const topic = [0, 2, 0x61, 0x62], offset = [0, 0, 0, 0, 0, 0, 1, 2], time = [9, 9, 9, 9, 9, 9, 9, 9];
  socket().onmessage({ data: Uint8Array.from([1, 0, ...topic, ...offset, 5, 6]).buffer });
  socket().onmessage({ data: Uint8Array.from([1, 1, ...topic, ...offset, ...time, 5, 6]).buffer });
  for (const publication of seen.publications) assert.deepEqual(publication, { topic: "ab", offset: 258, data: Uint8Array.of(5, 6) });
  assert.equal(seen.publications.length, 2);
  link.close();
});

test("streams are asked for in batches, and live is said after the last reply", async () => {
  const { link, seen, socket } = start({ streams: async () => Array.from({ length: 450 }, (_, at) => `t${at};last`) });
  socket().open();
  for (const length of [200, 200, 50]) {
    await settle();
    const { method, params, id } = socket().sent.at(-1);
    assert.deepEqual([method, params.length], ["SUBSCRIBE", length]);
    assert.notEqual(seen.states.at(-1).state, "live");
    socket().reply({ result: [], id });
  }
  await settle();
  assert.equal(seen.states.at(-1).state, "live");
  link.close();
});

test("a refused subscription is a lost connection with the gateway's sentence", async () => {
  const { link, seen, socket } = start({ streams: ["bad topic"] });
  socket().open();
  await settle();
  socket().reply({ error: { code: 3, msg: "bad topic" }, id: 1 });
  await settle();
  assert.match(seen.states.at(-1).reason, /bad topic \(error 3\)/);
  link.close();
});

test("waits by close code", () => {
  const waits = (code, count, random) => {
    const { link, seen, socket } = start();
    mock.method(Math, "random", () => random);
    for (let at = 0; at < count; at++) { socket().onclose({ code, reason: "" }); link.reconnect(); }
    mock.restoreAll();
    link.close();
    return seen.states.filter(({ state }) => state === "waiting").map(({ wait_ms }) => wait_ms);
  };
  assert.deepEqual(waits(1006, 8, 0), Array(8).fill(0));
  assert.deepEqual(waits(1006, 8, 1), [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  assert.deepEqual(waits(1012, 2, 0), [5000, 5000]);
  assert.deepEqual(waits(1012, 2, 1), [30000, 30000]);
  assert.deepEqual(waits(1013, 2, 0), [5000, 5000]);
  assert.deepEqual(waits(1013, 2, 1), [6000, 7000]);
});

test("a silent line is asked for a sign of life, then given up", async () => {
  mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  const { link, seen, socket } = start();
  await socket().open();
  mock.timers.tick(20_000);
  assert.equal(socket().sent.at(-1).method, "PING");
  socket().reply({ result: { time: 1 }, id: socket().sent.at(-1).id });
  mock.timers.tick(10_000);
  assert.equal(seen.states.at(-1).state, "live");
  mock.timers.tick(20_000);
  assert.deepEqual([seen.states.at(-1).state, seen.states.at(-1).reason], ["waiting", "no answer"]);
  link.close();
  mock.timers.reset();
});

const quote = (topic, offset, more = {}) => ({ topic, offset, data: JSON.stringify({ demo: true, s: "X", b: "1.00", B: "5", a: "1.02", A: "6", E: 900, ...more }) });
const trade = (topic, offset, p, side = "buy") => ({ topic, offset, data: JSON.stringify({ demo: true, s: "X", p, q: "2", side, E: 900 }) });

test("quotes and trades of a symbol are one instrument", () => {
  const board = new Board();
  board.take(quote("m.bbo.X", 1), 1000, 950);
  board.take(trade("m.trades.X", 1, "1.01"), 1000, 950);
  board.take(trade("m.trades.X", 2, "1.00", "sell"), 1100, 950);
  const [view] = board.views.values();
  assert.ok(view instanceof Instrument && board.views.size === 1);
  assert.deepEqual([view.bid, view.ask, view.price, view.direction, view.low, view.high], ["1.00", "1.02", "1.00", -1, 1, 1.01]);
  assert.deepEqual([board.demo, board.age().median, view.trades.newest(1).price], [true, 50, "1.01"]);
});

test("a topic with the market's name but another payload is a feed for good", () => {
  const board = new Board();
  board.take({ topic: "m.trades.X", offset: 1, data: "[1]" }, 0, 0);
  board.take(trade("m.trades.X", 2, "1.01"), 0, 0);
  const [view] = board.views.values();
  assert.ok(view instanceof Feed && board.views.size === 1);
  assert.deepEqual([view.payloads.newest(1).text, view.offset, board.removed.size], ["[1]", 2, 1]);
});

test("what `last` brings is shown, but is neither rate nor age", () => {
  const board = new Board();
  board.subscribed([{ stream: "m.bbo.X;last", epoch: "a", offset: 5 }], 0);
  board.take(quote("m.bbo.X", 5), 100, 99_999);
  assert.deepEqual([board.views.get("m.*.X").bid, board.age(), board.messages.value(200)], ["1.00", undefined, 0]);
  board.take(quote("m.bbo.X", 6), 100, 901);
  assert.equal(board.age().median, 1);
});

test("only payloads that say so are synthetic", () => {
  const board = new Board();
  board.take(quote("m.bbo.X", 1, { demo: undefined }), 0, 0);
  board.take({ topic: "a", offset: 1, data: '{"x":{"demo":true}}' }, 0, 0);
  assert.equal(board.demo, false);
  board.take({ topic: "b", offset: 1, data: '{"demo":true}' }, 0, 0);
  assert.equal(board.demo, true);
});

test("payloads are cut, binary ones told in hexadecimal, memory stays", () => {
  const board = new Board();
  for (let offset = 1; offset <= 100; offset++) board.take({ topic: "long", offset, data: `"${"x".repeat(5000)}"` }, 0, 0);
  board.take({ topic: "bytes", offset: 1, data: Uint8Array.of(1, 255) }, 0, 0);
  const { payloads } = board.views.get("long");
  assert.deepEqual([payloads.items.length, payloads.newest(0).text.length, payloads.newest(12).offset, payloads.newest(13)], [13, 513, 88, undefined]);
  assert.equal(board.views.get("bytes").payloads.newest(0).text, "2 bytes: 01 ff");
});

test("the busiest instrument is where to begin, else the busiest feed", () => {
  const entries = (...list) => list.map(([stream, offset]) => ({ stream: `${stream};last`, epoch: "a", offset }));
  const busiest = (...list) => { const board = new Board(); board.subscribed(entries(...list), 0); return board.busiest?.key; };
  assert.equal(busiest(["a", 90], ["m.bbo.X", 5], ["m.bbo.Y", 9], ["m.trades.X", 7]), "m.*.Y");
  assert.equal(busiest(["a", 1], ["b", 3], ["c", 2]), "b");
  assert.equal(busiest(), undefined);
});

test("the members of a payload are its own text, also where it was cut short", () => {
  const cases = [
    ['{"p":"1.10","q":[1,{"a":2}],"s":"a,b:\\"c}"}', [['"p"', '"1.10"'], ['"q"', '[1,{"a":2}]'], ['"s"', '"a,b:\\"c}"']]],
    [' { "big" : 12345678901234567890 , "x" : null } ', [['"big"', "12345678901234567890"], ['"x"', "null"]]],
    ['{"a":1,"b":[1,2…', [['"a"', "1"], ['"b"', "[1,2…"]]],
    ['{"a":1,"unfin…', [['"a"', "1"]]],
    ["{}", []],
    ["[1,2]", undefined],
    ["", undefined],
  ];
  for (const [text, expected] of cases) assert.deepEqual(members(text), expected, text);
});

test("a glance leaves out times, long numbers and what the topic's name says", () => {
  const check = (text, name, expected) => assert.equal(glance(text, name), expected);
  check('{"e":"trade","E":1723161256299,"s":"BTCUSDT","p":"58710.20","m":true}', "btcusdt@trade", "p:58710.20 m:true");
  check('{"b":[["1.0","2"]],"a":"t"}', "at", 'b:[["1.0","2"]] a:t');
  check('{"E":1723161256299}', "a", '{"E":1723161256299}');
  check("[1,2]", "a", "[1,2]");
});

test("a history carries prices on, and leaves a hole where the connection was lost", () => {
  const board = new Board();
  board.take(quote("m.bbo.X", 1), 1000, 0);
  const { history } = board.views.get("m.*.X"), slots = () => Array.from(history.bid).filter((bid) => bid === 1).length;
  history.advance(1900);
  assert.equal(slots(), 10);
  board.cut(2000);
  history.advance(5000);
  assert.equal(slots(), 10);
  history.advance(10_000_000);
  assert.equal(slots(), 0);
});

test("a rate is that of the last ten slots", () => {
  const rate = new Rate(100);
  for (let now = 0; now < 5000; now += 10) rate.mark(now);
  assert.ok(Math.abs(rate.value(5000) - 100) < 2, `${rate.value(5000)}`);
  assert.equal(rate.value(6000), 0);
});

test("it goes on where it was, and says what cannot be had", async () => {
  const gaps = [];
  const { link, seen, socket } = start({ streams: ["a", "b;last;ts=1", "c.*", "d;rate=1s", "e;since=x:3;last"], ongap: (gap) => gaps.push(gap) });
  const asked = async (result) => { await socket().open; socket().open(); await settle(); socket().reply({ result, id: null }); return socket().sent.at(-1).params; };
  assert.deepEqual(await asked([{ stream: "a", epoch: "x", offset: 5, recovered: false }, { stream: "b", epoch: "x", offset: 8 }, { stream: "c.*", topics: 2 }, { stream: "d", epoch: "x", offset: 1 }, { stream: "e", epoch: "x", offset: 7, recovered: true }]),
    ["a;since=0:0", "b;last;ts=1", "c.*", "d;rate=1s", "e;since=x:3;last"]);
  assert.deepEqual(gaps, [], "a position that was never one is no loss");
  for (const [topic, offset] of [["b", 8], ["c.x", 4], ["d", 9], ["e", 4]]) socket().onmessage({ data: `{"stream":"${topic}","o":${offset},"data":1}` });
  socket().onclose({ code: 1006, reason: "" }), link.reconnect();
  assert.deepEqual(await asked([{ stream: "a", epoch: "x", offset: 9, recovered: false }, { stream: "b", epoch: "x", offset: 20, recovered: false }, { stream: "c.*", topics: 2 }, { stream: "d", epoch: "x", offset: 1 }, { stream: "e", epoch: "y", offset: 2, recovered: false }]),
    ["a;since=x:5", "b;since=x:8;last;ts=1", "c.*", "d;rate=1s", "e;since=x:4;last"]);
  // With `last` the newest of them is still to come.
  assert.deepEqual(gaps, [{ topic: "a", from: 6, to: 9 }, { topic: "b", from: 9, to: 19 }, { topic: "e", from: 5, to: undefined }]);
  // Cut again before it came: what follows it is lost too.
  socket().onclose({ code: 1006, reason: "" }), link.reconnect();
  assert.equal((await asked([{ stream: "b", epoch: "x", offset: 30 }]))[1], "b;last;ts=1");
  assert.deepEqual(gaps.splice(3), [{ topic: "b", from: 20, to: 29 }]);
  socket().reply({ e: "gap", s: "a", from: 10, to: 12 }), socket().reply({ e: "epoch", s: "a", epoch: "z" });
  assert.deepEqual([gaps.at(-1), seen.events.length], [{ topic: "a", from: 10, to: 12 }, 2]);
  socket().onclose({ code: 1006, reason: "" }), link.reconnect();
  assert.deepEqual((await asked([])).slice(0, 2), ["a;since=z:0", "b;last;ts=1"]);
  link.close();
});
