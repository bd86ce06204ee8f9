// What charts share: scales, ticks, axes, and a frame that redraws with its width and says what is under the pointer.

const tip = document.getElementById("tip");

function linear([from, to], [start, end]) {
  const factor = to === from ? 0 : (end - start) / (to - from);
  const scale = (value) => start + (value - from) * factor;
  scale.back = (place) => (factor ? from + (place - start) / factor : from);
  return scale;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (missing(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : [low, high];
}

// Round numbers between low and high, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high + step * 1e-9; place += 1) {
    found.push(Number((place * step).toPrecision(12)));
  }
  return found;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function horizontals(values, y, left, right, text = number) {
  return values.map((value) =>
    `<line class="grid" x1="${left}" x2="${right}" y1="${round(y(value))}" y2="${round(y(value))}"/>` +
    `<text class="tick" x="${left - 8}" y="${round(y(value) + 4)}" text-anchor="end">${text(value)}</text>`).join("");
}

function verticals(values, x, bottom, text = number) {
  return values.map((value) =>
    `<line class="tick-mark" x1="${round(x(value))}" x2="${round(x(value))}" y1="${bottom}" y2="${bottom + 4}"/>` +
    `<text class="tick" x="${round(x(value))}" y="${bottom + 18}" text-anchor="middle">${text(value)}</text>`).join("");
}

function svg(width, height, label, body) {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img"` +
    ` aria-label="${escape(label)}">${body}<line class="cursor" y1="0" y2="${height}" hidden="hidden"/></svg>`;
}

function showTip(html, x, y) {
  tip.innerHTML = html;
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${clamp(x + 14, 8, Math.max(room, 8))}px`;
  tip.style.top = `${Math.max(y - tip.offsetHeight - 14, 8)}px`;
}

// A dialog covers all but its own children: the tip goes along.
function tipInto(parent) {
  parent.append(tip);
  tip.hidden = true;
}

function moveCursor(box, x) {
  const line = box.querySelector(".cursor");
  if (!line) return;
  line.toggleAttribute("hidden", x === null);
  if (x === null) return;
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}

// draw(width) gives {svg, near(x)}; near gives {x, html, place} of what is drawn next to x, or null.
// pick(place) is called on a click. Returns a function that gives the chart as it stands.
function mountChart(box, draw, pick = null) {
  let chart = null, width = 0;
  const redraw = () => {
    const room = Math.floor(box.clientWidth);
    if (!room || room === width) return;
    width = room;
    chart = draw(width);
    box.innerHTML = chart.svg;
  };
  const near = (event) => chart && chart.near(event.clientX - box.getBoundingClientRect().left);
  const leave = () => { tip.hidden = true; moveCursor(box, null); };
  box.addEventListener("pointermove", (event) => {
    const found = near(event);
    if (!found) return leave();
    moveCursor(box, found.x);
    showTip(found.html, event.clientX, event.clientY);
  });
  box.addEventListener("pointerleave", leave);
  if (pick) box.addEventListener("click", (event) => { const found = near(event); if (found) pick(found.place); });
  redraw();
  new ResizeObserver(redraw).observe(box);
  return () => chart;
}
