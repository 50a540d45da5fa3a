// A client for tidegate's native protocol, without dependencies: copy this file, it is yours (MIT OR Apache-2.0).
//   const link = connect({ url: "ws://127.0.0.1:8080/stream", streams: ["demo.bbo.BTC-USD;last"],
//                          onpublication: ({ topic, offset, data }) => console.log(topic, offset, JSON.parse(data)) });
// `streams` may be an async function, asked again at every connection. `data` is the payload's JSON text, or the bytes of a binary one.
const BACKOFF_BASE_MS = 500, BACKOFF_MAX_MS = 30_000, SETTLED_MS = 10_000, SILENCE_MS = 10_000, nothing = () => {};

export function connect({ url, streams = [], onpublication, onsubscribed = nothing, onevent = nothing, onstate = nothing }) {
  let socket, timer, probe, opened_at, silences = 0, failures = 0, requests = 0;
  const waiting = new Map(); // request id -> the promise that its reply settles
  function open() {
    clearTimeout(timer), opened_at = Infinity;
    const mine = (socket = new WebSocket(url));
    mine.binaryType = "arraybuffer";
    onstate({ state: "connecting" });
    mine.onopen = async () => {
      opened_at = performance.now();
      probe = setInterval(listen, SILENCE_MS);
      try {
        await subscribe(typeof streams === "function" ? await streams() : streams);
        if (mine === socket) onstate({ state: "live" });
      } catch (error) { lost(mine, 1006, error.message); }
    };
    mine.onmessage = ({ data }) => { silences = 0; take(data); };
    mine.onclose = ({ code, reason }) => lost(mine, code, reason);
  }
  // A network can vanish without a word: a silent line is asked for a sign of life, then given up.
  function listen() {
    if (++silences === 2) request("PING").catch(nothing);
    if (silences > 2) lost(socket, 1006, "no answer");
  }
  function drop(why) {
    socket?.close();
    socket = undefined;
    clearInterval(probe);
    silences = 0;
    for (const { reject } of waiting.values()) reject(new Error(why));
    waiting.clear();
  }
  // Full jitter: a random wait below a bound that doubles, so that clients dropped together do not return together.
  function lost(mine, code, reason) {
    if (mine !== socket) return;
    drop(`connection lost (${code})`);
    failures = performance.now() - opened_at > SETTLED_MS ? 0 : failures + 1;
    let wait_ms = Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** failures);
    if (code === 1012) wait_ms = 5_000 + Math.random() * 25_000; // a restart: 5 to 30 s, as the registry of close codes asks
    if (code === 1013) wait_ms += 5_000; // overload, or we were too slow: never at once
    timer = setTimeout(open, wait_ms);
    onstate({ state: "waiting", code, reason, wait_ms });
  }
  // The first key tells what a text message is. A topic holds no quote, so the first `,"data":` is the publication's own.
  function take(message) {
    if (typeof message !== "string") return onpublication(binary(message));
    if (message.startsWith('{"stream":"')) {
      const name_end = message.indexOf('"', 11), data = message.indexOf(',"data":', name_end);
      const offset = parseInt(message.slice(name_end + 6, data), 10); // behind `","o":`
      return onpublication({ topic: message.slice(11, name_end), offset, data: message.slice(data + 8, -1) });
    }
    const value = JSON.parse(message), asked = waiting.get(value.id);
    if (value.e) return onevent(value);
    waiting.delete(value.id);
    if (value.error) asked?.reject(new Error(`${value.error.msg} (error ${value.error.code})`)); else asked?.resolve(value.result);
  }
  function request(method, params) {
    if (socket?.readyState !== 1) return Promise.reject(new Error("not connected"));
    socket.send(JSON.stringify({ method, params, id: ++requests }));
    return new Promise((resolve, reject) => waiting.set(requests, { resolve, reject }));
  }
  async function subscribe(list) {
    // 200 names of 255 bytes stay below the 64 KiB of a request.
    for (let at = 0; at < list.length; at += 200) onsubscribed(await request("SUBSCRIBE", list.slice(at, at + 200)));
  }
  open();
  return { request, subscribe, reconnect: () => socket ?? open(), close: () => { clearTimeout(timer); drop("closed by us"); } };
}
// Layout 1, big endian: u8 1, u8 flags (1: a time follows the offset), u16 length of the topic, topic, u64 offset, payload.
function binary(buffer) {
  const view = new DataView(buffer), end = 4 + view.getUint16(2), topic = new TextDecoder().decode(new Uint8Array(buffer, 4, end - 4));
  return { topic, offset: Number(view.getBigUint64(end)), data: new Uint8Array(buffer, end + (view.getUint8(1) & 1 ? 16 : 8)) };
}
