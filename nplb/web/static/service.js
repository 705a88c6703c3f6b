// One service's port: its frontend, its backends with the reason of each, charts, decisions.

import { bytesText, duration, h, nodeLink, num, panel, refill, since, tag, words } from "./dom.js";
import { ask as get } from "./session.js";
import { Charts } from "./charts.js";
import { ends } from "./overview.js";
import { eventList } from "./timeline.js";
import { drainButton } from "./drain.js";

const ORDER = { down: 0, left_out: 1, draining: 2, active: 3 };
const SHOWN = 150;

// A page that asks for its details every two seconds while the board moves.
export function detailPage(store, path, build) {
  const element = h("div", { class: "flow" }, h("p", { class: "hint" }, "Loading…"));
  let asked = 0, closed = false, parts = null;
  async function ask() {
    asked = Date.now();
    try {
      const page = await get(path);
      if (closed) return;
      parts ??= build(element);
      parts.update(page);
    } catch (error) {
      if (closed || parts) return;
      element.replaceChildren(h("h1", null, "Not there"), h("p", { class: "hint" }, error.message), h("p", null, h("a", { href: "#/services" }, "All services")));
    }
  }
  ask();
  return {
    element,
    update() {
      parts?.tick?.();
      if (Date.now() - asked > 1900) ask();
    },
    close() { closed = true; parts?.close?.(); },
  };
}

export function probeText(one, now) {
  const verdict = one.verdict;
  if (!verdict || !verdict.probed_at) return "not yet";
  const bits = [words(verdict.cause ?? "")];
  if (verdict.latency_seconds !== null && verdict.cause === "connected") bits.push(`${(verdict.latency_seconds * 1000).toFixed(1)} ms`);
  bits.push(`${duration(now - verdict.probed_at)} ago`);
  return bits.join(", ");
}

// A number's cell; on a narrow screen, where rows become cards, it shows its label.
export const cell = (label, ...content) => h("td", { class: "n", "data-label": label }, h("span", null, content));

export function why(one) {
  return h("div", { class: "why" }, one.explanation.meaning, one.detail ? ` (${one.detail})` : "", " ", h("b", null, "Would change it: "), one.explanation.change);
}

function backends(page) {
  const all = [...page.backends, ...page.left_out.map((one) => ({ ...one, key: { node: one.node, address: { text: "no address" } }, traffic: {}, weight: "" }))]
    .sort((a, b) => ORDER[a.state] - ORDER[b.state]);
  if (!all.length) return h("p", { class: "hint" }, "No node may serve it.");
  const last = { state: null, reason: null };
  return [h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Backends" }, h("table", { class: "stack" },
    h("thead", null, h("tr", null, ["Node", "State", "Why"].map((text) => h("th", null, text)), ["Since", "Last probe", "Open", "Connections", "Failed connects", "Weight"].map((text) => h("th", { class: "n" }, text)))),
    h("tbody", null, all.slice(0, SHOWN).map((one) => {
      const repeated = last.state === one.state && last.reason === one.reason && one.state === "active";
      Object.assign(last, { state: one.state, reason: one.reason });
      return h("tr", null,
        h("td", null, h("a", { href: nodeLink(page.key.service.cluster, one.key.node) }, one.key.node), h("div", { class: "sub mono" }, one.key.address.text), drainButton(page.key.service.cluster, one.key.node, page.drained.includes(one.key.node))),
        h("td", null, tag(one.state)),
        h("td", { class: "wide" }, h("div", null, words(one.reason)), repeated ? null : why(one)),
        cell("since", one.since ? since(one.since, page.now) : "–"), cell("last probe", one.verdict === undefined ? "–" : probeText(one, page.now)),
        cell("open", num(one.traffic.active)), cell("connections", num(one.traffic.connections)), cell("failed connects", num(one.traffic.connect_failures)), cell("weight", one.weight));
    })))), all.length > SHOWN ? h("p", { class: "hint" }, `and ${all.length - SHOWN} more, in the same order; the matrix shows all.`) : null];
}

export function service(store, args) {
  const key = args.join("/");
  return detailPage(store, `api/v1/frontend?key=${encodeURIComponent(key)}`, (element) => {
    const head = h("div", { class: "title" }), facts = h("dl", { class: "facts" }), table = h("div"), endsBody = h("div"), events = h("div"), alarm = h("div");
    const charts = new Charts(key);
    element.replaceChildren(head, alarm, h("section", { class: "panel" }, facts), h("div", { class: "grid" }, charts.elements), panel("Backends", null, table),
      h("div", { class: "grid" }, h("div", { class: "w5" }, panel("How connections ended", h("span", { class: "more count" }, "since start, on a logarithmic scale"), endsBody)), h("div", { class: "w7" }, panel("Its last decisions", null, events))));
    return {
      close: () => charts.close(),
      tick() {
        const index = store.board.rows.findIndex((row) => row.key === key);
        if (index >= 0) charts.push(store.board.at, store.board.traffic[index]);
      },
      update(page) {
        const { service: id, port, protocol } = page.key;
        refill(head, [page.state, page.key], () => [h("h1", null, h("span", { class: "crumb" }, `${id.cluster} / ${id.namespace} / `), `${id.name}:${port}`), tag(page.state), h("span", { class: "count" }, page.explanation)]);
        alarm.hidden = !page.listen_errors.length;
        refill(alarm, page.listen_errors, () => page.listen_errors.map((error) => h("div", { class: "problem", "data-level": "error" }, h("span", { class: "tag", "data-level": "error" }, "error"), h("span", { class: "what" }, `does not listen on ${error.address.text}`), h("span"), h("span", { class: "remedy" }, error.detail))));
        const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
        const active = page.backends.filter((one) => one.state === "active").length;
        refill(facts, [page, Math.floor(page.now / 2)], () => [
          fact("Listens on", page.listen.map((one) => one.text).join(", ") || "–"), fact("NodePort", `${page.node_port}/${protocol}`), page.port_name ? fact("Port name", page.port_name) : null, fact("Backends", `${active} active of ${page.backends.length}`),
          fact("Balancing", words(page.balance)), fact("Open", num(page.traffic.active)), fact("Clients", num(page.traffic.accepted)), fact("In", bytesText(page.traffic.bytes_in)), fact("Out", bytesText(page.traffic.bytes_out)),
          fact("Deadlines", `connect ${page.timeouts.connect} s, idle ${duration(page.timeouts.idle)}`), fact("Tries", page.connect_attempts)]);
        refill(table, [page.backends, page.left_out, page.drained, Math.floor(page.now / 2)], () => backends(page));
        refill(endsBody, page.traffic.ends, () => ends(page.traffic.ends, store.board.overview.failures));
        refill(events, page.decisions.at(-1)?.sequence ?? 0, () => eventList(page.decisions.slice(-20).reverse(), "Nothing was decided about it yet."));
      },
    };
  });
}
