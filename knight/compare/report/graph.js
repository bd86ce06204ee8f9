// The error along the graph: a line for the whole quantized net, a mark per layer quantized alone.

const APART = 34; // pixels between two labels
const TOP = 100; // dB: what is better is drawn there, exact values too
const BOTTOM = -20;

function drawable(value) {
  return missing(value) ? null : clamp(value, BOTTOM, TOP);
}

function graphRange(layers) {
  const shown = layers.flatMap((layer) => [layer.accumulated, layer.own])
    .filter((value) => !missing(value) && value < TOP);
  if (!shown.length) return [0, TOP];
  const [low, high] = extent(shown.map(drawable));
  return [Math.min(0, Math.floor(low / 10) * 10), Math.max(Math.ceil((high + 2) / 10) * 10, 40)];
}

function line(layers, x, y, top) {
  let pen = "M";
  return layers.map((layer, place) => {
    const value = drawable(layer.accumulated);
    if (value === null) { pen = "M"; return ""; }
    const step = `${pen}${round(x(place))} ${round(y(Math.min(value, top)))}`;
    pen = "L";
    return step;
  }).join("");
}

function ownMarks(layers, x, y, top, size) {
  const worstLast = layers.map((layer, place) => place)
    .filter((place) => !missing(layers[place].own))
    .sort((left, right) => layers[right].own - layers[left].own);
  return worstLast.map((place) => {
    const { own, index } = layers[place];
    const found = level(own);
    const spot = `translate(${round(x(place))} ${round(y(Math.min(drawable(own), top)))}) scale(${size})`;
    return `<path class="mark ${found.name}" data-layer="${index}" transform="${spot}" d="${found.path}"/>`;
  }).join("");
}

// The number of each bad layer, the worst first, where no worse one's stands.
function labels(layers, x, y, left) {
  const taken = [];
  return data.guilty.filter((place) => ["bad", "broken"].includes(level(layers[place].own).name)).map((place) => {
    const spot = Math.max(x(place), left + 14);
    if (taken.some((other) => Math.abs(other - spot) < APART)) return "";
    taken.push(spot);
    const under = round(y(drawable(layers[place].own)) + 20);
    return `<text class="label" x="${round(spot)}" y="${under}" text-anchor="middle">#${layers[place].index}</text>`;
  }).join("");
}

function graphTip(layer) {
  return `<b>#${layer.index} ${escape(layer.op)}</b><span class="name">${escape(layer.output)}</span>` +
    `<span>own <b>${withUnit(layer.own)}</b></span><span>accumulated <b>${withUnit(layer.accumulated)}</b></span>` +
    (layer.cause ? `<span>${escape(words(layer.cause.kind))}</span>` : "");
}

function drawGraph(width) {
  const layers = data.layers;
  const height = width < 600 ? 260 : 330;
  const [left, right, above, below] = [38, width - 12, 14, height - 30];
  const [low, high] = graphRange(layers);
  const last = Math.max(layers.length - 1, 1);
  const x = linear([0, last], [left + 8, right - 8]);
  const y = linear([low, high], [below, above]);
  const size = layers.length > 400 ? 0.7 : layers.length > 150 ? 0.85 : 1.15;
  const path = line(layers, x, y, high);
  const places = ticks(0, last, width / 110).filter((place) => layers[place]);
  const body = horizontals(ticks(low, high, 6), y, left, right) +
    verticals(places, x, below, (place) => layers[place].index) +
    `<line class="axis" x1="${left}" x2="${right}" y1="${below}" y2="${below}"/>` +
    `<path class="line" d="${path}"/>` + ownMarks(layers, x, y, high, size) + labels(layers, x, y, left);
  const at = (place) => ({ x: x(place), y: y(0), place, html: graphTip(layers[place]) });
  return {
    svg: svg(width, height, `SQNR of ${plural(layers.length, "layer")} along the graph`, body),
    at,
    near: (place) => (layers.length ? at(clamp(Math.round(x.back(place)), 0, layers.length - 1)) : null),
  };
}

function legend() {
  const marks = [...LEVELS].reverse().map((step) =>
    `<span><svg class="mark ${step.name}" viewBox="-6 -6 12 12" aria-hidden="true"><path d="${step.path}"/></svg>` +
    `${step.text}</span>`).join("");
  return `<span><svg class="stroke" viewBox="0 0 22 12" aria-hidden="true"><path class="line" d="M0 6H22"/></svg>` +
    `accumulated</span><span class="group">own:</span>${marks}`;
}

function mountGraph(open) {
  const box = document.getElementById("along");
  const spoken = document.getElementById("spoken");
  document.getElementById("legend").innerHTML = legend();
  const chart = mountChart(box, drawGraph, open);
  let current = -1;
  const go = (place) => {
    current = clamp(place, 0, data.layers.length - 1);
    const { x, html } = chart().at(current);
    const edge = box.getBoundingClientRect();
    moveCursor(box, x);
    showTip(html, edge.left + x, edge.top + 60);
    spoken.textContent = tip.textContent;
  };
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && data.layers.length) { event.preventDefault(); go(current + step); }
    if (event.key === "Enter" && current >= 0) open(current);
  });
  box.addEventListener("blur", () => { tip.hidden = true; moveCursor(box, null); });
}
