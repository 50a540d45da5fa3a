// Checks of the operator's page in headless Chromium; usage as that of page.mjs, with the admin port's URL. The caller is asked for
//   `ready-for-clients`  -> opens clients, some of which hear the feed and do not read, answers `connected COUNT STALLED`
//   `ready-for-stop`     -> ends the gateway, answers `stopped`
//   `ready-for-restart`  -> starts it again at the same address, answers `restarted`
import { ask, assert, check, complaints, finish, foreign, legible, open, orderly, picture } from "./harness.mjs";

const SIZES = [["wide", 1440, 900], ["narrow", 390, 844]], SCHEMES = ["light", "dark"];
const POLICY = "base-uri 'none'; connect-src 'self'; default-src 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self'; script-src 'self'; style-src 'self'";
const TIME_PLOTS = ["publications", "deliveries", "traffic", "connections", "latency", "lag", "load", "messages"];

// ---- Runs inside the page: what is drawn, read back by the axes' own ticks ------------------------------------------------------

// A line's stretches as [milliseconds before now, value], and how exact a tenth of a pixel is.
function drawn([id, kind]) {
  const svg = document.querySelector(`#${id} svg`), ticks = Array.from(svg.querySelectorAll(".levels text[data-value]"), (text) => [Number(text.dataset.value), Number(text.previousElementSibling.getAttribute("d").match(/M[\d.]+ ([\d.]+)/)[1]) - 0.5]);
  const times = Array.from(svg.querySelectorAll(".times text"), (text) => [Number(text.dataset.ms), Number(text.previousElementSibling.getAttribute("d").match(/^M([\d.]+)/)[1])]);
  const [[low, bottom]] = ticks, [high, top] = ticks.at(-1), [[, right]] = times, [back, left] = times.at(-1);
  const stretches = svg.querySelector(`.line.${kind}`).getAttribute("d").split("M").filter(Boolean).map((run) => run.replace("h0", "").split("L").map((point) => {
    const [x, y] = point.split(" ").map(Number);
    return [(right - x) / (right - left) * back, low + (bottom - y) / (bottom - top) * (high - low)];
  }));
  return { stretches, value_error: (high - low) / (bottom - top) * 0.6, ms_error: back / (right - left) * 0.2 };
}
const figure = (page, name) => page.evaluate((name) => Array.from(document.querySelectorAll("#figures div")).find((group) => group.firstChild.textContent === name).lastChild.textContent, name);
const legend = (page, id) => page.$$eval(`#${id} .legend li`, (items) => items.map((item) => [item.children[1].textContent, item.children[2].textContent]));
const history = (page) => page.evaluate(async () => (await fetch("api/history")).json());
const figure_is = (page, name, wanted) => page.waitForFunction(([name, wanted]) => Array.from(document.querySelectorAll("#figures div")).find((group) => group.firstChild.textContent === name)?.lastChild.textContent === wanted, [name, wanted]);
const exact = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
async function whole(page) {
  const html = await page.evaluate(() => document.body.innerHTML);
  assert(!/NaN|undefined|Infinity|null/.test(html), html.match(/.{60}(NaN|undefined|Infinity|null).{40}/)?.[0]);
}

// The lines are what the gateway tells: every sample in its order at its distance from the next one, holes where there are holes.
async function same_as_told(page, id, kind, name) {
  const [{ stretches, value_error, ms_error }, told] = [await page.evaluate(drawn, [id, kind]), await history(page)];
  const points = stretches.flat(), at = told[name].flatMap((value, at) => value === null ? [] : [at]).slice(0, points.length);
  assert(points.length >= 3 && at.length === points.length, `${id}: ${points.length} points are drawn, ${at.length} of those are told`);
  points.forEach(([ms, value], place) => {
    const wanted = told[name][at[place]];
    assert(Math.abs(value - wanted) <= value_error, `${id}: point ${place} is drawn at ${value}, told is ${wanted}`);
    if (place === 0) return;
    const [drawn_ms, told_ms] = [points[place - 1][0] - ms, told.at_ms[at[place]] - told.at_ms[at[place - 1]]];
    assert(Math.abs(drawn_ms - told_ms) <= ms_error, `${id}: point ${place} is ${drawn_ms} ms behind the one before, told are ${told_ms}`);
  });
  return `${points.length} points`;
}

// ---- Nobody is there ------------------------------------------------------------------------------------------------------------

