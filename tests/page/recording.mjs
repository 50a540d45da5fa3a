// Checks of the page on a replayed recording, in headless Chromium; usage as that of page.mjs. The recording is any whose topics
// are not the synthetic market's; that it goes on for a minute is the caller's care.
import { assert, check, complaints, finish, legible, open, orderly, picture } from "./harness.mjs";

for (const [size, width, height, colorScheme] of [["wide", 1440, 900, "light"], ["narrow", 390, 844, "dark"]]) {
  const { page } = await open({ viewport: { width, height }, colorScheme });
  const payloads = () => page.$$eval("#others tr", (rows) => rows.map((row) => row.textContent));
  await check(`${size}: every topic of the recording has a row, and payloads come`, async () => {
    await page.waitForSelector("#others tr");
    const before = JSON.stringify(await payloads());
    await page.waitForFunction((was) => JSON.stringify(Array.from(document.querySelectorAll("#others tr"), (row) => row.textContent)) !== was, before);
    const told = (await page.evaluate(() => fetch("/topics").then((answer) => answer.json()))).topics.map(({ topic }) => topic).sort();
    const shown = (await page.$$eval("#others th", (cells) => cells.map((cell) => cell.textContent))).sort();
    assert(told.length > 0 && JSON.stringify(told) === JSON.stringify(shown), `${told} are there, ${shown} are shown`);
    return shown.join(", ");
  });
  await check(`${size}: it is not marked as synthetic`, async () => {
    assert(!(await page.locator("#demo").isVisible()), "the mark is visible");
    assert(!/synthetic/.test(await page.textContent("#detail-sub")), "the selected topic is called synthetic");
    assert(!(await page.locator("#market").isVisible()), "there is a table of instruments");
  });
  await check(`${size}: the newest payload and those before it are shown`, async () => {
    await page.waitForFunction(() => document.getElementById("newest").textContent.includes('"') && document.querySelector("#earlier td.payload").textContent !== "");
    return (await page.textContent("#newest")).replace(/\s+/g, " ").slice(0, 80);
  });
  await check(`${size}: no horizontal scroll, nothing overlaps, all is legible`, async () => {
    await orderly(page);
    await legible(page);
  });
  await picture(page, `recording-${size}-${colorScheme}`);
  await page.close();
}
await check("no complaint on the console", () => assert(complaints.length === 0, complaints.slice(0, 4).join(" | ")));
await finish();
