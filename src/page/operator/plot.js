// Plots as SVG: axes with round ticks, lines, areas, bars, a legend that is the readout too, and a table of the same. What stands at a
// time is read by pointer or by arrow keys, in all plots at once. Colours come from the style sheet (classes c1 to c8, l1 to l7).
import { follows, latencies_of, nearest, stretches } from "./history.js";
import { count, decades, duration, exact, linear_axis, quantile, time_steps } from "./scale.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const LEFT_PX = 58, RIGHT_PX = 12, TOP_PX = 20, FOOT_PX = 20, TIME_LABEL_PX = 74, LEVEL_PX = 30, ROWS = 10, HEATS = 5;

export function element(parent, tag, attributes = {}, text = "") {
  const made = parent.appendChild(parent.namespaceURI === NAMESPACE || tag === "svg" ? document.createElementNS(NAMESPACE, tag) : document.createElement(tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== "") made.textContent = text;
  return made;
}
export const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
export const clock = (unix_ms) => new Date(unix_ms).toISOString().slice(11, 19);
const ago = (ms) => ms === 0 ? "now" : ms % 60_000 === 0 ? `−${ms / 60_000} min` : `−${ms / 1000} s`;
// To a tenth of a pixel.
const px = (value) => Math.round(value * 10) / 10;

// One figure: caption, drawing, legend, table. `spec`: id, title, unit, about, format, exact.
class Figure {
  constructor(parent, spec) {
    this.spec = spec;
    this.figure = element(parent, "figure", { id: spec.id, class: "plot" });
    const caption = element(this.figure, "figcaption");
    element(caption, "h2", { id: `${spec.id}-title`, title: spec.about }, spec.title);
    this.when = element(caption, "span", { class: "when" });
    this.svg = element(this.figure, "svg", { "aria-labelledby": `${spec.id}-title`, "aria-describedby": `${spec.id}-about` });
    element(this.figure, "p", { id: `${spec.id}-about`, class: "hush" }, `${spec.unit}. ${spec.about}`);
    this.levels = element(this.svg, "g", { class: "levels" });
    this.times = element(this.svg, "g", { class: "times" });
    this.marks = element(this.svg, "g", { class: "marks" });
    this.cursor = element(this.svg, "path", { class: "cursor" });
    this.nothing = element(this.svg, "text", { class: "nothing" });
    this.legend = element(this.figure, "ul", { class: "legend" });
    this.details = element(this.figure, "details");
    element(this.details, "summary", {}, "Table");
    this.table = element(this.details, "table");
    this.keys = [];
    this.measure();
  }
  measure() {
    const { width, height } = this.svg.getBoundingClientRect();
    Object.assign(this, { right: Math.max(LEFT_PX + 40, width - RIGHT_PX), bottom: Math.max(TOP_PX + 40, height - FOOT_PX) });
  }
  // Lines across, each with what it stands for.
  draw_levels(ticks, y, format) {
    const said = JSON.stringify([ticks, this.right, this.bottom]);
    if (said === this.levels_said) return;
    this.levels_said = said;
    this.levels.replaceChildren();
    element(this.levels, "text", { x: LEFT_PX, y: TOP_PX - 9, class: "unit" }, this.spec.unit);
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      element(this.levels, "path", { d: `M${LEFT_PX} ${at}H${this.right}` });
      element(this.levels, "text", { x: LEFT_PX - 7, y: at, "data-value": tick }, format(tick));
    }
  }
  // Where there is nothing to draw: what that means, so that nobody takes it for a plot that does not work.
  draw_nothing(is_nothing) {
    put(this.nothing, is_nothing ? this.spec.nothing ?? "" : "");
    for (const [name, at] of [["x", (LEFT_PX + this.right) / 2], ["y", (TOP_PX + this.bottom) / 2]]) this.nothing.setAttribute(name, px(at));
  }
  levels_max() { return Math.max(2, Math.floor((this.bottom - TOP_PX) / LEVEL_PX)); }
  // What the legend says: [class, name, value].
  draw_legend(rows) {
    const keys = rows.map(([kind, name]) => `${kind} ${name}`);
    if (keys.join("\n") !== this.keys.join("\n")) {
      this.keys = keys;
      this.legend.replaceChildren();
      for (const [kind, name] of rows) {
        const item = element(this.legend, "li", { class: kind });
        element(item, "i", { "aria-hidden": "true" });
        element(item, "span", {}, name);
        element(item, "b");
      }
    }
    rows.forEach(([, , value], at) => put(this.legend.children[at].lastChild, value));
  }
  draw_table(head, rows) {
    this.table.replaceChildren();
    const cells = (parent, texts, tag) => { const tr = element(parent, "tr"); texts.forEach((text, at) => element(tr, at === 0 || tag === "th" ? "th" : "td", { scope: tag === "th" ? "col" : "row" }, text)); };
    element(this.table, "caption", { class: "hush" }, `${this.spec.title}, ${this.spec.unit}`);
    cells(element(this.table, "thead"), head, "th");
    const body = element(this.table, "tbody");
    for (const row of rows) cells(body, row, "td");
    for (const cell of this.table.querySelectorAll("td")) cell.removeAttribute("scope");
  }
}