const { page, response } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
await check("the policy of the page is strict", () => {
  const policy = (response.headers()["content-security-policy"] ?? "").split(";").map((part) => part.trim()).filter(Boolean).sort().join("; ");
  assert(policy === POLICY, policy || "no Content-Security-Policy");
});
await check("without clients the plots show 0", async () => {
  await page.waitForFunction(() => document.getElementById("state").textContent === "Live");
  await page.waitForFunction(() => document.querySelector("#deliveries .line").getAttribute("d").split("L").length >= 4);
  assert(await figure(page, "Connections") === "0" && await figure(page, "Deliveries") === "0/s" && await figure(page, "Clients behind") === "0", await page.textContent("#figures"));
  const { stretches } = await page.evaluate(drawn, ["deliveries", "c1"]);
  assert(stretches.flat().every(([, value]) => value === 0), JSON.stringify(stretches));
  for (const id of ["connections", "lag"]) for (const [name, value] of await legend(page, id)) assert(value === "0", `${id}, ${name}: ${value}`);
  for (const [name, value] of await legend(page, "latency")) assert(value === "–", `latency, ${name}: ${value}`);
  const empty = await page.$$eval("figure", (figures) => figures.filter((figure) => figure.querySelectorAll(".levels text[data-value]").length < 2 || figure.querySelectorAll(".times text").length < 2 || !figure.querySelector(".unit").textContent || !figure.querySelector(".legend li")).map(({ id }) => id));
  assert(empty.length === 0, `no ticks, unit or legend: ${empty}`);
  await whole(page);
});
await check("the feed's health is told", async () => {
  const cells = await page.$$eval("#feeds tbody tr", (rows) => rows.map((tr) => Array.from(tr.cells, (cell) => cell.textContent)));
  assert(cells.length === 1 && cells[0].slice(0, 4).join() === "demo,synthetic,live,–" && /^[\d.]+$/.test(cells[0][4]) && /^\d+\.\d s ago$/.test(cells[0][7]), JSON.stringify(cells));
});
await check("what is drawn is what the gateway tells", () => same_as_told(page, "publications", "c1", "publications"));
for (const [size, width, height] of SIZES)
  for (const colorScheme of SCHEMES)
    await check(`${width}x${height} ${colorScheme}: legible, in its place`, async () => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await page.waitForFunction((width) => document.querySelector("#publications svg").getBoundingClientRect().width < width, width);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await orderly(page);
      await picture(page, `operator-empty-${size}-${colorScheme}`);
      return `least contrast ${(await legible(page)).toFixed(2)}`;
    });
await page.setViewportSize({ width: 1440, height: 900 });
await page.emulateMedia({ colorScheme: "light" });

// ---- Ten thousand ---------------------------------------------------------------------------------------------------------------

