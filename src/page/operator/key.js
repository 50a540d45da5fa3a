// The key of the admin port, where it has keys. Asked for by a form, kept for this tab only, borne by each request; and what it is good for.
// Without keys nothing of this is seen.
import { put } from "./plot.js";

const NAME = "tidegate admin key", ANSWER_MS_MAX = 5_000;
// As the gateway takes them. What is none by its form is not sent.
const FORM = /^[\x21-\x7e]{20,512}$/;
const at = (id) => document.getElementById(id);
const is_key = (text) => FORM.test(text ?? "");

// A page may be forbidden to store anything: then the key lasts until it is loaded again.
function stored(change) {
  try { return change(sessionStorage); } catch { return null; }
}
const found = stored((storage) => storage.getItem(NAME));
let secret = is_key(found) ? found : undefined, lets_go_on;
let rights = { name: null, read: true, change: true };

const ask = (path, options, bearer) => fetch(path, {
  cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX), ...options, ...bearer && { headers: { Authorization: `Bearer ${bearer}` } },
});
// Asks the gateway with the key that there is.
export const asked = (path, options) => ask(path, options, secret);
export const may_change = () => rights.change;
// Whether a key is awaited: nothing is shown then, and nothing is asked.
export const is_locked = () => lets_go_on !== undefined;

function knows(told) {
  rights = told;
  put(at("borne-name"), told.name ?? "");
  // One that a proxy adds is not this tab's to forget.
  at("borne").hidden = secret === undefined;
}

// What the key is good for; a reload of the gateway may have changed that.
export async function ask_rights() {
  const answer = await asked("api/key");
  if (answer.ok) knows(await answer.json());
}

function show(locked) {
  at("door").hidden = !locked;
  at("main").hidden = at("windows").hidden = at("figures").hidden = locked;
  if (locked) at("key").focus();
}

// The gateway wants another key than what it was shown: resolves when it has one.
export function another(status) {
  const had = secret !== undefined;
  const why = status === 403 ? "This key is not good for reading: it needs read = true." : had ? "The key that this tab had is not in force any more." : "";
  if (status !== 403) {
    secret = undefined;
    stored((storage) => storage.removeItem(NAME));
  }
  at("borne").hidden = true;
  put(at("door-said"), why);
  show(true);
  return new Promise((resolve) => { lets_go_on = resolve; });
}

// Of a key that was given, what is wrong with it; nothing where it is good.
async function judge(given) {
  if (!is_key(given)) return "That is no key: keys have 20 to 512 characters, without spaces.";
  const answer = await ask("api/key", {}, given);
  if (answer.status === 401) return "The gateway knows no such key.";
  if (!answer.ok) return `The gateway answers ${answer.status}.`;
  const told = await answer.json();
  if (!told.read) return `The key "${told.name}" is not good for reading: it needs read = true.`;
  secret = given;
  stored((storage) => storage.setItem(NAME, given));
  knows(told);
  return "";
}

async function submit(event) {
  event.preventDefault();
  const field = at("key"), button = event.submitter ?? at("door").querySelector("button");
  button.disabled = true;
  let wrong;
  try { wrong = await judge(field.value.trim()); } catch (error) { wrong = error.name === "TimeoutError" ? "The gateway does not answer." : "The gateway is not reachable."; }
  button.disabled = false;
  put(at("door-said"), wrong);
  if (wrong) return field.select();
  field.value = "";
  show(false);
  lets_go_on?.();
  lets_go_on = undefined;
}

at("door").addEventListener("submit", submit);
// What was drawn goes with it.
at("forget").addEventListener("click", () => {
  stored((storage) => storage.removeItem(NAME));
  location.reload();
});
