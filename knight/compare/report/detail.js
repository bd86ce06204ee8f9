// One layer in full, in a dialog beside the page; built when it is opened.

const BANDS = data.columns.filter((column) => column.key.startsWith("band_"));

function detailHead(layer) {
  return `<header class="sheet-head"><p class="eyebrow">#${layer.index} · ${escape(layer.op)}</p>
    <div class="steps">
      <button type="button" class="plain" data-step="-1">Previous</button>
      <button type="button" class="plain" data-step="1">Next</button>
      <button type="button" class="plain" data-close>Close</button>
    </div></header>
    <h2 id="layer-title" tabindex="-1" autofocus>${escape(layer.output)}</h2>`;
}

function detailCause(layer) {
  const found = layer.cause;
  const alone = layer.missing ? `<p class="notice">No own error: ${escape(stopped(layer.missing))}</p>` : "";
  if (!found) return alone;
  const won = gain(found.gain_db);
  const advice = found.remedy
    ? `<p class="try"><b>What to try</b> ${escape(sentence(found.remedy))}${won ? ` <span class="gain">${won}</span>` : ""}</p>` : "";
  return `<div class="callout"><p>${causeText(found)}</p>${advice}</div>${alone}`;
}

function tile(title, value, note = "") {
  return `<div><dt>${title}</dt><dd>${value}${note}</dd></div>`;
}

function detailTiles(layer) {
  return `<dl class="cards small">${tile("Own SQNR", withUnit(layer.own), mark(layer.own))}` +
    tile("Accumulated", withUnit(layer.accumulated)) + tile("Best at this width", withUnit(layer.best)) +
    tile("Clipped", missing(layer.clipped) ? NONE : `${percent(layer.clipped)} %`) + "</dl>";
}

function bandBar(layer) {
  const shares = BANDS.map((column) => figure(layer, column.key));
  if (!BANDS.length || shares.some(missing)) return "";
  const parts = shares.map((share, band) =>
    `<span class="band-${band}" style="flex-grow:${share}" title="${BANDS[band].title} %: ${percent(share)} %"></span>`);
  const keys = BANDS.map((column, band) =>
    `<li><i class="band-${band}"></i>${escape(column.title)} %<b>${percent(shares[band], column.digits)} %</b></li>`);
  return `<h4>Elements by relative error</h4>
    <div class="bands" aria-hidden="true">${parts.join("")}</div><ul class="band-keys">${keys.join("")}</ul>`;
}

function detailFigures(layer) {
  const rest = data.columns.filter((column) => !BANDS.includes(column));
  const pairs = rest.map((column) => [column.title, figureText(column, figure(layer, column.key))]);
  return `<section><h3>Accumulated error</h3><dl class="facts">${terms(pairs)}</dl>${bandBar(layer)}</section>`;
}

function roundingTerms(layer) {
  const found = layer.rounding;
  if (!found) return [["Quantized", "no: this value stays float"]];
  return [
    ["Bits", number(found.bits)],
    ["Scale", number(found.scale, 6)],
    ["Read with scale", number(found.read_scale, 6)],
    ["Zero point", number(found.zero_point)],
    ["Representable", span(found.low, found.high)],
  ];
}

function histogramKey(rounding) {
  const limits = rounding ? `<span><i class="key-limit"></i>clipping range</span>` : "";
  return `<p class="legend"><span><i class="key-float"></i>float</span>` +
    `<span><i class="key-quantized"></i>quantized</span>${limits}<span class="group">elements, logarithmic</span></p>`;
}

function detailValues(layer) {
  const facts = [["Float values", span(layer.minimum, layer.maximum)], ...roundingTerms(layer)];
  const chart = layer.histogram ? `${histogramKey(layer.rounding)}<div class="chart" data-chart="values"></div>` : "";
  return `<section><h3>Values</h3><dl class="facts">${terms(facts)}</dl>${chart}</section>`;
}

function outlierText(channels) {
  if (!channels.outliers.length) return "No channel stands out.";
  const named = channels.named
    .map(({ channel, low, high, sqnr }) => `channel ${channel} (${span(low, high)}, ${withUnit(sqnr)})`);
  const more = channels.outliers.length - named.length;
  return `Outliers: ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}.`;
}

function channelPart(channels, name) {
  const merged = channels.step > 1 ? ` Each bar stands for ${channels.step} channels: their extremes and worst SQNR.` : "";
  return `<p class="hint">${escape(outlierText(channels) + merged)}</p><div class="chart" data-chart="${name}"></div>`;
}

function detailChannels(layer) {
  if (!layer.channels) return "";
  return `<section><h3>Channels of the output</h3>${channelPart(layer.channels, "channels")}</section>`;
}

function detailWeights(layer) {
  const found = layer.weights;
  if (!found) return "";
  const facts = [
    ["Name", found.name], ["Shape", found.shape.join(" × ")], ["Bits", number(found.bits)],
    ["Scales", found.per_channel ? "one per channel" : "one for all"],
  ];
  const chart = found.histogram ? `${histogramKey(null)}<div class="chart" data-chart="weight-values"></div>` : "";
  const channels = found.channels ? channelPart(found.channels, "weight-channels") : "";
  return `<section><h3>Weight</h3><dl class="facts">${terms(facts)}</dl>${chart}${channels}</section>`;
}

function detailNames(layer) {
  const facts = [
    ["Operator", layer.name || NONE], ["Quantized model's value", layer.quantized],
    ["Shape", layer.shape.length ? layer.shape.join(" × ") : "scalar"],
    ["Elements not finite on one side only", missing(layer.broken) ? NONE : number(layer.broken)],
  ];
  return `<section><h3>Names</h3><dl class="facts wide">${terms(facts)}</dl></section>`;
}

function detailHtml(layer) {
  return [detailHead, detailCause, detailTiles, detailValues, detailFigures, detailChannels, detailWeights, detailNames]
    .map((part) => part(layer)).join("");
}

function mountDetailCharts(sheet, layer) {
  const drawings = {
    values: (width) => drawHistogram(layer.histogram, layer.rounding, width),
    channels: (width) => drawChannels(layer.channels, width),
    "weight-values": (width) => drawHistogram(layer.weights.histogram, null, width),
    "weight-channels": (width) => drawChannels(layer.weights.channels, width),
  };
  for (const box of sheet.querySelectorAll("[data-chart]")) mountChart(box, drawings[box.dataset.chart]);
}

// neighbour(place, step): the place of the next layer in the table's order, or undefined.
function mountDetail(neighbour, open) {
  const sheet = document.getElementById("layer");
  let shown = null;
  const close = () => sheet.close();
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet || event.target.closest("[data-close]")) return close();
    const step = event.target.closest("[data-step]");
    if (step) open(neighbour(shown, Number(step.dataset.step)));
  });
  sheet.addEventListener("close", () => {
    shown = null;
    tipInto(document.body);
    if (placeOfHash() !== null) history.replaceState(null, "", location.href.split("#")[0]);
  });
  const show = (place) => {
    shown = place;
    sheet.innerHTML = `<div class="sheet">${detailHtml(data.layers[place])}</div>`;
    for (const step of sheet.querySelectorAll("[data-step]")) {
      step.disabled = neighbour(place, Number(step.dataset.step)) === undefined;
    }
    if (!sheet.open) sheet.showModal();
    sheet.scrollTop = 0;
    sheet.querySelector("h2").focus();
    tipInto(sheet);
    mountDetailCharts(sheet, data.layers[place]);
  };
  return { show, close, place: () => shown };
}
