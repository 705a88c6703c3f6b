// The timeline: every decision, with reason and filter, and a link to the moment.

import { clock, day, h, nodeLink, refill, stamp, words } from "./dom.js";

const LEVELS = {
  backend_joined: "good", listening: "good", source_live: "good", finding_closed: "good", started: "good", worker_started: "good", undrained: "good",
  backend_draining: "warning", finding_opened: "warning", stopping: "warning", drained: "warning", skipped: "warning",
  backend_down: "error", listen_failed: "error", source_stale: "error", source_failing: "error", reload_refused: "error", worker_died: "error",
};
const GROUPS = {
  "Backends": ["backend_joined", "backend_kept", "backend_draining", "backend_down", "backend_removed", "drained", "undrained"],
  "Frontends": ["frontend_added", "frontend_removed", "frontend_changed", "listening", "listen_failed", "skipped"],
  "Clusters": ["source_live", "source_stale", "source_failing"],
  "Findings": ["finding_opened", "finding_closed"],
  "nplb itself": ["reloaded", "reload_refused", "worker_died", "worker_started", "started", "stopping"],
};

// Where a decision's subject has a page of its own.
function subject(one) {
  const match = /^(\S+\/\S+\/\S+:\d+\/(?:TCP|UDP|SCTP))/.exec(one.subject);
  const parts = [];
  if (match) parts.push(h("a", { href: `#/service/${encodeURIComponent(match[1])}` }, match[1]));
  else if (one.subject) parts.push(one.subject);
  if (one.node) parts.push(" on ", h("a", { href: nodeLink(one.cluster, one.node) }, one.node));
  return parts;
}

function event(one) {
  return h("li", { class: "event", id: `d${one.sequence}`, "data-level": LEVELS[one.kind] ?? "none" },
    h("time", { datetime: new Date(one.at * 1000).toISOString(), title: stamp(one.at) }, clock(one.at)), h("span", { class: "dot" }),
    h("div", { class: "text" }, h("span", { class: "kind" }, words(one.kind)), one.reason ? h("span", { class: "sub" }, ` (${words(one.reason)})`) : null, " ", subject(one), h("div", { class: "sub" }, one.text)));
}

export function eventList(decisions, empty) {
  if (!decisions.length) return h("p", { class: "hint" }, empty);
  return h("ul", { class: "events" }, decisions.map(event));
}

export function timeline(store, args, query) {
  const marked = args[0] ? Number(args[0]) : null;
  const search = h("input", { type: "search", placeholder: "Service, node, reason …  ( / )", "aria-label": "Filter decisions", value: query.get("q") ?? "", oninput: () => update() });
  const group = h("select", { "aria-label": "Kind", onchange: () => update() }, h("option", { value: "" }, "Everything"), Object.keys(GROUPS).map((name) => h("option", { value: name }, name)), h("option", { value: "trouble" }, "Trouble only"));
  const count = h("span", { class: "count", role: "status" });
  const list = h("div");
  let limit = 200;
  function update() {
    const text = search.value.trim().toLowerCase();
    const kinds = GROUPS[group.value];
    const found = store.decisions.filter((one) => (!kinds || kinds.includes(one.kind)) && (group.value !== "trouble" || ["error", "warning"].includes(LEVELS[one.kind])) &&
      (!text || `${one.subject} ${one.node} ${one.reason} ${one.kind} ${words(one.kind)} ${one.text}`.toLowerCase().includes(text))).reverse();
    count.textContent = `${found.length} of ${store.decisions.length}`;
    refill(list, [found.slice(0, limit).map((one) => one.sequence), limit], () => {
      if (!found.length) return h("p", { class: "hint" }, store.decisions.length ? "No decision matches." : "Nothing was decided yet.");
      const parts = [];
      let last = "";
      for (const one of found.slice(0, limit)) {
        if (day(one.at) !== last) parts.push(h("li", { class: "day" }, last = day(one.at)));
        const line = event(one);
        if (one.sequence === marked) line.style.background = "var(--accent-soft)";
        line.querySelector("time").replaceChildren(h("a", { href: `#/timeline/${one.sequence}`, title: "Link to this moment" }, clock(one.at)));
        parts.push(line);
      }
      return [h("ul", { class: "events" }, parts), found.length > limit ? h("p", null, h("button", { type: "button", onclick: () => { limit += 500; update(); } }, "Show more")) : null];
    });
  }
  let scrolled = false;
  return {
    element: h("div", { class: "flow" }, h("h1", null, "Timeline"), h("div", { class: "filters" }, search, group, count), h("section", { class: "panel" }, list)),
    update() {
      if (marked !== null && !scrolled) limit = 5000;
      update();
      const line = marked === null || scrolled ? null : document.getElementById(`d${marked}`);
      if (line) { scrolled = true; line.scrollIntoView({ block: "center" }); }
    },
  };
}
