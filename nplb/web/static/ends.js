// How connections ended: by reason, with the last hour as a line where it is known.

import { h, num, svg, words } from "./dom.js";

const SHOWN = 9;
const POINTS = 60;
const WIDTH = 200,
  HEIGHT = 20;

// `counts` since start; `hour` is {at, ends: {reason: per second}} or null; `failures` are the
// reasons for which this side is to blame.
export function ends(counts, failures, hour = null) {
  const bad = new Set(failures);
  const all = Object.entries(counts)
    .filter(([, n]) => n)
    .sort((a, b) => bad.has(b[0]) - bad.has(a[0]) || b[1] - a[1]);
  if (!all.length) return h("p", { class: "hint" }, "No connection has ended yet.");
  const line = (reason, n) => {
    const rates = hour?.ends[reason] ?? [];
    return h(
      "tr",
      { class: bad.has(reason) ? "bad" : null },
      h("td", null, words(reason)),
      hour ? h("td", null, spark(rates)) : null,
      hour ? h("td", { class: "n" }, num(Math.round(counted(rates, hour.at)))) : null,
      h("td", { class: "n" }, num(n)),
    );
  };
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Ends of connections" },
    h(
      "table",
      { class: "ends" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", null, "Reason"),
          hour ? [h("th", null, ""), h("th", { class: "n" }, "last hour")] : null,
          h("th", { class: "n" }, "since start"),
        ),
      ),
      h(
        "tbody",
        null,
        all.slice(0, SHOWN).map(([reason, n]) => line(reason, n)),
      ),
    ),
  );
}

function counted(rates, at) {
  let sum = 0;
  for (let n = 1; n < rates.length; n += 1) sum += (rates[n] ?? 0) * (at[n] - at[n - 1]);
  return sum;
}

function spark(rates) {
  const size = Math.max(1, Math.ceil(rates.length / POINTS));
  const means = [];
  for (let n = 0; n < rates.length; n += size) {
    const part = rates.slice(n, n + size);
    means.push(part.reduce((sum, rate) => sum + (rate ?? 0), 0) / part.length);
  }
  const most = Math.max(...means, 1e-9);
  const step = WIDTH / Math.max(POINTS - 1, 1);
  const from = WIDTH - (means.length - 1) * step;
  const points = means.map(
    (mean, n) => `${(from + n * step).toFixed(1)} ${(HEIGHT - 2 - (mean / most) * (HEIGHT - 4)).toFixed(1)}`,
  );
  const drawn = svg(points.length > 1 ? `M${points.join("L")}` : "", `0 0 ${WIDTH} ${HEIGHT}`);
  drawn.setAttribute("preserveAspectRatio", "none");
  return drawn;
}
