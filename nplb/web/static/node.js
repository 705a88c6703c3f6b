// Nodes: all of them with what works there, and one with its backend in every frontend.

import {
  blank,
  h,
  nodeLink,
  num,
  panel,
  refill,
  serviceLink,
  short,
  since,
  tag,
  tone,
  words,
} from "./dom.js";
import { cell, count, detailPage, fact, groups, held, probeText } from "./detail.js";
import { drainButton } from "./drain.js";
import { eventList } from "./events.js";

const SHOWN = 500;
const BAR = [
  ["good", "--cell-good"],
  ["warning", "--cell-warn"],
  ["error", "--cell-bad"],
  ["idle", "--cell-idle"],
];
const COLUMNS = [
  ["Frontend"],
  ["Since", true],
  ["Last probe", true],
  ["Open", true],
  ["Connections", true],
  ["Failed connects", true],
];

// Every node: how many backends look how, and for which reasons those that are not well.
function counted({ nodes: columns, rows, legend }) {
  const found = [];
  for (const [cluster, names] of Object.entries(columns)) {
    const counts = names.map(() => ({ good: 0, warning: 0, error: 0, idle: 0, reasons: {} }));
    const tones = Object.fromEntries(Object.entries(legend).map(([letter, pair]) => [letter, tone(...pair)]));
    for (const row of rows) {
      if (row.cluster !== cluster) continue;
      for (let n = 0; n < names.length; n += 1) {
        const of = tones[row.cells[n]];
        if (!of) continue;
        counts[n][of] += 1;
        if (of !== "good") {
          const reason = legend[row.cells[n]][1];
          counts[n].reasons[reason] = (counts[n].reasons[reason] ?? 0) + 1;
        }
      }
    }
    names.forEach((name, n) => found.push({ cluster, name, ...counts[n] }));
  }
  return found;
}

const looks = (one) =>
  one.error
    ? one.good
      ? ["draining", "partly down"]
      : ["down", "down"]
    : one.warning
      ? ["draining", "draining"]
      : one.good
        ? ["active", "well"]
        : ["left_out", "not used"];

function table(store, shown) {
  const several = Object.keys(store.board.nodes).length > 1;
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Nodes" },
    h(
      "table",
      { class: "stack" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", null, "Node"),
          h("th", null, "State"),
          h("th", null, "Backends"),
          [["Active"], ["Draining"], ["Down"], ["Not used"]].map(([text]) => h("th", { class: "n" }, text)),
          h("th", null, "Why"),
        ),
      ),
      h(
        "tbody",
        null,
        shown.slice(0, SHOWN).map((one) =>
          h(
            "tr",
            null,
            h(
              "td",
              null,
              h("a", { href: nodeLink(one.cluster, one.name) }, one.name),
              several ? h("span", { class: "sub" }, ` ${one.cluster}`) : null,
            ),
            h("td", null, tag(...looks(one))),
            h(
              "td",
              { class: "fill" },
              h(
                "div",
                { class: "meter" },
                BAR.map(([of, color]) =>
                  one[of] ? h("i", { style: { flex: one[of], background: `var(${color})` } }) : null,
                ),
              ),
            ),
            BAR.map(([of], n) =>
              cell(["active", "draining", "down", "not used"][n], num(one[of]), n > 0 && !one[of]),
            ),
            h(
              "td",
              { class: "sub" },
              Object.entries(one.reasons)
                .sort((a, b) => b[1] - a[1])
                .map(([reason, n]) => `${words(reason)} ${n}`)
                .join(", "),
            ),
          ),
        ),
      ),
    ),
  );
}

