// The charts of one layer: histograms float against quantized, and figures per channel.

const FAR = 3; // widths of the data: a clipping range beyond that is told, not drawn

function histogramDomain(edges, rounding) {
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const room = (high - low) * FAR || 1;
  if (!rounding) return [low, high];
  return [
    Math.min(low, Math.max(rounding.low, low - room)),
    Math.max(high, Math.min(rounding.high, high + room)),
  ];
}

function area(counts, edges, x, y, bottom) {
  const steps = counts.map((count, bin) =>
    `V${round(y(count))}H${round(x(edges[bin + 1]))}`).join("");
  return `M${round(x(edges[0]))} ${bottom}${steps}V${bottom}Z`;
}

function clipping(rounding, x, [low, high], above, below) {
  if (!rounding) return "";
  const shade = (from, to) => to <= from ? ""
    : `<rect class="outside" x="${round(from)}" y="${above}" width="${round(to - from)}" height="${below - above}"/>`;
  const mark = (value, anchor, shift) => value < low || value > high ? ""
    : `<line class="limit" x1="${round(x(value))}" x2="${round(x(value))}" y1="${above - 6}" y2="${below}"/>` +
      `<text class="label" x="${round(x(value) + shift)}" y="${above - 10}" text-anchor="${anchor}">${number(value)}</text>`;
  return shade(x(low), x(clamp(rounding.low, low, high))) + shade(x(clamp(rounding.high, low, high)), x(high)) +
    mark(rounding.low, "start", 0) + mark(rounding.high, "end", 0);
}

function binTip(histogram, bin) {
  const { edges, reference, result } = histogram;
  return `<b>${span(edges[bin], edges[bin + 1])}</b>` +
    `<span>float <b>${reference[bin].toLocaleString("en")}</b></span>` +
    `<span>quantized <b>${result[bin].toLocaleString("en")}</b></span>`;
}

// Counts on a logarithmic scale: the tails decide, and they hold few elements.
function drawHistogram(histogram, range, width) {
  const rounding = range && !missing(range.low) && !missing(range.high) ? range : null;
  const { edges, reference, result } = histogram;
  const height = 220;
  const [left, right, above, below] = [44, width - 10, 26, height - 28];
  const most = Math.max(1, ...reference, ...result);
  const domain = histogramDomain(edges, rounding);
  const x = linear(domain, [left, right]);
  const top = Math.log10(most + 1) * 1.04;
  const upright = linear([0, top], [below, above]);
  const y = (count) => upright(Math.log10(count + 1));
  const powers = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9].filter((count) => count <= most);
  const body = horizontals(powers, y, left, right, (count) => count.toLocaleString("en", { notation: "compact" })) +
    clipping(rounding, x, domain, above, below) +
    `<path class="float" d="${area(reference, edges, x, y, below)}"/>` +
    `<path class="quantized" d="${area(result, edges, x, y, below)}"/>` +
    `<line class="axis" x1="${left}" x2="${right}" y1="${below}" y2="${below}"/>` +
    verticals(ticks(...domain, width / 90), x, below);
  const near = (place) => {
    const bin = edges.findIndex((edge, index) => x(edge) <= place && place < x(edges[index + 1]));
    return bin < 0 ? null : { x: (x(edges[bin]) + x(edges[bin + 1])) / 2, html: binTip(histogram, bin), place: bin };
  };
  return { svg: svg(width, height, "Histogram of the float and the quantized values", body), near };
}

function channelName(channels, bar) {
  const first = bar * channels.step;
  const last = Math.min(first + channels.step, channels.count) - 1;
  return first === last ? `Channel ${first}` : `Channels ${first} to ${last}`;
}

function outlierBars(channels) {
  return new Set(channels.outliers.map((channel) => Math.floor(channel / channels.step)));
}

function channelTip(channels, bar) {
  const outlier = outlierBars(channels).has(bar) ? "<span>outlier</span>" : "";
  return `<b>${channelName(channels, bar)}</b><span>${span(channels.low[bar], channels.high[bar])}</span>` +
    `<span>SQNR <b>${withUnit(channels.sqnr[bar])}</b></span>${outlier}`;
}

function rangeBars(channels, x, y, chosen) {
  return channels.low.map((low, bar) => {
    if (!chosen(bar) || missing(low) || missing(channels.high[bar])) return "";
    const [from, to] = [y(low), y(channels.high[bar])];
    return `M${round(x(bar))} ${round(Math.max(from, to + 1))}V${round(to)}`;
  }).join("");
}

function sqnrPath(channels, x, y, high) {
  return channels.sqnr.map((value, bar) => missing(value) ? ""
    : `M${round(x(bar))} ${round(y(clamp(value, 0, high)))}h0`).join("");
}

// Above the range of each channel, below its SQNR; both over the channel's number.
function drawChannels(channels, width) {
  const height = 270;
  const [left, right] = [52, width - 10];
  const bars = channels.low.length;
  const x = linear([-0.5, bars - 0.5], [left, right]);
  const stroke = clamp(((right - left) / bars) * 0.7, 0.6, 10);
  const y = linear(stretch(extent([...channels.low, ...channels.high, 0])), [140, 12]);
  const most = Math.max(10, ...channels.sqnr.map((value) => Math.min(value ?? 0, TOP)));
  const db = linear([0, most], [height - 30, 164]);
  const outliers = outlierBars(channels);
  const path = (name, chosen) =>
    `<path class="${name}" stroke-width="${round(stroke)}" d="${rangeBars(channels, x, y, chosen)}"/>`;
  const named = ticks(0, bars - 1, width / 80).filter(Number.isInteger);
  const body = horizontals(ticks(...extent([...channels.low, ...channels.high, 0]), 4), y, left, right) +
    path("range", (bar) => !outliers.has(bar)) + path("range outlier", (bar) => outliers.has(bar)) +
    horizontals(ticks(0, most, 3), db, left, right, (value) => `${value}`) +
    `<path class="dots" stroke-width="${round(clamp(stroke * 1.2, 2.4, 6))}" d="${sqnrPath(channels, x, db, most)}"/>` +
    `<text class="side" x="${left + 4}" y="22">range</text><text class="side" x="${left + 4}" y="${174}">SQNR, dB</text>` +
    verticals(named, x, height - 30, (bar) => bar * channels.step);
  const near = (place) => {
    const bar = clamp(Math.round(x.back(place)), 0, bars - 1);
    return { x: x(bar), html: channelTip(channels, bar), place: bar };
  };
  return { svg: svg(width, height, `Range and SQNR of ${plural(channels.count, "channel")}`, body), near };
}

function stretch([low, high]) {
  const room = (high - low) * 0.04 || 1;
  return [low - room, high + room];
}
