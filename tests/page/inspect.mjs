// Runs inside the page: what a visitor can see, measured. Each function is self-contained, so that it can be sent to the browser as it stands.

// The text that is visible, each piece with its boxes, its colour and the colour it stands on.
export function visible_texts() {
  const parse = (text) => {
    const [r, g, b, a = 1] = (text.match(/-?[\d.]+(e-?\d+)?%?/g) ?? []).map(Number), scale = text.startsWith("color(") ? 255 : 1;
    return [r * scale, g * scale, b * scale, a];
  };
  const over = (top, under) => [0, 1, 2].map((c) => top[c] * top[3] + under[c] * (1 - top[3])).concat(1);
  const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const background = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), canvas);
  };
  const luminance = (colour) => colour.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (front, back) => {
    const [a, b] = [luminance(over(front, back)), luminance(back)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const clipped = (rect, element) => {
    let { left, top, right, bottom } = rect;
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const box = at.getBoundingClientRect();
      [left, top, right, bottom] = [Math.max(left, box.left), Math.max(top, box.top), Math.min(right, box.right), Math.min(bottom, box.bottom)];
    }
    return { left, top, right, bottom };
  };
  const seen = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = Array.from(range.getClientRects(), (rect) => clipped(rect, element)).filter((box) => box.right - box.left > 1.5 && box.bottom - box.top > 1.5);
    if (boxes.length === 0) continue;
    seen.push({ text: node.data.trim().slice(0, 40), boxes, contrast: contrast(parse(getComputedStyle(element).color), background(element)) });
  }
  for (const input of document.querySelectorAll("input[placeholder]"))
    seen.push({ text: input.placeholder, boxes: [], contrast: contrast(parse(getComputedStyle(input, "::placeholder").color), background(input)) });
  // What the chart writes: scale and tag.
  const plot = document.getElementById("plot");
  if (!plot) return seen;
  const probe = plot.appendChild(document.createElement("span"));
  const resolved = (name) => { probe.style.color = `var(--${name})`; return parse(getComputedStyle(probe).color); };
  for (const [front, back] of [["soft", "sheet"], ["sheet", "ink"]]) seen.push({ text: `chart: ${front} on ${back}`, boxes: [], contrast: contrast(resolved(front), resolved(back)) });
  probe.remove();
  return seen;
}

// Pairs of things that stand on each other: text on text, or text on a control that it does not belong to.
export function overlaps(texts) {
  const controls = Array.from(document.querySelectorAll("button, input, canvas, img")).filter((control) => control.checkVisibility({ visibilityProperty: true }))
    .map((control) => ({ text: `<${control.id || control.tagName}>`, boxes: [control.getBoundingClientRect()], label: control.textContent.trim() }));
  const cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
  const all = [...texts, ...controls], found = [];
  for (let a = 0; a < all.length; a++)
    for (let b = a + 1; b < all.length; b++)
      if (!(all[b].label && all[b].label === all[a].text) && all[a].boxes.some((one) => all[b].boxes.some((other) => cross(one, other)))) found.push(`${all[a].text} / ${all[b].text}`);
  return found;
}