// Something over the last minutes. `spec.series(history)` gives [{ kind, name, value(entry) }]; `stacked`: areas upon each other.
export class TimePlot extends Figure {
  constructor(parent, spec, cursor) {
    super(parent, spec);
    this.shared = cursor;
    for (const [name, value] of Object.entries({ role: "slider", tabindex: "0", "aria-valuemin": "-600", "aria-valuemax": "0" })) this.svg.setAttribute(name, value);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => cursor.leave());
    this.svg.addEventListener("blur", () => cursor.leave());
    this.svg.addEventListener("keydown", (event) => this.step(event));
  }
  point(event) {
    if (!this.view) return;
    const { left } = this.svg.getBoundingClientRect(), { now, window_ms } = this.view;
    this.shared.go(now - (this.right - (event.clientX - left)) / (this.right - LEFT_PX) * window_ms);
  }
  step(event) {
    const { entries } = this.view ?? { entries: [] }, key = event.key;
    if (!["ArrowLeft", "ArrowRight", "Home", "End", "Escape"].includes(key)) return;
    event.preventDefault();
    if (key === "Escape" || entries.length === 0) return this.shared.leave();
    const here = this.shared.at === undefined ? entries.length : entries.indexOf(nearest(entries, this.shared.at) ?? entries.at(-1)), far = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: here - far, ArrowRight: here + far, Home: 0, End: entries.length - 1 }[key];
    this.shared.go(entries[Math.min(Math.max(to, 0), entries.length - 1)].at);
  }
  x(at) { const { now, window_ms } = this.view; return px(this.right - (now - at) / window_ms * (this.right - LEFT_PX)); }
  // Of a linear axis from 0 to `top`.
  y(value) { return px(this.bottom - value / this.top * (this.bottom - TOP_PX)); }

  draw(view) {
    this.view = view;
    this.series = this.spec.series(view.history);
    this.draw_axis();
    this.draw_times();
    this.marks.replaceChildren();
    this.draw_marks();
    this.read();
    if (this.details.open) this.draw_minutes();
  }
  draw_axis() {
    const { entries } = this.view, { stacked } = this.spec;
    const highest = (entry) => this.series.reduce((high, { value, above }) => {
      const here = (value(entry) || 0) + (above?.(entry) || 0);
      return stacked ? high + here : Math.max(high, here);
    }, 0);
    const most = entries.reduce((high, entry) => Math.max(high, highest(entry)), 0);
    this.draw_nothing(this.series.length === 0 || stacked && most === 0);
    const axis = this.spec.axis ?? linear_axis(most, { count: this.levels_max(), ...this.spec.scale });
    this.top = axis.top;
    this.draw_levels(axis.ticks, (tick) => this.y(tick), this.spec.format);
  }
  draw_times() {
    const { window_ms } = this.view, said = JSON.stringify([window_ms, this.right, this.bottom]);
    if (said === this.times_said) return;
    this.times_said = said;
    this.times.replaceChildren();
    element(this.times, "path", { d: `M${LEFT_PX} ${this.bottom + 0.5}H${this.right}` });
    for (const back of time_steps(window_ms, Math.max(1, Math.floor((this.right - LEFT_PX) / TIME_LABEL_PX)))) {
      const at = px(this.right - back / window_ms * (this.right - LEFT_PX));
      element(this.times, "path", { d: `M${at} ${this.bottom}v4` });
      const anchor = back === 0 ? "end" : at < LEFT_PX + 16 ? "start" : "middle";
      element(this.times, "text", { x: anchor === "end" ? at + 4 : at, y: this.bottom + 15, "text-anchor": anchor, "data-ms": back }, ago(back));
    }
  }
  draw_marks() { if (this.spec.stacked) this.draw_stack(); else this.draw_lines(); }
  draw_lines() {
    const { entries } = this.view;
    for (const { kind, value, above, filled } of this.series) {
      const runs = stretches(entries, value), line = runs.map((run) => this.line(run)).join("");
      if (filled) element(this.marks, "path", { class: `area ${kind}`, d: runs.map((run) => `${this.line(run)}V${this.y(0)}H${this.x(run[0][0].at)}Z`).join("") });
      // On top of it, as a band.
      if (above) {
        const band = runs.map((run) => this.line(run.map(([entry, here]) => [entry, here + (above(entry) || 0)])) + run.toReversed().map(([entry, here]) => `L${this.x(entry.at)} ${this.y(here)}`).join("") + "Z");
        element(this.marks, "path", { class: `area band ${kind}`, d: band.join("") });
      }
      element(this.marks, "path", { class: `line ${kind}`, d: line });
    }
  }
  // A stretch of one sample is a dot: a line of no length has round ends.
  line(run) { return run.map(([entry, here], at) => `${at ? "L" : "M"}${this.x(entry.at)} ${this.y(here)}`).join("") + (run.length === 1 ? "h0" : ""); }
  draw_stack() {
    const { entries } = this.view, below = new Map();
    for (const { kind, value } of this.series) {
      let d = "";
      for (const run of stretches(entries, value)) {
        const floor = run.map(([entry]) => [entry, below.get(entry) ?? 0]), top = run.map(([entry, here], at) => [entry, floor[at][1] + here]);
        d += this.line(top) + floor.toReversed().map(([entry, here]) => `L${this.x(entry.at)} ${this.y(here)}`).join("") + "Z";
        for (const [entry, here] of top) below.set(entry, here);
      }
      element(this.marks, "path", { class: `layer ${kind}`, d });
    }
  }
  // Legend, cursor and what a screen reader hears: at the cursor's time, else the newest.
  read() {
    if (!this.view) return;
    const { entries, now, window_ms, live } = this.view, { at } = this.shared, shown = at !== undefined && at >= now - window_ms && at <= now;
    const entry = shown ? nearest(entries, at) : live ? entries.at(-1) : undefined, format = shown ? this.spec.exact ?? exact : this.spec.format;
    this.draw_legend(this.series.map(({ kind, name, value }) => [kind, name, entry ? format(value(entry)) : "–"]));
    put(this.when, !shown ? "" : entry ? `${clock(entry.unix_ms)} UTC` : "no sample");
    this.cursor.setAttribute("d", shown ? `M${Math.round(this.x(entry?.at ?? at)) + 0.5} ${TOP_PX}V${this.bottom}` : "");
    this.svg.setAttribute("aria-valuenow", String(shown ? Math.round((at - now) / 1000) : 0));
    this.svg.setAttribute("aria-valuetext", `${shown ? this.when.textContent : "Now"}: ${this.series.map(({ name }, row) => `${name} ${this.legend.children[row].lastChild.textContent}`).join(", ")}`);
  }
  // By tenths of the window: the mean, and the highest where that is another.
  draw_minutes() {
    const { entries, now, window_ms } = this.view, part_ms = window_ms / ROWS, { format } = this.spec;
    const rows = Array.from({ length: ROWS }, (_, row) => {
      const until = now - row * part_ms, those = entries.filter(({ at }) => at > until - part_ms && at <= until);
      return [`${ago(Math.round((row + 1) * part_ms))} to ${ago(Math.round(row * part_ms))}`, ...this.series.map(({ value }) => {
        const values = those.map(value).filter(Number.isFinite);
        if (values.length === 0) return "–";
        const [mean, most] = [values.reduce((sum, here) => sum + here, 0) / values.length, Math.max(...values)].map(format);
        return mean === most ? mean : `${mean} (most ${most})`;
      })];
    });
    this.draw_table(["Time", ...this.series.map(({ name }) => name)], rows);
  }
}

