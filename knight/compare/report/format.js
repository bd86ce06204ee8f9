// The data of the page, and its values as text: what is printed goes through these functions.

const data = JSON.parse(document.getElementById("data").textContent);

const NONE = "–";
const EXACT = 200; // dB: no noise at all

// How bad an SQNR is, worst first: a colour and a shape each, so that neither is needed alone.
const LEVELS = [
  { name: "broken", below: 10, text: "below 10 dB", path: "M-4-4L4 4M-4 4L4-4" },
  { name: "bad", below: 20, text: "10 to 20 dB", path: "M0-4.6L4.6 3.8H-4.6Z" },
  { name: "fair", below: 30, text: "20 to 30 dB", path: "M0-4.6L4.6 0L0 4.6L-4.6 0Z" },
  { name: "good", below: Infinity, text: "30 dB and more", path: "M-3.4 0A3.4 3.4 0 1 0 3.4 0A3.4 3.4 0 1 0-3.4 0Z" },
];

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text) {
  return String(text).replace(/[&<>"']/g, (character) => ESCAPES[character]);
}

function missing(value) {
  return value === null || value === undefined;
}

function signed(text) {
  return text.replace(/^-/, "−").replace("e-", "e−");
}

function fixed(value, digits) {
  return missing(value) ? NONE : signed(value.toFixed(digits));
}

function number(value, digits = 4) {
  if (missing(value)) return NONE;
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return signed(String(value));
  const plain = size === 0 || (size >= 1e-4 && size < 1e6);
  return signed(plain ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 1));
}

function decibel(value, digits = 1) {
  if (missing(value)) return NONE;
  return value >= EXACT ? "exact" : fixed(value, digits);
}

function withUnit(value, digits = 1) {
  return missing(value) || value >= EXACT ? decibel(value) : `${decibel(value, digits)} dB`;
}

function percent(value, digits = 2) {
  return missing(value) ? NONE : fixed(value * 100, digits);
}

function gain(value) {
  if (missing(value)) return "";
  return `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(1)} dB`;
}

function span(low, high) {
  return missing(low) && missing(high) ? NONE : `${number(low)} … ${number(high)}`;
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

function base(path) {
  return path.replace(/[/\\]+$/, "").split(/[/\\]/).pop();
}

// A long name loses its middle where there is no room: the end tells one from another.
function cut(name) {
  const split = name.length > 26 ? name.length - 16 : name.length;
  return `<span class="cut" title="${escape(name)}"><span>${escape(name.slice(0, split))}</span>` +
    `<span>${escape(name.slice(split))}</span></span>`;
}

function words(key) {
  return key.replace(/_/g, " ");
}

function stopped(text) {
  return /[.!?]$/.test(text) || !text ? text : `${text}.`;
}

function sentence(text) {
  return stopped(text.charAt(0).toUpperCase() + text.slice(1));
}

// What stands before a colon names the cause: "clipped range: it ends at ...".
function causeText(cause) {
  const [, name, rest] = /^(.{1,60}?:)( [^]*)$/.exec(sentence(cause.text)) ?? [null, "", sentence(cause.text)];
  return `${name ? `<b>${escape(name)}</b>` : ""}${escape(rest)}`;
}

function level(sqnr) {
  return missing(sqnr) ? null : LEVELS.find((step) => sqnr < step.below);
}

function mark(sqnr) {
  const found = level(sqnr);
  if (!found) return "";
  return `<svg class="mark ${found.name}" viewBox="-6 -6 12 12" role="img" aria-label="${found.name}">` +
    `<path d="${found.path}"/></svg>`;
}

const PLACES = new Map(data.columns.map((column, place) => [column.key, place]));

function figure(layer, key) {
  const place = PLACES.get(key);
  return place === undefined ? null : layer.figures[place];
}

function figureText(column, value) {
  if (column.key === "accumulated_sqnr") return decibel(value, column.digits);
  return column.percent ? percent(value, column.digits) : fixed(value, column.digits);
}

function terms(pairs) {
  return pairs.filter(([, value]) => value !== NONE && value !== "")
    .map(([term, value]) => `<div><dt>${escape(term)}</dt><dd>${escape(value)}</dd></div>`).join("");
}
