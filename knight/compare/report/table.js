// The table of the layers: sorted and filtered on the data, written to the page in one go.

// value: what is sorted by. cell: HTML. falling: small is bad, so the first click puts small ones on top.
const COLUMNS = [
  { key: "index", title: "#", value: (layer) => layer.index, falling: true },
  { key: "op", title: "Op type", value: (layer) => layer.op, text: true },
  { key: "output", title: "Output", value: (layer) => layer.output, cell: outputCell, text: true },
  ...figureColumn("mre", "MRE %"),
  ...figureColumn("cos", "cos %"),
  { key: "accumulated", title: "Accum. SQNR", value: (layer) => layer.accumulated, cell: decibelCell, falling: true },
  { key: "own", title: "Own SQNR", value: (layer) => layer.own, cell: ownCell, falling: true },
  { key: "best", title: "Best SQNR", value: (layer) => layer.best, cell: decibelCell, falling: true },
  { key: "clipped", title: "Clipped %", value: (layer) => layer.clipped, cell: (value) => percent(value) },
  { key: "cause", title: "Cause", value: (layer) => layer.cause?.kind, cell: causeCell, text: true },
];

function figureColumn(key, title) {
  const column = data.columns.find((found) => found.key === key);
  if (!column) return [];
  const cell = (value) => figureText({ ...column, digits: 2 }, value);
  return [{ key, title, value: (layer) => figure(layer, key), cell, falling: column.falling }];
}

function decibelCell(value) {
  return decibel(value);
}

function ownCell(value) {
  return `${mark(value)}${decibel(value)}`;
}

function outputCell(value, layer) {
  return `<a href="#layer-${layer.index}" tabindex="-1">${cut(value)}</a>` +
    (layer.cause ? `<span class="folded">${escape(words(layer.cause.kind))}</span>` : "");
}

function causeCell(kind, layer) {
  if (missing(kind)) return "";
  return `<span class="clamp" title="${escape(layer.cause.text)}">${causeText(layer.cause)}</span>`;
}

// None always comes last, whichever way the rest is sorted; equals stay in graph order.
function compare(column, downwards) {
  return (left, right) => {
    const [first, second] = [column.value(data.layers[left]), column.value(data.layers[right])];
    if (missing(first) || missing(second)) return missing(first) - missing(second) || left - right;
    const order = column.text ? first.localeCompare(second, "en", { numeric: true }) : first - second;
    return (downwards ? -order : order) || left - right;
  };
}

function matches(layer, { text, op, caused }) {
  if (op && layer.op !== op) return false;
  if (caused && !layer.cause) return false;
  return !text || [layer.output, layer.name, layer.quantized].some((name) => name.toLowerCase().includes(text));
}

function row(place, focusable) {
  const layer = data.layers[place];
  const cells = COLUMNS.map((column) => {
    const value = column.value(layer);
    const text = column.cell ? column.cell(value, layer) : escape(value);
    return `<td class="c-${column.key}${column.text ? "" : " n"}">${text}</td>`;
  }).join("");
  const bad = level(layer.own)?.name ?? "";
  return `<tr data-place="${place}" class="${bad}" tabindex="${focusable ? 0 : -1}">${cells}</tr>`;
}

function head(column, sorted) {
  const found = sorted.key === column.key;
  const state = found ? ` aria-sort="${sorted.downwards ? "descending" : "ascending"}"` : "";
  const arrow = found ? (sorted.downwards ? "▼" : "▲") : "";
  return `<th scope="col" class="c-${column.key}${column.text ? "" : " n"}"${state}>` +
    `<button type="button" data-sort="${column.key}">${escape(column.title)}` +
    `<span class="arrow" aria-hidden="true">${arrow}</span></button></th>`;
}

function operatorOptions() {
  const counts = new Map();
  for (const { op } of data.layers) counts.set(op, (counts.get(op) ?? 0) + 1);
  const options = [...counts].sort(([left], [right]) => left.localeCompare(right, "en"))
    .map(([op, count]) => `<option value="${escape(op)}">${escape(op)} (${count})</option>`);
  return `<option value="">All operators</option>${options.join("")}`;
}

// Returns an object whose `order` holds the places of the shown rows.
function mountTable(open) {
  const element = (id) => document.getElementById(id);
  const [heads, rows, count] = ["heads", "rows", "count"].map(element);
  const [find, operator, caused] = ["find", "operator", "caused"].map(element);
  const table = { order: [] };
  let sorted = { key: "index", downwards: false };

  const show = () => {
    const filter = { text: find.value.trim().toLowerCase(), op: operator.value, caused: caused.checked };
    const column = COLUMNS.find((found) => found.key === sorted.key);
    table.order = data.layers.map((layer, place) => place)
      .filter((place) => matches(data.layers[place], filter)).sort(compare(column, sorted.downwards));
    rows.innerHTML = table.order.map((place, at) => row(place, at === 0)).join("") ||
      `<tr class="empty"><td colspan="${COLUMNS.length}">No layer fits the filter.</td></tr>`;
    count.textContent = `${table.order.length.toLocaleString("en")} of ${plural(data.layers.length, "layer")}`;
  };
  const showHeads = () => { heads.innerHTML = COLUMNS.map((column) => head(column, sorted)).join(""); };
  const sortBy = (key) => {
    const column = COLUMNS.find((found) => found.key === key);
    const first = !column.text && !column.falling; // the worst first
    sorted = { key, downwards: sorted.key === key ? !sorted.downwards : first };
    showHeads();
    heads.querySelector(`[data-sort="${key}"]`).focus();
    show();
  };

  operator.innerHTML = operatorOptions();
  heads.addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (button) sortBy(button.dataset.sort);
  });
  for (const control of [find, operator, caused]) control.addEventListener("input", show);
  find.form.addEventListener("submit", (event) => event.preventDefault());
  listenToRows(rows, open);
  showHeads();
  show();
  return table;
}

function listenToRows(rows, open) {
  const placed = (event) => event.target.closest("[data-place]");
  rows.addEventListener("click", (event) => {
    const found = placed(event);
    if (!found || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    focusRow(rows, found);
    open(Number(found.dataset.place));
  });
  rows.addEventListener("keydown", (event) => {
    const found = placed(event);
    if (!found) return;
    if (event.key === "Enter") { event.preventDefault(); open(Number(found.dataset.place)); }
    const next = { ArrowDown: found.nextElementSibling, ArrowUp: found.previousElementSibling }[event.key];
    if (next) { event.preventDefault(); focusRow(rows, next); }
  });
}

// One row at a time is a tab stop.
function focusRow(rows, found) {
  for (const other of rows.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  found.tabIndex = 0;
  found.focus();
}