export function nodes(store, args, query) {
  const search = h("input", {
    type: "search",
    placeholder: "Node or reason …  ( / )",
    "aria-label": "Filter nodes",
    value: query.get("q") ?? "",
    oninput: () => update(),
  });
  const trouble = h("input", { type: "checkbox", checked: query.has("trouble"), onchange: () => update() });
  const body = h("div"),
    total = h("span", { class: "count", role: "status" });
  function update() {
    const found = counted(store.board);
    const text = search.value.trim().toLowerCase();
    const matches = (one) =>
      !text ||
      `${one.name} ${one.cluster} ${words(Object.keys(one.reasons).join(" "))} ${Object.keys(one.reasons).join(" ")}`
        .toLowerCase()
        .includes(text);
    const shown = found
      .filter((one) => matches(one) && (!trouble.checked || one.error || one.warning))
      .sort((a, b) => b.error - a.error || b.warning - a.warning);
    total.textContent = `${shown.length === found.length ? found.length : `${shown.length} of ${found.length}`} ${found.length === 1 ? "node" : "nodes"}`;
    refill(body, shown, () =>
      shown.length
        ? table(store, shown)
        : found.length
          ? blank("No node matches")
          : blank("No node is known yet", "Nodes appear with the first service."),
    );
  }
  return {
    element: h(
      "div",
      { class: "flow" },
      h("div", { class: "title" }, h("h1", null, "Nodes"), total),
      h("div", { class: "filters" }, search, h("label", { class: "toggle" }, trouble, "Trouble only")),
      h("section", { class: "panel" }, body),
    ),
    update,
  };
}

function line(one, page, store) {
  return [
    h(
      "td",
      null,
      h("a", { href: serviceLink(one.frontend) }, short(one.frontend, store)),
      one.detail ? h("div", { class: "sub" }, one.detail) : null,
    ),
    cell("since", held(one, page.now)),
    cell("last probe", one.verdict === undefined ? "–" : probeText(one, page.now)),
    cell("open", count(one.traffic?.active)),
    cell("connections", count(one.traffic?.connections)),
    cell("failed connects", count(one.traffic?.connect_failures)),
  ];
}

export function node(store, args) {
  const [cluster, name] = args;
  // What this node's column says: whether anything of it has changed.
  const column = ({ board }) => {
    const at = board.nodes[cluster]?.indexOf(name) ?? -1;
    return at < 0
      ? ""
      : board.rows.map((row) => (row.cluster === cluster ? row.cells[at] : "")).join("") +
          board.overview.drains.length;
  };
  return detailPage(
    store,
    `api/v1/node?cluster=${encodeURIComponent(cluster ?? "")}&name=${encodeURIComponent(name ?? "")}`,
    column,
    (element) => {
      const head = h("div", { class: "title" }),
        list = h("dl", { class: "facts" }),
        body = h("div"),
        events = h("div");
      element.replaceChildren(
        head,
        h("section", { class: "panel" }, list),
        panel("Its backend in every frontend", null, body),
        panel(
          "Its last decisions",
          h("a", { class: "more", href: `#/timeline?q=${encodeURIComponent(name)}` }, "Timeline"),
          events,
        ),
      );
      return {
        update(page) {
          const states = { good: 0, warning: 0, error: 0, idle: 0 };
          let open = 0,
            failures = 0;
          for (const one of page.backends) {
            states[tone(one.state, one.reason)] += 1;
            open += one.traffic?.active ?? 0;
            failures += one.traffic?.connect_failures ?? 0;
          }
          const by = page.drain;
          refill(head, [states, by], () => [
            h("h1", null, h("span", { class: "crumb" }, `${cluster} / `), name),
            tag(...looks(states)),
            by
              ? h(
                  "span",
                  { class: "count" },
                  `drained by hand${by.who ? ` by ${by.who}` : ""}${by.why ? `: ${by.why}` : ""} `,
                  since(by.at, page.now),
                )
              : null,
            drainButton(cluster, name, Boolean(by)),
          ]);
          refill(list, [states, open, failures], () => [
            fact(
              "Addresses",
              [...new Set(page.backends.map((one) => one.key?.address.ip).filter(Boolean))].join(", ") || "–",
            ),
            fact("Backends", num(page.backends.length)),
            fact("Active", num(states.good)),
            states.warning ? fact("Draining", num(states.warning)) : null,
            states.error ? fact("Down", num(states.error)) : null,
            states.idle ? fact("Not used", num(states.idle)) : null,
            fact("Connections", `${num(open)} open`),
            fact("Failed connects", num(failures)),
          ]);
          refill(body, [page.backends, Math.floor(page.now / 2)], () =>
            groups(page.backends, page.now, "frontend", COLUMNS, (one) => line(one, page, store)),
          );
          refill(events, page.decisions.at(-1)?.sequence ?? 0, () =>
            eventList([...page.decisions].reverse(), "Nothing was decided about it yet."),
          );
        },
      };
    },
  );
}
