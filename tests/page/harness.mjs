// What the checks of the page in headless Chromium share. `playwright-core` is looked for in NODE_PATH; CHROMIUM names another
// browser than /usr/bin/chromium. One line a check, last `N passed, N failed`; exit 1 if one failed.
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { overlaps, visible_texts } from "./inspect.mjs";

// By require, as imports do not look into NODE_PATH.
const { chromium } = createRequire(import.meta.url)("playwright-core");

export const [url, directory, picture_wait_s = "0"] = process.argv.slice(2);
if (!url || !directory) { console.error(`usage: node ${process.argv[1]} URL DIRECTORY_FOR_PICTURES [SECONDS_BEFORE_A_PICTURE]`); process.exit(2); }
mkdirSync(directory, { recursive: true });

export const CONTRAST_MIN = 4.5;
const DEADLINE_MS = 30_000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let passed = 0, failed = 0;
export async function check(name, body) {
  try {
    const remark = await body();
    passed++;
    console.log(`ok   ${name}${remark ? ` (${remark})` : ""}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.message.split("\n").slice(0, 6).join(" | ")}`);
  }
}
export function assert(truth, message) { if (!truth) throw new Error(message); }

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export async function ask(what, answer) {
  console.log(what);
  const { value, done } = await lines.next();
  assert(!done && value.startsWith(answer), `wanted "${answer}" on the standard input, got ${done ? "its end" : `"${value}"`}`);
  return value.slice(answer.length).trim();
}

// A test makes its own certificates, which no browser knows.
const args = url.startsWith("https:") ? [...FLAGS, "--ignore-certificate-errors"] : FLAGS;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
export const complaints = [];
export async function open(options, before = async () => {}) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(DEADLINE_MS);
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(error.stack));
  await page.addInitScript(() => {
    window.seen = { asked: 0, frames: 0, violations: [], shift: 0, states: [] };
    const native = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (callback) => { window.seen.asked++; return native(callback); };
    const count = () => { window.seen.frames++; native(count); };
    native(count);
    addEventListener("securitypolicyviolation", (event) => window.seen.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.seen.shift += entry.value; }).observe({ type: "layout-shift" });
    addEventListener("DOMContentLoaded", () => {
      const state = document.getElementById("state");
      new MutationObserver(() => window.seen.states.push(state.textContent)).observe(state, { childList: true, characterData: true, subtree: true });
    });
  });
  await before(page);
  const response = await page.goto(url, { waitUntil: "commit" });
  return { page, response };
}
export const prices = (page) => page.$$eval("#instruments .price-cell", (cells) => cells.map((cell) => cell.textContent));
export const first_price = (page) => page.waitForFunction(() => /\d/.test(document.querySelector("#instruments .price-cell")?.textContent ?? ""), undefined, { polling: 20 });
export async function moving(page) {
  const before = JSON.stringify(await prices(page));
  await page.waitForFunction((was) => JSON.stringify(Array.from(document.querySelectorAll("#instruments .price-cell"), (cell) => cell.textContent)) !== was, before);
}
export async function legible(page, least = 21) {
  const texts = await page.evaluate(visible_texts), poor = texts.filter(({ contrast }) => !(contrast >= CONTRAST_MIN));
  assert(texts.length >= least, `only ${texts.length} texts are visible`);
  assert(poor.length === 0, poor.slice(0, 5).map(({ text, contrast }) => `"${text}" ${contrast.toFixed(2)}`).join(", "));
  return Math.min(...texts.map(({ contrast }) => contrast));
}
export async function orderly(page) {
  const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth, Math.max(...Array.from(document.querySelectorAll("main > *, .bar"), (box) => box.scrollWidth - box.clientWidth))]);
  assert(wide[0] <= wide[1] && wide[2] <= 0, `horizontal scroll: content ${wide[0]} px in ${wide[1]} px, panes ${wide[2]} px over`);
  const found = await page.evaluate(`(${overlaps})((${visible_texts})())`);
  assert(found.length === 0, `overlapping: ${found.slice(0, 5).join(", ")}`);
}
export async function picture(page, name) {
  await page.waitForTimeout(Number(picture_wait_s) * 1000);
  await page.screenshot({ path: `${directory}/${name}.png` });
}
export const foreign = (texts) => texts.filter((text) => !/WebSocket connection to|net::ERR_/.test(text));
export async function finish() {
  await browser.close();
  lines.return?.();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