const [count, stalled] = (await ask("ready-for-clients", "connected")).split(" ").map(Number);
await check(`${count} clients are shown, and ${stalled} of them behind`, async () => {
  await figure_is(page, "Connections", exact(count));
  await figure_is(page, "Clients behind", exact(stalled));
  await page.waitForFunction((wanted) => Array.from(document.querySelectorAll("#lag .layer"), (path) => path.getAttribute("d")).join("").length > wanted, 20);
  const { stretches, value_error } = await page.evaluate(drawn, ["connections", "c1"]);
  assert(Math.abs(stretches.at(-1).at(-1)[1] - count) <= value_error, `the line ends at ${stretches.at(-1).at(-1)[1]}`);
  const { lags, lag_bounds } = await history(page), behind = lags.at(-1).reduce((sum, [, clients]) => sum + clients, 0);
  assert(behind === stalled && (await legend(page, "lag")).length === lag_bounds.length + 1, JSON.stringify(lags.at(-1)));
  await whole(page);
});
await check("every line is what the gateway tells", async () => {
  const said = [];
  for (const [id, kind, name] of [["publications", "c1", "publications"], ["deliveries", "c1", "deliveries"], ["traffic", "c1", "bytes_out"], ["traffic", "c2", "bytes_in"], ["connections", "c1", "connections"]]) said.push(await same_as_told(page, id, kind, name));
  return said.join(", ");
});
await check("latencies are lines, shades and bars", async () => {
  await page.waitForFunction(() => document.querySelector("#latency .line.c2").getAttribute("d").length > 20 && document.querySelector("#histogram .bars").getAttribute("d").length > 20);
  const told = await history(page), total = told.latencies.flatMap((pairs) => pairs ?? []).reduce((sum, [, here]) => sum + here, 0);
  const [[, shown]] = await legend(page, "histogram");
  assert(Number(shown.replaceAll(",", "")) > 0 && Number(shown.replaceAll(",", "")) <= total, `${shown} of ${total}`);
  assert((await page.$$eval("#latency .heat", (paths) => paths.map((path) => path.getAttribute("d")).join(""))).length > 20, "no shades");
  await whole(page);
});
await check("shards and the control thread have their load", async () => {
  const rows = await legend(page, "load");
  assert(rows.map(([name]) => name).join() === "shard 0,shard 1,control" && rows.every(([, value]) => /^[\d.]+ %$/.test(value)), JSON.stringify(rows));
});
await check("the pointer reads all plots at a time, to the digit", async () => {
  const svg = await page.locator("#publications svg").boundingBox(), told = await history(page);
  await page.locator("#publications svg").hover({ position: { x: svg.width - 15, y: 60 } });
  await page.waitForFunction(() => document.querySelector("#publications .when").textContent.endsWith("UTC"));
  const whens = await page.$$eval("figure:not(#histogram) .when", (all) => Array.from(new Set(all.map((when) => when.textContent))));
  assert(whens.length === 1, whens.join());
  const [[, value]] = await legend(page, "publications"), [[, clients]] = await legend(page, "connections");
  const at = told.unix_ms.findIndex((ms, at) => whens[0].startsWith(new Date(ms).toISOString().slice(11, 19)) && exact(told.publications[at] ?? -1) === value);
  assert(at >= 0 && exact(told.connections[at]) === clients, `${whens[0]}: ${value}, ${clients}`);
  await picture(page, "operator-pointer");
  await page.mouse.move(5, 5);
  await page.waitForFunction(() => document.querySelector("#publications .when").textContent === "");
});
await check("arrow keys do the same, and every control is reached by Tab", async () => {
  await page.focus("#publications svg");
  const said = () => page.getAttribute("#publications svg", "aria-valuetext");
  const moves = [];
  for (const key of ["ArrowLeft", "ArrowLeft", "Home", "ArrowRight", "End", "Escape"]) {
    const before = await said();
    await page.keyboard.press(key);
    await page.waitForFunction((before) => document.querySelector("#publications svg").getAttribute("aria-valuetext") !== before, before);
    moves.push(await said());
  }
  assert(/^\d\d:\d\d:\d\d UTC: a second [\d,.–]+$/.test(moves[0]) && moves[4] >= moves[0] && moves[5].startsWith("Now: ") && moves[2] < moves[3] && moves[3] < moves[1] && moves[1] < moves[0], moves.join(" | "));
  await page.evaluate(() => document.activeElement.blur());
  const reached = new Set();
  for (let press = 0; press < 50; press++) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => `${document.activeElement.closest("figure, #windows, #feeds, footer")?.id ?? ""} ${document.activeElement.tagName}`));
  }
  for (const wanted of ["windows BUTTON", ...TIME_PLOTS.flatMap((id) => [`${id} svg`, `${id} SUMMARY`]), "histogram SUMMARY"]) assert(reached.has(wanted), `${wanted} is not among ${Array.from(reached).join(", ")}`);
});
await check("each plot is a table too", async () => {
  for (const id of [...TIME_PLOTS, "histogram"]) await page.click(`#${id} summary`);
  await page.waitForFunction((count) => document.querySelectorAll("figure tbody tr:nth-child(10)").length === count, TIME_PLOTS.length + 1);
  const tables = await page.$$eval("figure table", (all) => all.map((table) => [table.tHead.rows[0].cells.length, table.tBodies[0].rows.length, table.tBodies[0].rows[0]?.cells.length, table.caption.textContent.length]));
  assert(tables.length === TIME_PLOTS.length + 1 && tables.every(([head, rows, cells, caption]) => rows >= 10 && cells === head && caption > 5), JSON.stringify(tables));
  assert((await page.textContent("#connections tbody tr td")).includes(exact(count).slice(0, 2)), await page.textContent("#connections tbody tr"));
  await whole(page);
  for (const id of [...TIME_PLOTS, "histogram"]) await page.click(`#${id} summary`);
});
await check("a minute is shown where it is asked for", async () => {
  await page.click("#windows button:first-child");
  await page.waitForFunction(() => Array.from(document.querySelectorAll("#publications .times text"), (text) => text.textContent).join().includes("−45 s"));
  await same_as_told(page, "publications", "c1", "publications");
  await page.evaluate(() => scrollTo(0, 0));
  await orderly(page);
  await page.click("#windows button:last-child");
});
await check("a second page shows what was before it was opened", async () => {
  const { page: other } = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await figure_is(other, "Connections", exact(count));
  await same_as_told(other, "publications", "c1", "publications");
  await orderly(other);
  await legible(other);
  await picture(other, "operator-crowd-narrow-dark");
  await other.close();
});
await check("who is slow is told, and can be disconnected", async () => {
  await page.waitForFunction(() => document.querySelectorAll("#slow tbody tr").length === 10 && document.querySelectorAll("#slow-topics tbody tr").length === 10);
  const rows = await page.$$eval("#slow tbody tr", (all) => all.map((tr) => Array.from(tr.cells, (cell) => cell.textContent)));
  assert(rows.every(([client, , role, subject, publications, bytes]) => subject === "–" && /^127\.0\.0\.\d+:\d+$/.test(client) && role === "subscriber" && /^[\d,]+$/.test(publications) && /B$/.test(bytes)), JSON.stringify(rows));
  await page.evaluate(() => scrollTo(0, 0));
  await orderly(page);
  await legible(page);
  await whole(page);
  await picture(page, "operator-crowd-wide-light");
  await page.click("#order button:last-child");
  assert(await page.getAttribute("#order button:last-child", "aria-pressed") === "true", "the order is not changed");
  const asked = new Promise((done) => page.once("dialog", async (dialog) => { await dialog.accept(); done(dialog.message()); }));
  const id = await page.getAttribute("#slow tbody button", "data-id");
  await page.click("#slow tbody button");
  assert((await asked).includes(id), `${await asked} does not name ${id}`);
  await figure_is(page, "Connections", exact(count - 1));
  await page.evaluate(() => scrollTo(0, 0));
  return page.textContent("#said");
});

