// Checks of the page over https, in headless Chromium; usage as that of page.mjs.
import { assert, check, complaints, finish, first_price, moving, open } from "./harness.mjs";

const sockets = [];
const { page, response } = await open({ viewport: { width: 1440, height: 900 } }, async (page) => {
  page.on("websocket", (socket) => sockets.push(socket));
});
await check("the page comes over TLS 1.3", async () => {
  const { protocol } = await response.securityDetails();
  assert(response.ok() && protocol === "TLS 1.3", `${response.status()}, ${protocol}`);
});
await check("the feed comes over wss, and prices move", async () => {
  await first_price(page);
  await moving(page);
  assert(sockets.length > 0 && sockets.every((socket) => socket.url().startsWith("wss://")), sockets.map((socket) => socket.url()).join(", "));
  return sockets[0].url();
});
await check("no complaint on the console", () => assert(complaints.length === 0, complaints.slice(0, 4).join(" | ")));
await finish();