// Durations over time on an axis of powers of ten: how many lay in each bucket as shades, quantiles as lines.
export class LatencyPlot extends TimePlot {
  y(us) {
    const [low, high] = [Math.log10(this.low), Math.log10(this.top)], at = Math.min(Math.max(Math.log10(us || this.low), low), high);
    return px(this.bottom - (at - low) / (high - low) * (this.bottom - TOP_PX));
  }
  draw_axis() {
    const { entries, history } = this.view, { latency_bounds: bounds } = history, sum = latencies_of(entries, bounds.length + 1);
    const first = sum.findIndex((here) => here > 0), last = sum.findLastIndex((here) => here > 0);
    const ticks = first < 0 ? decades(10, 1e6) : decades(Math.max(bounds[Math.max(first - 1, 0)] * (first ? 1 : 0.5), 1), Math.max(bounds[Math.min(last, bounds.length - 1)], 1000));
    [this.low, this.top] = [ticks[0], ticks.at(-1)];
    this.draw_nothing(first < 0);
    this.draw_levels(ticks, (tick) => this.y(tick), duration);
  }
  draw_marks() {
    const { entries, history } = this.view, bounds = history.latency_bounds, shades = Array.from({ length: HEATS }, () => "");
    let before;
    for (const entry of entries) {
      const total = entry.latencies?.reduce((sum, here) => sum + here, 0) ?? 0;
      if (total > 0) {
        const right = this.x(entry.at), left = follows(before, entry) ? this.x(before.at) : px(right - 1.5);
        entry.latencies.forEach((here, at) => {
          if (here === 0) return;
          const top = this.y(bounds[at] ?? this.top), bottom = this.y(at ? bounds[at - 1] : this.low);
          // By powers of two, so that one in a hundred is still seen.
          const shade = Math.max(0, HEATS - 1 + Math.round(Math.log2(here / total) / 1.7));
          shades[shade] += `M${left} ${top}H${right}V${bottom}H${left}Z`;
        });
      }
      before = entry;
    }
    shades.forEach((d, at) => element(this.marks, "path", { class: `heat h${at + 1}`, d }));
    this.draw_lines();
  }
}

