// Checks of the operator's page on an admin port with keys, in headless Chromium; usage as that of operator.mjs. The caller is asked for
//   `ready-for-clients`  -> opens clients that hear the feed and do not read, answers `connected`
//   `ready-for-new-key`  -> puts another key in the place of the watcher's, answers `changed`
// Keys: `watch-...` may read, `feed-...` publish only, `chief-...` read and change; `other-...` is none until it takes the watcher's place.
import { ask, assert, check, complaints, finish, foreign, legible, open, orderly, picture } from "./harness.mjs";

const REST = "0123456789abcdef0123456789abcdef", [WATCHER, FEED, CHIEF, OTHER] = ["watch", "feed", "chief", "other"].map((name) => `${name}-${REST}`);
const SIZES = [["wide", 1440, 900], ["narrow", 390, 844]], SCHEMES = ["light", "dark"];

const { page } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
let asked = 0;
page.on("request", (request) => { if (new URL(request.url()).pathname.startsWith("/api/")) asked++; });
const is_asked = (page) => page.waitForFunction(() => !document.getElementById("door").hidden && document.getElementById("main").hidden);
const is_live = (page) => page.waitForFunction(() => document.getElementById("state").textContent === "Live" && document.getElementById("door").hidden && !document.getElementById("main").hidden);
const stored = (page) => page.evaluate(() => [JSON.stringify({ ...sessionStorage }), JSON.stringify({ ...localStorage }), document.cookie, location.href]);
async function give(page, key) {
  await page.fill("#key", key);
  await page.press("#key", "Enter");
}
const is_told = (page, sentence) => page.waitForFunction((sentence) => document.getElementById("door-said").textContent === sentence, sentence);

await check("without a key the page comes, and asks for one", async () => {
  await is_asked(page);
  assert(await page.textContent("#state") === "A key is needed" && await page.textContent("#door-said") === "", await page.textContent("body"));
  const field = await page.evaluate(() => [document.activeElement.id, document.activeElement.type, document.activeElement.labels[0].textContent]);
  assert(field.join() === "key,password,Key", field.join());
  assert(await page.isHidden("#borne") && await page.isHidden("#windows") && await page.isHidden("#figures"), "what belongs to the plots is shown");
});
for (const [size, width, height] of SIZES)
  for (const colorScheme of SCHEMES)
    await check(`${width}x${height} ${colorScheme}: the question is legible, in its place`, async () => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await orderly(page);
      await picture(page, `operator-key-${size}-${colorScheme}`);
      return `least contrast ${(await legible(page, 8)).toFixed(2)}`;
    });
await page.setViewportSize({ width: 1440, height: 900 });
await page.emulateMedia({ colorScheme: "light" });
await check("what is no key by its form is not sent", async () => {
  const before = asked;
  await give(page, "short");
  await is_told(page, "That is no key: keys have 20 to 512 characters, without spaces.");
  assert(asked === before, `${asked - before} requests`);
});
await check("a wrong key, and one that may not read, are told, and another is asked for", async () => {
  await give(page, OTHER);
  await is_told(page, "The gateway knows no such key.");
  await give(page, FEED);
  await is_told(page, 'The key "feed" is not good for reading: it needs read = true.');
  assert(await page.isVisible("#door") && (await stored(page))[0] === "{}", "it is kept");
  await picture(page, "operator-key-wrong");
});
await ask("ready-for-clients", "connected");
await check("a key that may read shows all, and cannot disconnect", async () => {
  await give(page, WATCHER);
  await is_live(page);
  assert(await page.textContent("#borne-name") === "watcher" && await page.inputValue("#key") === "", "the key stays in its field");
  await page.waitForFunction(() => document.querySelectorAll("#slow tbody button").length > 0);
  assert(await page.$$eval("#slow tbody button", (all) => all.every(({ disabled }) => disabled)), "a button can be pressed");
  assert(await page.isVisible("#bound"), "nothing says why");
  await page.click("#windows button:first-child");
  await page.waitForFunction(() => document.querySelector("#deliveries .line").getAttribute("d").split("L").length >= 3);
  await page.evaluate(() => document.activeElement.blur());
  await orderly(page);
  await legible(page);
  await picture(page, "operator-key-watcher");
});
await check("the key is kept for this tab and nowhere else", async () => {
  const [session, ...others] = await stored(page);
  assert(session.includes(WATCHER) && !others.join().includes("watch-") && others[0] === "{}" && others[1] === "", [session, ...others].join(" "));
  await page.reload();
  await is_live(page);
  const { page: other } = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await is_asked(other);
  await give(other, CHIEF);
  await is_live(other);
  await orderly(other);
  await legible(other);
  await other.close();
});
await ask("ready-for-new-key", "changed");
await check("a key that is taken away is told, and nothing more is asked for without one", async () => {
  await is_asked(page);
  assert(await page.textContent("#door-said") === "The key that this tab had is not in force any more.", await page.textContent("#door-said"));
  assert((await stored(page))[0] === "{}" && await page.textContent("#figures dd") === "–", "it is kept, or figures stay");
  const before = asked;
  await page.waitForTimeout(2500);
  assert(asked === before, `${asked - before} requests`);
});
await check("a key that may change disconnects", async () => {
  await give(page, CHIEF);
  await is_live(page);
  await page.waitForFunction(() => document.querySelector("#slow tbody button")?.disabled === false);
  assert(await page.isHidden("#bound") && await page.textContent("#borne-name") === "chief", "it is not told apart");
  page.once("dialog", (dialog) => dialog.accept());
  await page.click("#slow tbody button");
  await page.waitForFunction(() => /^Connection \S+ is told to go/.test(document.getElementById("said").textContent));
});
await check("a key is forgotten where that is asked for", async () => {
  await page.click("#forget");
  await is_asked(page);
  assert((await stored(page))[0] === "{}" && await page.textContent("#door-said") === "", "it is kept");
});
await check("no complaint on the console but of the denied requests, no breach of the policy", async () => {
  const violations = await page.evaluate(() => window.seen.violations), said = [...foreign(complaints).filter((text) => !/status of 40[13]/.test(text)), ...violations];
  assert(said.length === 0, said.slice(0, 4).join(" | "));
});
await finish();
