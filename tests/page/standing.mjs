// Checks of what the page says of feeds that are stale, have a gap or are thinned out, and of its way where WebSocket is blocked;
// usage as that of page.mjs. The gateway plays the synthetic market.
import { assert, check, complaints, finish, first_price, foreign, legible, moving, open, orderly, picture } from "./harness.mjs";

// The gateway's own messages come through; more are put between them.
let say;
const between = (fresh) => fresh.routeWebSocket(/\/stream$/, (socket) => { socket.connectToServer(); say = (event) => socket.send(JSON.stringify(event)); });
const { page } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "light" }, between);
const row = (symbol) => page.locator("#instruments tr").filter({ hasText: symbol });
const tag = (symbol, text) => row(symbol).locator(".tag").filter({ hasText: new RegExp(`^${text}$`) }).waitFor();

await check("a stale feed is marked, and says since when", async () => {
  await first_price(page);
  say({ e: "stale", s: "demo.bbo.BTC-USD", since: Date.UTC(2026, 0, 1, 12, 3, 4) });
  await tag("BTC-USD", "stale");
  await row("BTC-USD").click();
  await page.waitForFunction(() => document.getElementById("standing").textContent === "Stale: the feed behind it is gone since 12:03:04 UTC.");
});
await check("a gap and what was left out are counted", async () => {
  say({ e: "gap", s: "demo.trades.ETH-USD", from: 11, to: 1210 });
  await tag("ETH-USD", "gap");
  say({ e: "culled", s: "demo.bbo.DOGE-USD", o: 9, n: 3 });
  say({ e: "culled", s: "demo.bbo.DOGE-USD", o: 12, n: 2 });
  await tag("DOGE-USD", "culled");
  await row("DOGE-USD").click();
  await page.waitForFunction(() => document.getElementById("standing").textContent === "Culled: 5 publications left out, for newer ones.");
  await row("ETH-USD").click();
  await page.waitForFunction(() => document.getElementById("standing").textContent === "Gap: 1200 publications could not be had.");
});
await check("all of it is legible and in its place", async () => {
  const whole = async () => {
    const cut = await page.$$eval("#instruments th", (cells) => cells.filter((cell) => cell.querySelector(".tag").textContent && cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent));
    assert(cut.length === 0, `cut short: ${cut}`);
    await orderly(page);
  };
  await whole();
  const least = await legible(page);
  await picture(page, "standing-wide-light");
  await page.setViewportSize({ width: 390, height: 844 });
  await whole();
  await picture(page, "standing-narrow-light");
  await page.setViewportSize({ width: 1440, height: 900 });
  return `least contrast ${least.toFixed(2)}`;
});
await check("a feed that is back is fresh", async () => {
  say({ e: "fresh", s: "demo.bbo.BTC-USD", E: Date.now() });
  await row("BTC-USD").locator(".tag").waitFor({ state: "hidden" });
});
await page.close();

await check("where WebSocket is blocked the market comes as server-sent events", async () => {
  const { page: blocked } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "dark" }, (fresh) => fresh.addInitScript(() => {
    window.WebSocket = class extends EventTarget {
      constructor() { super(); setTimeout(() => this.onclose({ code: 1006, reason: "" })); }
      close() {}
    };
  }));
  await blocked.waitForFunction(() => document.getElementById("state").textContent === "Live over HTTP");
  await first_price(blocked);
  await moving(blocked);
  await orderly(blocked);
  await legible(blocked);
  await picture(blocked, "over-http-wide-dark");
  assert((await blocked.evaluate(() => window.seen.violations)).length === 0, "the policy forbids it");
  await blocked.close();
});
await check("no complaint on the console", () => assert(foreign(complaints).length === 0, foreign(complaints).slice(0, 4).join(" | ")));
await finish();
