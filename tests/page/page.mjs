// Checks of the page on the synthetic market, in headless Chromium:
//   NODE_PATH=target/test-parts/node/node_modules node tests/page/page.mjs URL DIRECTORY_FOR_PICTURES [SECONDS_BEFORE_A_PICTURE]
// The gateway belongs to the caller (tests/page.rs). This script prints what it needs and waits for a line on its standard input:
//   `ready-for-publish`  -> the caller publishes any payload to a topic that is not the market's, answers `published TOPIC`
//   `ready-for-stop`     -> the caller stops the gateway, answers `stopped`
//   `ready-for-restart`  -> the caller starts it again on the same port, answers `restarted`
import { CONTRAST_MIN, ask, assert, check, complaints, finish, first_price, foreign, legible, moving, open, orderly, picture, prices } from "./harness.mjs";

const SIZES = [["wide", 1440, 900], ["narrow", 390, 844]], SCHEMES = ["light", "dark"];
const POLICY = ["base-uri 'none'", "connect-src 'self' ws: wss:", "default-src 'none'", "form-action 'none'", "frame-ancestors 'none'", "img-src 'self' data:", "script-src 'self'", "style-src 'self'"];

// ---- One page, from its first request to the restart of the gateway -------------------------------------------------------------

const asked_for_topics = [];
const { page, response } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "light" }, async (fresh) => {
  fresh.on("request", (request) => { if (new URL(request.url()).pathname === "/topics") asked_for_topics.push(Date.now()); });
});

await check("the policy of the page is strict", () => {
  const policy = (response.headers()["content-security-policy"] ?? "").split(";").map((part) => part.trim()).filter(Boolean).sort();
  assert(JSON.stringify(policy) === JSON.stringify(POLICY), policy.join("; ") || "no Content-Security-Policy");
});
await check("a price appears", async () => {
  await first_price(page);
  return `${Math.round(await page.evaluate(() => performance.now()))} ms after the navigation began`;
});
await check("the connection is told", async () => { await page.waitForFunction(() => document.getElementById("state").textContent === "Live"); });
await check("synthetic data is marked", async () => { assert(await page.locator("#demo").isVisible(), "the mark is not visible"); });
await check("prices move", async () => {
  await moving(page);
  await page.waitForFunction(() => document.querySelectorAll("#instruments .price-cell:is(.up, .down)").length >= 5);
  return `${(await prices(page)).length} instruments`;
});
await check("ticks flash", async () => { await page.waitForSelector("#instruments .flash"); });
await check("rate and age are shown", async () => {
  await page.waitForFunction(() => Number(document.getElementById("rate").textContent) > 0 && /^[−-]?\d+$/.test(document.getElementById("age").textContent));
  return await page.$eval(".figures", (list) => list.textContent.replace(/\s+/g, " ").trim());
});
await check("the chart is drawn", async () => {
  await page.waitForFunction(() => {
    const canvas = document.getElementById("chart"), { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), colours = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) colours.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
    return colours.size > 4;
  });
});
await check("it draws at most once a frame, and nothing jumps", async () => {
  await page.evaluate(() => Object.assign(window.seen, { asked: 0, frames: 0, shift: 0 }));
  await page.waitForTimeout(3000);
  const { asked, frames, shift } = await page.evaluate(() => window.seen);
  assert(asked <= frames + 2, `${asked} draws asked for in ${frames} frames`);
  assert(shift < 0.01, `layout shifted by ${shift}`);
});
await check("the list of topics is fetched once, not polled", () => assert(asked_for_topics.length === 1, `${asked_for_topics.length} requests`));

await check("rows are chosen by keyboard", async () => {
  const name = () => page.textContent("#detail-name"), row = () => page.evaluate(() => document.activeElement.closest("tr")?.cells[0].firstChild.data);
  await page.focus("#pause");
  await page.keyboard.press("Tab");
  assert(await row() === await name(), "Tab does not lead to the selected row");
  await page.keyboard.press("Home");
  const first = await name();
  assert(first === await row() && first === await page.$eval("#instruments th", (cell) => cell.firstChild.data), `Home: "${first}"`);
  await page.keyboard.press("ArrowDown");
  const second = await name();
  assert(second !== first && second === await row(), `ArrowDown: "${first}" to "${second}"`);
  assert(await page.evaluate(() => document.querySelectorAll("tr[aria-selected=true]").length === 1 && document.activeElement.getAttribute("aria-selected") === "true"), "aria-selected is not on the focused row alone");
  assert(await page.evaluate(() => parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2), "the focus is not visible");
  await page.keyboard.press("ArrowUp");
  assert(await name() === first, "ArrowUp does not lead back");
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  assert(await name() === await row() && await name() !== first, "End and Enter");
  await page.keyboard.press("Home");
  assert(await name() === first, "Home does not lead to the first row");
});
await check("every control is reached by Tab", async () => {
  await page.evaluate(() => document.activeElement.blur());
  const reached = new Set();
  for (let press = 0; press < 12; press++) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.tagName));
  }
  for (const wanted of ["filter", "refresh", "pause", "TR"]) assert(reached.has(wanted), `${wanted} is not among ${Array.from(reached).join(", ")}`);
});
await check("the display can be paused", async () => {
  await page.click("#pause");
  await page.waitForTimeout(300);
  const before = JSON.stringify(await prices(page));
  await page.waitForTimeout(1000);
  assert(JSON.stringify(await prices(page)) === before, "prices moved while paused");
  await legible(page);
  await page.click("#pause");
  await moving(page);
});
await check("the filter hides what does not match", async () => {
  const name = await page.textContent("#detail-name");
  await page.fill("#filter", name);
  assert(await page.locator(".grid tbody tr:visible").count() === 1, "not one row");
  await page.fill("#filter", "");
});
await check("a foreign topic appears in the generic view when asked for", async () => {
  const topic = await ask("ready-for-publish", "published");
  await page.click("#refresh");
  const row = page.locator("#others tr").filter({ hasText: topic });
  await row.waitFor();
  await row.click();
  assert(await page.textContent("#detail-name") === topic, "its name is not shown");
  await page.waitForFunction(() => !document.getElementById("newest").textContent.startsWith("Nothing") && document.getElementById("newest").textContent !== "");
  await orderly(page);
  await legible(page);
  await picture(page, "generic-wide-light");
  return `${topic}: ${(await page.textContent("#newest")).slice(0, 60)}`;
});

