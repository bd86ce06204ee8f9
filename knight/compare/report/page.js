// The page around the table: summary, advice, the record of the run; the address as the state of the dialog.

function put(id, html) {
  document.getElementById(id).innerHTML = html;
}

function layerLink(place) {
  const layer = data.layers[place];
  return `<a href="#layer-${layer.index}">#${layer.index} ${escape(layer.op)}</a>`;
}

function verdict() {
  if (!data.layers.length) return "No layer could be compared.";
  if (!data.guilty.length) return "No layer's own error is known; the accumulated error is in the table below.";
  const layer = data.layers[data.guilty[0]];
  if (level(layer.own).name === "good") {
    return `No layer stands out: the worst on its own, ${layerLink(data.guilty[0])}, has ${withUnit(layer.own)}.`;
  }
  const cause = layer.cause ? ` ${escape(sentence(layer.cause.text))}` : "";
  return `${layerLink(data.guilty[0])} is the guiltiest layer: ${withUnit(layer.own)} on its own.${cause}`;
}

function headline() {
  const model = (path, kind) => `<span class="model"><small>${kind}</small>` +
    `<span title="${escape(path)}">${escape(base(path))}</span></span>`;
  return `<h1 id="title">${model(data.reference, "float")}<span class="versus" aria-label="against">→</span>` +
    `${model(data.result, "quantized")}</h1><p class="verdict">${verdict()}</p>`;
}

function cards() {
  const caused = data.layers.filter((layer) => layer.cause).length;
  const worst = data.guilty.length ? data.layers[data.guilty[0]] : null;
  const shown = [
    ["Output SQNR", withUnit(data.output_sqnr, 2)],
    ["Float metric", number(data.metric_reference, 6)],
    ["Quantized metric", number(data.metric_result, 6)],
    ["Loss", missing(data.loss) ? NONE : `${fixed(data.loss, 4)} %`],
    ["Samples", number(data.samples)],
    ["Layers", `${number(data.layers.length)}${caused ? `<small>${caused} with a cause</small>` : ""}`],
    ["Worst on its own", worst ? `${withUnit(worst.own)}<small>${layerLink(data.guilty[0])}</small>` : NONE],
  ];
  return shown.map(([title, value]) => tile(title, value)).join("");
}

function warnings() {
  if (!data.warnings.length) return "";
  const lines = data.warnings.map((text) => `<li>${escape(text)}</li>`).join("");
  return `<details class="notice"${data.warnings.length <= 3 ? " open" : ""}>` +
    `<summary>${plural(data.warnings.length, "warning")}</summary><ul>${lines}</ul></details>`;
}

function placesOf(outputs) {
  return outputs.map((output) => data.layers.findIndex((layer) => layer.output === output || layer.name === output))
    .filter((place) => place >= 0);
}

function remedy(found) {
  const won = gain(found.gain_db);
  const note = won ? `<span class="gain">${won} ${found.measured ? "measured" : "expected"}</span>` : "";
  const places = placesOf(found.layers);
  const more = places.length > 6 ? ` and ${places.length - 6} more` : "";
  const links = places.length ? `<p class="links">${places.slice(0, 6).map(layerLink).join(", ")}${more}</p>` : "";
  return `<li><p>${escape(sentence(found.text))}</p>${links}${note}</li>`;
}

function remedies() {
  if (!data.remedies.length) return `<p class="hint">Nothing that the numbers ask for.</p>`;
  return `<ol class="remedies">${data.remedies.map(remedy).join("")}</ol>`;
}

function guiltyRow(place) {
  const layer = data.layers[place];
  const share = layer.own >= EXACT ? 100 : clamp(layer.own, 0, 50) * 2;
  const text = layer.cause ? causeText(layer.cause) : "";
  return `<li class="${level(layer.own).name}"><a href="#layer-${layer.index}">
    <span class="who"><b>#${layer.index} ${escape(layer.op)}</b> <span class="name">${cut(layer.output)}</span></span>
    <span class="sqnr">${mark(layer.own)}${withUnit(layer.own)}</span>
    <span class="meter" aria-hidden="true"><i style="width:${Math.round(share)}%"></i></span>
    ${text ? `<span class="why">${text}</span>` : ""}</a></li>`;
}

function unpaired() {
  if (!data.unpaired.length) return `<p class="hint">Every value has its twin in the other model.</p>`;
  const lines = data.unpaired.map((value) => `<tr><td>${escape(value.side)}</td><td>${escape(value.op_type)}</td>` +
    `<td class="name">${escape(value.output)}</td><td>${escape(value.reason)}</td></tr>`).join("");
  return `<details class="fold"${data.unpaired.length <= 10 ? " open" : ""}>
    <summary>${plural(data.unpaired.length, "value")} without a twin</summary>
    <div class="table-box"><table class="quiet"><thead><tr><th scope="col">Model</th><th scope="col">Op type</th>
    <th scope="col">Output</th><th scope="col">Why</th></tr></thead><tbody>${lines}</tbody></table></div></details>`;
}

function mixed() {
  if (!data.mixed_precision.length) return "";
  const lines = data.mixed_precision.map((entry) => `  ${JSON.stringify(entry)}`).join(",\n");
  return `<details class="fold"><summary>Entries for a mixed-precision file (-mc)</summary>` +
    `<pre tabindex="0">${escape(`[\n${lines}\n]`)}</pre></details>`;
}

function runArguments() {
  const text = (value) => (value === null ? NONE : typeof value === "string" ? value : JSON.stringify(value));
  const given = Object.entries(data.arguments).map(([key, value]) => [key, text(value)]);
  const facts = [["Float", data.reference], ["Quantized", data.result],
    ["Calls", number(data.calls)], ["Seconds", number(data.seconds)], ...given];
  return `<details class="fold" open><summary>Run</summary><dl class="facts wide">${terms(facts)}</dl></details>`;
}

function placeOfHash() {
  const match = /^#layer-(\d+)$/.exec(location.hash);
  if (!match) return null;
  const place = data.layers.findIndex((layer) => layer.index === Number(match[1]));
  return place < 0 ? null : place;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function mountTheme() {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
}

// Every way to open a layer goes over the address: a click, Enter, a link from elsewhere, the way back.
function mountLayers() {
  const open = (place) => {
    if (place === undefined) return;
    location.hash = `layer-${data.layers[place].index}`;
  };
  const table = mountTable(open);
  const neighbour = (place, step) => {
    const at = table.order.indexOf(place);
    return at < 0 ? undefined : table.order[at + step];
  };
  const detail = mountDetail(neighbour, open);
  const follow = () => {
    const place = placeOfHash();
    if (place === null) detail.close();
    else if (place !== detail.place()) detail.show(place);
  };
  mountGraph(open);
  addEventListener("hashchange", follow);
  follow();
}

put("headline", headline());
put("cards", cards());
put("warnings", warnings());
put("remedies", remedies());
put("worst", data.guilty.map(guiltyRow).join("") || "<li>No own errors are known.</li>");
put("unpaired", unpaired());
put("mixed", mixed());
put("arguments", runArguments());
mountTheme();
mountLayers();