// ---- The gateway goes and comes back --------------------------------------------------------------------------------------------

await ask("ready-for-stop", "stopped");
await check("a gateway that is gone is told, and nothing is shown as if it were now", async () => {
  await page.waitForFunction(() => /^Gone since \d\d:\d\d:\d\d UTC: not reachable$/.test(document.getElementById("state").textContent));
  await page.waitForFunction(() => Array.from(document.querySelectorAll("#figures dd")).every((value) => value.textContent === "–"));
  await orderly(page);
  await legible(page);
  await whole(page);
  return page.textContent("#state");
});
await check("the time goes on in the plots", async () => {
  const newest = async () => (await page.evaluate(drawn, ["publications", "c1"])).stretches.at(-1).at(-1)[0];
  const before = await newest();
  for (let look = 0; look < 60 && await newest() <= before + 4000; look++) await page.waitForTimeout(500);
  assert(await newest() > before + 4000, `the last point stays ${before} ms before now`);
  await picture(page, "operator-gone-wide-light");
});
await ask("ready-for-restart", "restarted");
await check("a restart leaves a hole, and what was before it stays", async () => {
  await page.waitForFunction(() => /^Live, restarted at \d\d:\d\d:\d\d UTC$/.test(document.getElementById("state").textContent));
  await page.waitForFunction(() => {
    const stretches = document.querySelector("#publications .line").getAttribute("d").split("M").slice(1);
    return stretches.length >= 2 && stretches.at(-1).split("L").length >= 3;
  });
  const { stretches } = await page.evaluate(drawn, ["publications", "c1"]), [before, after] = stretches.slice(-2);
  assert(before.length > 3 && before.at(-1)[0] - after[0][0] > 4000, `${before.at(-1)[0]} ms to ${after[0][0]} ms before now`);
  assert(await figure(page, "Connections") === "0", "the clients are gone");
  const { run, at_ms } = await history(page);
  assert(run && at_ms.length < stretches.flat().length, "the page has more than the gateway");
  await orderly(page);
  await whole(page);
  await picture(page, "operator-hole-wide-light");
});
await check("no complaint on the console, no breach of the policy", async () => {
  const violations = await page.evaluate(() => window.seen.violations), said = [...foreign(complaints), ...violations];
  assert(said.length === 0, said.slice(0, 4).join(" | "));
});
await finish();
