// How a page in headless Chromium shows a token; usage: node browser.mjs ORIGIN GOOD_TOKEN BAD_TOKEN. Exit 1 where something is not as it
// should be. `playwright-core` is looked for in NODE_PATH.
import { createRequire } from "node:module";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [origin, good, bad] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const page = await browser.newPage();
// A page of the gateway's own, so that its origin is allowed.
await page.goto(`${origin}/health/live`);

// What became of a connection: the subprotocol that the browser sees, or that it failed.
const connect = (path, protocols) => page.evaluate(([url, protocols]) => new Promise((resolve) => {
  const socket = new WebSocket(url, protocols);
  socket.onopen = () => { socket.close(); resolve(`open ${socket.protocol}`); };
  socket.onerror = () => resolve("failed");
}), [`${origin.replace("http", "ws")}${path}`, protocols]);

let failed = 0;
for (const [name, path, protocols, expected] of [
  ["a token beside tidegate.v1", "/ws/md.a", ["tidegate.v1", `bearer.${good}`], "open tidegate.v1"],
  ["a token before tidegate.v1", "/ws/md.a", [`bearer.${good}`, "tidegate.v1"], "open tidegate.v1"],
  ["a bearer alone", "/ws/md.a", [`bearer.${good}`], "failed"],
  ["a token that is over", "/ws/md.a", ["tidegate.v1", `bearer.${bad}`], "failed"],
  ["no token", "/ws/md.a", ["tidegate.v1"], "failed"],
  ["a token in the query", `/ws/md.a?token=${good}`, [], "open "],
  ["another topic", "/ws/other", ["tidegate.v1", `bearer.${good}`], "failed"],
]) {
  const outcome = await connect(path, protocols);
  console.log(`${outcome === expected ? "ok  " : "FAIL"} ${name}: ${outcome}`);
  failed += outcome === expected ? 0 : 1;
}
await browser.close();
process.exit(failed === 0 ? 0 : 1);
