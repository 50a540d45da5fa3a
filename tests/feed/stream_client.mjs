// Runs docs/clients/stream.js on npm `ws` and prints what comes, one JSON value a line: `node stream_client.mjs URL STREAM...`.
// NODE_PARTS is where `ws` is. The first wait is shorter than a client's, so that many cuts take little time.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

globalThis.WebSocket = createRequire(`${process.env.NODE_PARTS}/`)("ws");
const source = readFileSync(new URL("../../docs/clients/stream.js", import.meta.url), "utf8").replace("BASE_MS = 500, MAX_MS = 30_000", "BASE_MS = 5, MAX_MS = 50");
const { connect } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const [url, ...streams] = process.argv.slice(2);
connect({
  url,
  streams,
  onpublication: ({ topic, offset, data }) => console.log(JSON.stringify([topic, offset, typeof data === "string" ? data : Buffer.from(data).toString("hex")])),
  ongap: ({ topic, from, to }) => console.log(JSON.stringify({ topic, from, to })),
});
