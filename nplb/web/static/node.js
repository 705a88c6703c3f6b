// Nodes: all of them with what works there, and one with its backend in every frontend.

import { h, nodeLink, num, panel, refill, serviceLink, since, tag, words } from "./dom.js";
import { cell, detailPage, probeText, why } from "./service.js";
import { eventList } from "./timeline.js";
import { drainButton } from "./drain.js";

const ORDER = { down: 0, left_out: 1, draining: 2, active: 3 };
const SHOWN = 200;

export function nodes(store) {
  const search = h("input", { type: "search", placeholder: "Filter nodes …  ( / )", "aria-label": "Filter nodes", oninput: () => update() });
  const body = h("div"), count = h("span", { class: "count", role: "status" });
  function update() {
    const { nodes: columns, rows, legend } = store.board;
    const found = [];
    for (const [cluster, names] of Object.entries(columns)) {
      const counts = names.map(() => ({ active: 0, draining: 0, down: 0, left_out: 0, reasons: {} }));
      for (const row of rows) {
        if (row.cluster !== cluster) continue;
        for (let n = 0; n < names.length; n += 1) {
          const pair = legend[row.cells[n]];
          if (!pair) continue;
          counts[n][pair[0]] += 1;
          if (pair[0] !== "active") counts[n].reasons[pair[1]] = (counts[n].reasons[pair[1]] ?? 0) + 1;
        }
      }
      names.forEach((name, n) => found.push({ cluster, name, ...counts[n] }));
    }
    const text = search.value.trim().toLowerCase();
    const shown = found.filter((one) => !text || one.name.toLowerCase().includes(text)).sort((a, b) => b.down - a.down || b.draining - a.draining);
    count.textContent = `${shown.length === found.length ? found.length : `${shown.length} of ${found.length}`} ${found.length === 1 ? "node" : "nodes"}`;
    refill(body, shown, () => shown.length ? h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Nodes" }, h("table", null,
      h("thead", null, h("tr", null, h("th", null, "Node"), h("th", null, "Backends"), h("th", { class: "n" }, "Active"), h("th", { class: "n" }, "Draining"), h("th", { class: "n" }, "Down"), h("th", null, "Why"))),
      h("tbody", null, shown.slice(0, 500).map((one) => h("tr", null,
        h("td", null, h("a", { href: nodeLink(one.cluster, one.name) }, one.name), h("div", { class: "sub" }, one.cluster)),
        h("td", { style: { minWidth: "120px", width: "30%", verticalAlign: "middle" } }, h("div", { class: "meter", style: { marginTop: 0 } }, [["active", "--cell-good"], ["draining", "--cell-warn"], ["down", "--cell-bad"], ["left_out", "--idle"]].map(([state, color]) => one[state] ? h("i", { style: { flex: one[state], background: `var(${color})` } }) : null))),
        h("td", { class: "n" }, num(one.active)), h("td", { class: "n" }, num(one.draining)), h("td", { class: "n" }, num(one.down)),
        h("td", null, Object.entries(one.reasons).sort((a, b) => b[1] - a[1]).map(([reason, n]) => `${words(reason)} ${n}`).join(", "))))))) : h("p", { class: "hint" }, found.length ? "No node matches." : "No node is known yet."));
  }
  return { element: h("div", { class: "flow" }, h("div", { class: "title" }, h("h1", null, "Nodes"), count), h("div", { class: "filters" }, search), h("section", { class: "panel" }, body)), update };
}

export function node(store, args) {
  const [cluster, name] = args;
  return detailPage(store, `api/v1/node?cluster=${encodeURIComponent(cluster ?? "")}&name=${encodeURIComponent(name ?? "")}`, (element) => {
    const head = h("div", { class: "title" }), facts = h("dl", { class: "facts" }), table = h("div"), events = h("div");
    element.replaceChildren(head, h("section", { class: "panel" }, facts), panel("Its backend in every frontend", null, table), panel("Its last decisions", null, events));
    return {
      update(page) {
        const states = { active: 0, draining: 0, down: 0, left_out: 0 };
        let open = 0, failures = 0;
        for (const one of page.backends) { states[one.state] += 1; open += one.traffic?.active ?? 0; failures += one.traffic?.connect_failures ?? 0; }
        const worst = states.down ? (states.active ? ["draining", `${states.down} of ${page.backends.length} backends down`] : ["down", "nothing works here"]) : states.draining ? ["draining", "drains"] : ["active", "all well"];
        const by = page.drain;
        refill(head, [worst, by], () => [h("h1", null, h("span", { class: "crumb" }, `${cluster} / `), name), tag(...worst),
          by ? h("span", { class: "count" }, `drained by hand${by.who ? ` by ${by.who}` : ""}${by.why ? `: ${by.why}` : ""} `, since(by.at, page.now)) : null, drainButton(cluster, name, Boolean(by))]);
        const fact = (label, value) => h("div", null, h("dt", null, label), h("dd", null, value));
        refill(facts, [states, open, failures], () => [fact("Backends", page.backends.length), fact("Active", states.active), fact("Draining", states.draining), fact("Down", states.down), fact("Connections open", num(open)), fact("Failed connects", num(failures)), fact("Addresses", [...new Set(page.backends.map((one) => one.key?.address.ip).filter(Boolean))].join(", ") || "–")]);
        const all = [...page.backends].sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.frontend.localeCompare(b.frontend));
        let last = "";
        refill(table, [page.backends, Math.floor(page.now / 2)], () => [h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Backends" }, h("table", { class: "stack" },
          h("thead", null, h("tr", null, ["Frontend", "State", "Why"].map((text) => h("th", null, text)), ["Since", "Last probe", "Open"].map((text) => h("th", { class: "n" }, text)))),
          h("tbody", null, all.slice(0, SHOWN).map((one) => {
            const same = last === `${one.state}${one.reason}`;
            last = `${one.state}${one.reason}`;
            return h("tr", null, h("td", null, h("a", { href: serviceLink(one.frontend) }, one.frontend)), h("td", null, tag(one.state)), h("td", { class: "wide" }, h("div", null, words(one.reason)), same ? null : why(one)),
              cell("since", one.since ? since(one.since, page.now) : "–"), cell("last probe", one.verdict === undefined ? "–" : probeText(one, page.now)), cell("open", num(one.traffic?.active)));
          })))), all.length > SHOWN ? h("p", { class: "hint" }, `and ${all.length - SHOWN} more.`) : null]);
        refill(events, page.decisions.at(-1)?.sequence ?? 0, () => eventList(page.decisions.slice(-20).reverse(), "Nothing was decided about it yet."));
      },
    };
  });
}
