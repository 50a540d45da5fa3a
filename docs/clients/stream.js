// A client for tidegate's native protocol, without dependencies: copy this file, it is yours (MIT OR Apache-2.0).
//   connect({ url: "ws://127.0.0.1:8080/stream", streams: ["demo.bbo.BTC-USD;last"], onpublication: console.log, ongap: console.warn });
// `streams` may be an async function, asked again at every connection. `data` is the payload's JSON text, or the bytes of a binary one.
// It comes back by itself and goes on where it was; `ongap` says what cannot be had any more, and what was made of it is to be made anew.
const BASE_MS = 500, MAX_MS = 30_000, SETTLED_MS = 10_000, SILENCE_MS = 10_000, nothing = () => {}, by_socket = (url) => new WebSocket(url);

export function connect({ url, streams = [], onpublication, onsubscribed = nothing, ongap = nothing, onevent = nothing, onstate = nothing, dial = by_socket }) {
  let socket, timer, probe, opened_at, silences = 0, failures = 0;
  const waiting = [], places = new Map(); // requests, answered in their order; by topic how far we are
  function open() {
    clearTimeout(timer), opened_at = Infinity;
    const mine = (socket = dial(url));
    mine.binaryType = "arraybuffer", onstate({ state: "connecting" });
    mine.onopen = async () => {
      opened_at = performance.now(), probe = setInterval(listen, SILENCE_MS);
      try { await subscribe(typeof streams === "function" ? await streams() : streams); } catch (error) { return lost(mine, 1006, error.message); }
      if (mine === socket) onstate({ state: "live" });
    };
    mine.onmessage = ({ data }) => { silences = 0; take(data); };
    mine.onclose = ({ code, reason }) => lost(mine, code, reason), mine.onerror = nothing; // what went wrong, onclose says
  }
  // A network can vanish without a word: a silent line is asked for a sign of life, then given up.
  const listen = () => ++silences > 2 ? lost(socket, 1006, "no answer") : silences === 2 && request("PING").catch(nothing);
  function drop(why) {
    clearTimeout(timer), clearInterval(probe), socket?.close(), socket = undefined, silences = 0;
    for (const { reject } of waiting.splice(0)) reject(new Error(why));
  }
  // Full jitter: a random wait below a bound that doubles, so that clients dropped together do not return together.
  function lost(mine, code, reason) {
    if (mine !== socket) return;
    drop(`connection lost (${code})`);
    failures = performance.now() - opened_at > SETTLED_MS ? 0 : failures + 1;
    let wait_ms = Math.random() * Math.min(MAX_MS, BASE_MS * 2 ** failures);
    if (code === 1012) wait_ms = 5_000 + Math.random() * 25_000; // a restart: 5 to 30 s, as the registry of close codes asks
    if (code === 1013) wait_ms += 5_000; // overload, or we were too slow: never at once
    timer = setTimeout(open, wait_ms);
    onstate({ state: "waiting", code, reason, wait_ms });
  }
  // As a stream is asked for now: after what came last. No topic has the position 0:0, so the reply then only tells where it stands.
  function resumed(stream) {
    const [topic, ...options] = stream.split(";").filter((part) => !part.startsWith("since=")), last = options.includes("last");
    if (/[*>]/.test(topic) || /;rate=/.test(stream)) return stream;
    const [, epoch, offset] = stream.match(/;since=(\w+):(\d+)/) ?? [], place = places.get(topic) ?? { epoch, offset: offset && Number(offset) };
    places.set(topic, Object.assign(place, { last }));
    if (place.offset !== undefined || !last) options.unshift(place.offset === undefined ? "since=0:0" : `since=${place.epoch}:${place.offset}`);
    return [topic, ...options].join(";");
  }
  function begun({ stream: topic, epoch, offset, recovered }) {
    const place = places.get(topic), from = (place?.offset ?? place?.lost) + 1, to = place?.epoch === epoch ? offset - place?.last : undefined;
    if (!place || recovered || !epoch) return;
    if (from <= (to ?? Infinity)) ongap({ topic, from, to });
    Object.assign(place, place.last ? { epoch, offset: undefined, lost: from ? offset - 1 : undefined } : { epoch, offset }); // `last`: the newest is still to come
  }
  // The first key tells what a text message is. A topic holds no quote, so the first `,"data":` is the publication's own.
  function take(message) {
    if (typeof message !== "string") return came(binary(message));
    const name_end = message.indexOf('"', 11), data = message.indexOf(',"data":', name_end), offset = parseInt(message.slice(name_end + 6, name_end + 23), 10);
    if (message.startsWith('{"stream":"')) return came({ topic: message.slice(11, name_end), offset, data: message.slice(data + 8, -1) });
    const event = JSON.parse(message), { e, s: topic, from, to, epoch, error, result } = event, asked = e ? undefined : waiting.shift();
    if (e === "gap") ongap({ topic, from, to }); else if (e === "epoch") places.set(topic, { ...places.get(topic), epoch, offset: 0 });
    if (asked?.method === "SUBSCRIBE") result?.forEach(begun);
    if (e) onevent(event); else if (error) asked?.reject(new Error(`${error.msg} (error ${error.code})`)); else asked?.resolve(result);
  }
  const came = (publication) => { Object.assign(places.get(publication.topic) ?? {}, { offset: publication.offset }), onpublication(publication); };
  const request = (method, params) => new Promise((resolve, reject) => {
    if (socket?.readyState !== 1) return reject(new Error("not connected"));
    socket.send(JSON.stringify({ method, params })), waiting.push({ method, resolve, reject });
  });
  async function subscribe(list) { // by 200: as many names of 255 bytes, with positions, stay below the 64 KiB of a request
    for (let at = 0; at < list.length; at += 200) onsubscribed((await request("SUBSCRIBE", list.slice(at, at + 200).map(resumed))) ?? []);
  }
  open();
  return { request, subscribe, reconnect: () => socket ?? open(), close: () => drop("closed by us") };
}
// Layout 1, big endian: u8 1, u8 flags (1: a time follows the offset), u16 length of the topic, topic, u64 offset, payload.
function binary(buffer) {
  const view = new DataView(buffer), end = 4 + view.getUint16(2), topic = new TextDecoder().decode(new Uint8Array(buffer, 4, end - 4));
  return { topic, offset: Number(view.getBigUint64(end)), data: new Uint8Array(buffer, end + (view.getUint8(1) & 1 ? 16 : 8)) };
}