// ---- Sizes and schemes ----------------------------------------------------------------------------------------------------------

for (const [size, width, height] of SIZES)
  for (const colorScheme of SCHEMES) {
    const { page: view } = await open({ viewport: { width, height }, colorScheme });
    await check(`${width}x${height} ${colorScheme}: no horizontal scroll, nothing overlaps`, async () => {
      await first_price(view);
      await orderly(view);
    });
    await check(`${width}x${height} ${colorScheme}: contrast at least ${CONTRAST_MIN}, also while ticks flash`, async () => {
      let least = Infinity;
      for (let look = 0; look < 6; look++) { least = Math.min(least, await legible(view)); await view.waitForTimeout(150); }
      return `least ${least.toFixed(2)}`;
    });
    await picture(view, `page-${size}-${colorScheme}`);
    await view.close();
  }
await check("reduced motion: ticks do not flash", async () => {
  const { page: view } = await open({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
  await first_price(view);
  await view.waitForSelector("#instruments .flash");
  const backgrounds = await view.$$eval("#instruments .price-cell", (cells) => Array.from(new Set(cells.map((cell) => getComputedStyle(cell).backgroundColor))));
  assert(backgrounds.every((colour) => colour === "rgba(0, 0, 0, 0)"), backgrounds.join(", "));
  await view.close();
});
await check("without topics the page says how to publish", async () => {
  const { page: view } = await open({ viewport: { width: 390, height: 844 } }, (fresh) => fresh.route("**/topics", (route) => route.fulfill({ json: { topics: [] } })));
  await view.locator("#empty").waitFor();
  assert((await view.textContent("#empty")).includes("curl "), "no command is shown");
  await orderly(view);
  await picture(view, "empty-narrow-light");
  await view.close();
});
await check("no complaint on the console, no breach of the policy", async () => {
  const violations = await page.evaluate(() => window.seen.violations);
  assert(complaints.length === 0 && violations.length === 0, [...complaints, ...violations].slice(0, 4).join(" | "));
});

// ---- The gateway goes and comes back --------------------------------------------------------------------------------------------

await check("a lost connection is told, and what is shown is marked as old", async () => {
  await ask("ready-for-stop", "stopped");
  await page.waitForFunction(() => document.getElementById("state").textContent === "Disconnected" && document.getElementById("note").textContent.startsWith("As of"));
  await orderly(page);
  await legible(page);
  await picture(page, "disconnected-wide-light");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForFunction(() => document.getElementById("state").textContent === "Disconnected" && /\d/.test(document.getElementById("countdown").textContent));
  await orderly(page);
  await picture(page, "disconnected-narrow-light");
  await page.setViewportSize({ width: 1440, height: 900 });
});
await check("it comes back by itself after a restart", async () => {
  await ask("ready-for-restart", "restarted");
  const began = Date.now();
  await page.waitForFunction(() => document.getElementById("state").textContent === "Live", undefined, { timeout: 60_000 });
  const took_ms = Date.now() - began;
  await moving(page);
  // The gateway that came back knows nothing of the positions before, and the page says so.
  await page.locator("#instruments .tag").filter({ hasText: /^gap$/ }).first().waitFor();
  assert((await page.textContent("#note")) === "" || !(await page.textContent("#note")).startsWith("As of"), "still marked as old");
  return `${took_ms} ms, by way of ${(await page.evaluate(() => window.seen.states)).join(" > ")}`;
});
await check("no complaint but of the connection that was lost", async () => {
  const others = foreign(complaints), violations = await page.evaluate(() => window.seen.violations);
  assert(others.length === 0 && violations.length === 0, [...others, ...violations].slice(0, 4).join(" | "));
});

await finish();
