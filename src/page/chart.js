// Draws a history on a canvas. Colours come from the style sheet, so that light and dark are decided in one place.
import { HISTORY_MS } from "./market.js";

const AXIS_PX = 70, FOOT_PX = 18;

// A young history is drawn over a shorter time, so that the first look already shows something.
const window_of = (age_ms) => [10_000, 20_000, 30_000, 60_000].find((window_ms) => age_ms < window_ms) ?? HISTORY_MS;

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.measure();
  }
  // After a change of size or colours.
  measure() {
    const { width, height } = this.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    Object.assign(this, { width, height });
    [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.canvas);
    const names = ["ink", "soft", "rule", "up", "down", "accent", "band", "sheet"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
    this.context.font = `11px ${style.fontFamily}`;
  }
  clear() { this.context.clearRect(0, 0, this.width, this.height); }

  market(history, now, price) {
    const { context, colours } = this, slot_now = history.advance(now), { bid, ask, trade, bought, sold } = history, size = bid.length;
    const window_ms = window_of(now - history.since), length = Math.round(size * window_ms / HISTORY_MS);
    const right = this.width - AXIS_PX, bottom = this.height - FOOT_PX, volume_px = Math.round(bottom * 0.16), floor = bottom - volume_px - 6;
    const x = (back) => right * (1 - back / length), at = (back) => (slot_now - back + size) % size;
    let low = Infinity, high = -Infinity, volume_max = 0;
    for (let back = 0; back < length; back++) {
      const slot = at(back);
      for (const value of [bid[slot], ask[slot], trade[slot]]) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      volume_max = Math.max(volume_max, bought[slot] + sold[slot]);
    }
    this.clear();
    this.times(right, bottom, window_ms);
    if (low > high) return this.say("No prices yet", right, bottom);
    const margin = (high - low) * 0.08 || Math.abs(high) * 1e-4 || 1;
    const y = (value) => floor - (value - low + margin) / (high - low + 2 * margin) * (floor - 4);
    const value = Number(price), tagged = price !== "" && value >= low - margin && value <= high + margin;
    this.levels(low - margin, high + margin, y, right, floor, tagged ? y(value) : NaN);

    context.lineWidth = 1;
    for (let back = length - 1; back >= 0; back--) {
      const slot = at(back), left = x(back + 1), wide = right / length;
      if (bid[slot] < ask[slot]) { context.fillStyle = colours.band; context.fillRect(left, y(ask[slot]), wide + 0.5, y(bid[slot]) - y(ask[slot])); }
      const sold_px = sold[slot] / volume_max * volume_px || 0, bought_px = bought[slot] / volume_max * volume_px || 0;
      if (sold_px + bought_px === 0) continue;
      context.fillStyle = colours.down;
      context.fillRect(left, bottom - sold_px, Math.max(1, wide), sold_px);
      context.fillStyle = colours.up;
      context.fillRect(left, bottom - sold_px - bought_px, Math.max(1, wide), bought_px);
    }
    for (const side of [bid, ask]) {
      context.strokeStyle = colours.accent;
      context.beginPath();
      let pen = false;
      for (let back = length - 1; back >= 0; back--) {
        const value = side[at(back)];
        if (Number.isNaN(value)) { pen = false; continue; }
        if (pen) context.lineTo(x(back + 1), y(value)); else context.moveTo(x(back + 1), y(value));
        context.lineTo(x(back), y(value));
        pen = true;
      }
      context.stroke();
    }
    for (let back = length - 1; back >= 0; back--) {
      const slot = at(back);
      if (Number.isNaN(trade[slot])) continue;
      context.fillStyle = bought[slot] >= sold[slot] ? colours.up : colours.down;
      context.fillRect(x(back) - 1.25, y(trade[slot]) - 1.25, 2.5, 2.5);
    }
    if (tagged) this.tag(price, y(value), right, floor);
  }

  rate(history, now) {
    const { context, colours } = this, head = history.advance(now), { counts } = history, size = counts.length;
    const window_ms = window_of(now - history.since), length = window_ms / 1000;
    const right = this.width - AXIS_PX, bottom = this.height - FOOT_PX, high = Math.max(4, ...counts) * 1.1;
    const y = (value) => bottom - value / high * (bottom - 4);
    this.clear();
    this.times(right, bottom, window_ms);
    this.levels(0, high, y, right, bottom, NaN);
    context.fillStyle = colours.accent;
    for (let back = 0; back < length; back++) {
      if (back + 1 === size) break;
      const count = counts[(head - 1 - back + size) % size]; // The second under way is not counted yet.
      context.fillRect(right * (1 - (back + 1) / length) + 0.5, y(count), Math.max(1, right / length - 1), bottom - y(count));
    }
    if (counts.every((count) => count === 0)) this.say("No message in this time", right, bottom);
  }

  times(right, bottom, window_ms) {
    const { context, colours } = this;
    context.textBaseline = "alphabetic";
    for (const part of window_ms % 3000 ? [0, 1 / 2, 1] : [0, 1 / 3, 2 / 3, 1]) {
      const text = part === 1 ? "now" : `−${Math.round((1 - part) * window_ms / 1000)} s`;
      context.fillStyle = colours.rule;
      context.fillRect(Math.min(right - 1, Math.round(right * part)), 0, 1, bottom);
      context.fillStyle = colours.soft;
      context.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
      context.fillText(text, right * part, bottom + 14);
    }
    context.fillStyle = colours.rule;
    context.fillRect(0, bottom, right, 1);
  }

  levels(low, high, y, right, floor, taken) {
    const { context, colours } = this, rough = (high - low) / Math.max(2, floor / 44), power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough), digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (let count = Math.ceil(low / step); count * step <= high; count++) {
      const line = Math.round(y(count * step));
      context.fillStyle = colours.rule;
      context.fillRect(0, line, right, 1);
      context.fillStyle = colours.soft;
      if (line > 6 && line < floor + 4 && !(Math.abs(line - taken) < 15)) context.fillText((count * step).toFixed(digits), right + 8, line);
    }
  }

  // The last price, on the axis.
  tag(text, line, right, floor) {
    const { context, colours } = this, middle = Math.min(Math.max(line, 9), floor - 2);
    context.fillStyle = colours.ink;
    context.fillRect(right, middle - 8, AXIS_PX, 16);
    context.fillRect(right - 5, middle, 5, 1);
    context.fillStyle = colours.sheet;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(text, right + 8, middle + 0.5, AXIS_PX - 10);
  }

  say(text, right, bottom) {
    this.context.fillStyle = this.colours.soft;
    this.context.textAlign = "center";
    this.context.textBaseline = "middle";
    this.context.fillText(text, right / 2, bottom / 2);
  }
}
