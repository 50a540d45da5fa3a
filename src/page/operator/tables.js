// The tables below the plots: how the feeds are, who is slow and in which topics, and ending a client.
import { ask_rights, asked, is_locked, may_change } from "./key.js";
import { element, put } from "./plot.js";
import { address, bytes, count, duration, exact } from "./scale.js";

const at = (id) => document.getElementById(id);
const seconds = (ms) => Number.isFinite(ms) ? `${(ms / 1000).toFixed(1)} s` : "–";

// Rows of texts, written into those that are there. `kinds`: the cells' classes; the first one heads its row.
function fill(table, kinds, rows) {
  const body = table.querySelector("tbody");
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((texts, number) => {
    const tr = body.rows[number] ?? element(body, "tr");
    if (tr.cells.length === 0) kinds.forEach((kind, cell) => element(tr, cell ? "td" : "th", cell ? { class: kind } : { scope: "row" }));
    texts.forEach((text, cell) => put(tr.cells[cell], text));
  });
  return Array.from(body.rows);
}
function only_if(table, there, known) {
  table.querySelector(".scroll").hidden = !there;
  table.querySelector(".none").hidden = there || !known;
}

export const feed_name = (feed, number, feeds) => feeds.some((other, at) => at !== number && other.name === feed.name) ? `${feed.name} (${number + 1})` : feed.name;

// `since_ms`: since the gateway said so.
export function draw_feeds({ feeds, newest, run }, live, since_ms) {
  const rows = fill(at("feeds"), ["", "", "state", "num", "num", "num", "num", "num"], feeds.map((feed, number) => [
    feed_name(feed, number, feeds), feed.kind, live ? feed.state : `${feed.state}, when last asked`, feed.lines ? `${feed.lines_open} of ${feed.lines}` : "–",
    live && newest ? count(newest.messages[number]) : "–", exact(feed.messages), exact(feed.reconnects), feed.age_ms === null ? "none yet" : `${seconds(feed.age_ms + since_ms)} ago`,
  ]));
  rows.forEach((tr, number) => { tr.cells[2].dataset.state = feeds[number].state; });
  only_if(at("feeds"), feeds.length > 0, run !== undefined);
}

let slow, order = "by_bytes";

function draw_slow() {
  const { [order]: connections, topics } = slow, now = Date.now();
  const rows = fill(at("slow"), ["", "", "", "subject", "num", "num", "num", "num", "num"], connections.map((row) => [
    address(row), row.id, row.role, row.sub ?? "–", exact(row.lag.publications), bytes(row.lag.bytes), duration(row.lag.age_ms * 1000), row.stalled_ms ? duration(row.stalled_ms * 1000) : "–", duration(Math.max(now - row.since_ms, 0) * 1000),
  ]));
  rows.forEach((tr, number) => {
    const button = tr.querySelector("button") ?? element(element(tr, "td", { class: "num" }), "button", { type: "button" }, "Disconnect");
    button.dataset.id = connections[number].id;
    button.disabled = !may_change();
    button.setAttribute("aria-label", `Disconnect ${address(connections[number])}`);
  });
  only_if(at("slow"), rows.length > 0, true);
  at("bound").hidden = may_change() || rows.length === 0;
  fill(at("slow-topics"), ["", "num", "num", "num", "num"], topics.map(({ topic, connections, worst }) => [topic, exact(connections), exact(worst.publications), bytes(worst.bytes), duration(worst.age_ms * 1000)]));
  only_if(at("slow-topics"), topics.length > 0, true);
}

// Asks who is slow. That the gateway is gone is said elsewhere.
export async function ask_slow() {
  if (is_locked()) return;
  try {
    await ask_rights();
    const answer = await asked("api/slow?limit=10");
    if (!answer.ok) return;
    slow = await answer.json();
    draw_slow();
  } catch {}
}

async function disconnect(event) {
  const id = event.target.closest("button")?.dataset.id, name = event.target.getAttribute("aria-label");
  if (id === undefined || !confirm(`${name}, connection ${id}? Most clients come back at once.`)) return;
  try {
    const answer = await asked(`api/connections/${encodeURIComponent(id)}/disconnect`, { method: "POST" }), told = await answer.json();
    put(at("said"), answer.ok ? `Connection ${id} is told to go (${told.code}), or reset where it takes nothing.` : `Connection ${id} stays: ${told.error.msg}`);
  } catch (error) { put(at("said"), `Connection ${id}: ${error.message}`); }
  ask_slow();
}

at("slow").querySelector("tbody").addEventListener("click", disconnect);
at("order").addEventListener("click", ({ target }) => {
  order = target.closest("button")?.dataset.list ?? order;
  for (const button of at("order").children) button.setAttribute("aria-pressed", String(button.dataset.list === order));
  if (slow) draw_slow();
});