// How often which duration was, over the whole time that is shown.
export class HistogramPlot extends Figure {
  constructor(parent, spec) {
    super(parent, spec);
    this.svg.setAttribute("role", "img");
  }
  read() {}
  draw({ entries, history, window_ms }) {
    const { latency_bounds: bounds } = history, counts = latencies_of(entries, bounds.length + 1), total = counts.reduce((sum, here) => sum + here, 0);
    const seen = [counts.findIndex((here) => here > 0), counts.findLastIndex((here) => here > 0)];
    // At least from 10 us to 10 ms, so that a bar has something beside it.
    const first = seen[0] < 0 ? 0 : Math.max(0, Math.min(seen[0] - 1, bounds.length - 9)), last = Math.min(bounds.length, Math.max(seen[1] + 1, first + 10));
    const slots = last - first + 1, wide = (this.right - LEFT_PX) / slots, axis = linear_axis(Math.max(...counts, 0), { count: this.levels_max(), least: 4, whole: true });
    const y = (value) => px(this.bottom - value / axis.top * (this.bottom - TOP_PX)), edge = (at) => px(LEFT_PX + (at - first) * wide);
    this.draw_levels(axis.ticks, y, count);
    this.draw_bounds(bounds, first, last, wide, edge);
    this.draw_nothing(total === 0);
    this.marks.replaceChildren();
    element(this.marks, "path", { class: "bars c1", d: counts.map((here, at) => here ? `M${px(edge(at) + 1)} ${this.bottom}V${Math.min(y(here), this.bottom - 1)}H${px(edge(at + 1) - 1)}V${this.bottom}Z` : "").join("") });
    const rows = [["c1", "publications", exact(total)]];
    for (const [kind, name, share] of [["c2", "half below", 0.5], ["c3", "99 % below", 0.99], ["c4", "99.9 % below", 0.999]]) {
      const us = quantile(counts, bounds, share), at = bounds.findIndex((bound) => us <= bound);
      rows.push([kind, name, duration(us)]);
      if (at < 0) continue;
      const low = at ? bounds[at - 1] : 0, x = px(edge(at) + (us - low) / (bounds[at] - low) * wide);
      element(this.marks, "path", { class: `line ${kind}`, d: `M${x} ${TOP_PX}V${this.bottom}` });
    }
    this.draw_legend(rows);
    put(this.when, `last ${window_ms / 60_000} min`);
    const label = total ? `${exact(total)} publications, half below ${rows[1][2]}, 99 % below ${rows[2][2]}` : this.spec.nothing;
    this.svg.setAttribute("aria-label", label);
    if (this.details.open) this.draw_table(["Latency up to", "Publications", "Share"], counts.map((here, at) => [bounds[at] ? duration(bounds[at]) : "more", exact(here), total ? `${(here / total * 100).toFixed(2)} %` : "–"]));
  }
  draw_bounds(bounds, first, last, wide, edge) {
    const said = JSON.stringify([first, last, this.right, this.bottom]), every = Math.ceil(48 / wide);
    if (said === this.times_said) return;
    this.times_said = said;
    this.times.replaceChildren();
    element(this.times, "path", { d: `M${LEFT_PX} ${this.bottom + 0.5}H${this.right}` });
    for (let at = first; at <= last; at++) {
      const right = edge(at + 1);
      if ((at - first) % every || at >= bounds.length || right > this.right - 14) continue;
      element(this.times, "path", { d: `M${right} ${this.bottom}v4` });
      element(this.times, "text", { x: right, y: this.bottom + 15, "text-anchor": "middle", "data-us": bounds[at] }, duration(bounds[at]));
    }
  }
}
