// Server-sent events in the clothes of a WebSocket, for networks that block WebSocket: copy this file beside stream.js.
//   connect({ url, streams, onpublication, dial: dialler() });
// It takes one SUBSCRIBE, of as many streams as a URL holds; how many were left out it says by the event `leftOut`.
const URL_MAX = 7_000;

// WebSocket first. Where two in a row did not open, and none ever did, two times events, and so on; what worked is kept to.
export function dialler() {
  let dials = 0, met = false;
  return (url) => {
    const by_events = typeof WebSocket === "undefined" || (!met && dials % 4 >= 2);
    dials++;
    const line = by_events ? new Events(url) : new WebSocket(url);
    line.addEventListener("open", () => { met = !by_events, dials = by_events ? 2 : 0; });
    return line;
  };
}

export class Events extends EventTarget {
  readyState = 0;
  constructor(url) {
    super();
    this.url = url.replace(/^ws/, "http").replace(/stream$/, "sse?streams=");
    // Whoever made it first says what is to be done when it opens.
    setTimeout(() => { if (this.readyState === 0) this.readyState = 1, this.onopen?.(); });
  }
  send(request) {
    const { method, params } = JSON.parse(request), later = (message) => setTimeout(() => this.onmessage?.({ data: JSON.stringify(message) }));
    if (method !== "SUBSCRIBE") return later({ result: null });
    const names = params.map(encodeURIComponent), fits = (_, at) => names.slice(0, at + 1).join("/").length < URL_MAX;
    const streams = this.source ? [] : names.filter(fits);
    if (streams.length < names.length) later({ e: "leftOut", n: names.length - streams.length });
    if (this.source) return later({ result: null });
    if (!params.some((stream) => stream.includes(";"))) later({ result: null }); // without an option there is no reply
    this.source = new EventSource(this.url + streams.join("/"));
    this.source.onopen = () => this.dispatchEvent(new Event("open"));
    this.source.onmessage = ({ data }) => this.take(data);
    // It would come back by itself, but always from the same URL; stream.js knows better from where.
    this.source.onerror = () => { this.close(), this.onclose?.({ code: 1006, reason: "" }); };
  }
  // A binary publication comes as it would over WebSocket: layout 1, no flags, the topic with its length, offset, payload.
  take(message) {
    const [, topic, offset, base64] = message.match(/^\{"stream":"([^"]*)","o":(\d+)(?:,"t":\d+)?,"b64":"([^"]*)"\}$/) ?? [];
    if (base64 === undefined) return this.onmessage?.({ data: message });
    const name = new TextEncoder().encode(topic), payload = Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0));
    const bytes = new Uint8Array(12 + name.length + payload.length), view = new DataView(bytes.buffer);
    view.setUint8(0, 1), view.setUint16(2, name.length), bytes.set(name, 4);
    view.setBigUint64(4 + name.length, BigInt(offset)), bytes.set(payload, 12 + name.length);
    this.onmessage?.({ data: bytes.buffer });
  }
  close() {
    this.readyState = 3;
    this.source?.close();
  }
}
