// The first page: is everything well, and if not, what, and since when.

import { bytes, clock, duration, h, nodeLink, num, panel, refill, serviceLink, since, svg, tag, words } from "./dom.js";
import { Charts } from "./charts.js";
import { eventList } from "./timeline.js";

const WEIGHT = { error: 0, warning: 1, info: 2 };
const GOOD_ENDS = new Set(["client_closed", "backend_closed"]);

const emblems = {
  good: "M5 12.5 10 17.5 19.5 7",
  warning: ["M12 4v10", "M12 19.2v.1"],
  error: ["M6 6l12 12", "M18 6 6 18"],
  none: ["M6 12h.1", "M12 12h.1", "M18 12h.1"],
};

// Everything that is wrong, the worst first: {level, text, link, remedy, since}.
export function problems(o) {
  const found = [];
  const say = (level, text, rest = {}) => found.push({ level, text, ...rest });
  if (o.stopping) say("warning", "nplb is stopping: no new connections, the old ones drain");
  if (o.last_error) say("error", `The last reconcile pass failed: ${o.last_error}`, { remedy: "The plan before stays in force. nplb's log has the details." });
  for (const source of o.sources) {
    if (source.state === "stale") say("error", `Cluster ${source.cluster}: its state can't be read`, { since: source.since, remedy: `${source.error} (${source.attempts} attempts). The last snapshot stays in force: clients are served, changes are not seen.` });
    else if (source.state === "connecting") say("warning", `Cluster ${source.cluster}: waiting for its first snapshot`, { since: source.since, remedy: source.error });
  }
  for (const worker of o.workers) if (!worker.alive) say("error", `Relay worker ${worker.worker} is not running`, { remedy: "It is being replaced; if this stays, nplb's log says why." });
  for (const one of o.troubles.nodes) say("error", `Nothing works on node ${one.node}: ${words(one.reason)}`, { link: nodeLink(one.cluster, one.node), since: one.since, remedy: `${one.count} backends are out because of it. Clients go to other nodes.` });
  for (const one of o.troubles.frontends) say("error", `${one.key} has no active backend${one.reason ? `: ${words(one.reason)}` : ""}`, { link: serviceLink(one.key), since: one.since, remedy: "Its clients are refused." });
  for (const finding of o.findings) say(finding.severity, `${words(finding.kind)}: ${finding.text}`, { since: finding.since, remedy: finding.remedy, link: finding.kind.startsWith("port_") ? "#/ports" : null });
  for (const one of o.drains) say("info", `Node ${one.node} is drained by hand${one.who ? ` by ${one.who}` : ""}${one.why ? `: ${one.why}` : ""}`, { link: nodeLink(one.cluster, one.node), since: one.at, remedy: "It gets no new connection until it is put back." });
  const others = Object.entries(o.troubles.others).sort((a, b) => b[1] - a[1]);
  const count = others.reduce((sum, [, n]) => sum + n, 0);
  if (count) say("warning", `${count} ${o.troubles.nodes.length || o.troubles.frontends.length ? "more " : ""}${count === 1 ? "backend is" : "backends are"} down`, { link: "#/services?trouble=1", remedy: others.map(([reason, n]) => `${words(reason)} ${n}`).join(", ") });
  if (o.reload.errors.length) say("warning", "The last reload was refused, the configuration before it runs", { since: o.reload.at, remedy: o.reload.errors.join("; ") });
  const known = new Set(["sources", "listeners"]);
  for (const part of o.parts) if (!part.ok && !(known.has(part.name) && found.some((one) => one.level === "error"))) say("error", `Not ready: ${words(part.name)}`, { remedy: part.detail });
  return found.sort((a, b) => WEIGHT[a.level] - WEIGHT[b.level]);
}

function headline(o, found) {
  const errors = found.filter((one) => one.level === "error").length;
  const warnings = found.filter((one) => one.level === "warning").length;
  const total = Object.values(o.frontends).reduce((sum, n) => sum + n, 0);
  const serving = o.frontends.serving ?? 0;
  const served = `${serving} of ${total} frontends serve`;
  if (errors) return ["error", errors === 1 ? "1 problem" : `${errors} problems`, served];
  if (warnings) return ["warning", `Serving, ${warnings === 1 ? "1 thing" : `${warnings} things`} to look at`, served];
  if (!total) return ["none", "Nothing to serve yet", o.sources.length ? "The cluster has no Service of type NodePort or LoadBalancer that is chosen. kubectl create one, and it appears here." : "No cluster is configured."];
  return ["good", "All is well", `${served}, on ${o.backends ? Object.values(o.backends).reduce((a, b) => a + b, 0) : 0} backends`];
}

function tiles(o) {
  const [active, accepted, failed, inward, outward] = o.rates;
  const states = { active: 0, draining: 0, down: 0 };
  for (const [pair, count] of Object.entries(o.backends)) states[pair.split("/")[0]] += count;
  const all = states.active + states.draining + states.down;
  const total = Object.values(o.frontends).reduce((sum, n) => sum + n, 0);
  const serving = o.frontends.serving ?? 0;
  const age = Math.max(0, ...o.sources.filter((s) => s.state !== "live").map((s) => o.now - (s.last_snapshot_at ?? o.started_at)));
  const stale = o.sources.filter((s) => s.state === "stale").length;
  const meter = (parts) => h("div", { class: "meter" }, parts.map(([n, color]) => n ? h("i", { style: { flex: n, background: `var(${color})` } }) : null));
  const tile = (label, value, unit, sub, level, href) => h(href ? "a" : "div", { class: "tile", "data-level": level, href }, h("div", { class: "label" }, label), h("div", { class: "value" }, value, unit ? h("span", { class: "unit" }, unit) : null), h("div", { class: "sub" }, sub));
  const [outValue, outUnit] = bytes(outward + inward);
  return [
    tile("Frontends serving", serving, `/ ${total}`, meter([[serving, "--cell-good"], [total - serving, "--cell-bad"]]), total > serving ? "error" : null, "#/services"),
    tile("Backends active", num(states.active), `/ ${num(all)}`, meter([[states.active, "--cell-good"], [states.draining, "--cell-warn"], [states.down, "--cell-bad"]]), null, states.down ? "#/services?trouble=1" : "#/services"),
    tile("Connections open", num(active), null, `${num(o.accepted)} since start`),
    tile("New clients", num(accepted), "/s", failed ? `${num(failed)}/s not served` : "all served", failed ? "warning" : null),
    tile("Throughput", outValue, `${outUnit}/s`, `${bytes(inward).join(" ")}/s in, ${bytes(outward).join(" ")}/s out`),
    tile(o.sources.length === 1 ? "Cluster state" : "Clusters", age ? duration(age) : o.sources.length ? "current" : "–", age ? "old" : null, o.sources.length ? `${o.sources.length - stale} of ${o.sources.length} live` : "none configured", stale ? "error" : age ? "warning" : null),
  ];
}

function sources(o) {
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Clusters" }, h("table", null,
    h("thead", null, h("tr", null, h("th", null, "Cluster"), h("th", null, "State"), h("th", { class: "n" }, "Snapshot"))),
    h("tbody", null, o.sources.map((s) => h("tr", null, h("td", null, s.cluster, s.error ? h("div", { class: "sub" }, s.error) : null), h("td", null, tag(s.state)),
      h("td", { class: "n" }, s.state === "live" ? "current" : s.last_snapshot_at ? `${duration(o.now - s.last_snapshot_at)} old` : "none yet"))))));
}

function workers(o) {
  if (!o.workers.length) return h("p", { class: "hint" }, "No relay worker.");
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Workers" }, h("table", null,
    h("thead", null, h("tr", null, h("th", null, "Worker"), h("th", null, "State"), h("th", { class: "n" }, "Open"), h("th", { class: "n" }, "Plan"), h("th", { class: "n" }, "Restarts"))),
    h("tbody", null, o.workers.map((w) => h("tr", null, h("td", null, `${w.worker} `, h("span", { class: "sub" }, `pid ${w.pid}`)), h("td", null, w.alive ? tag("live", "running") : tag("down", "not running")), h("td", { class: "n" }, num(w.open_connections)), h("td", { class: "n" }, w.generation), h("td", { class: "n" }, w.restarts))))));
}

export function ends(counts, failures) {
  const bad = new Set(failures);
  const entries = Object.entries(counts).filter(([, n]) => n).sort((a, b) => b[1] - a[1]).slice(0, 9);
  if (!entries.length) return h("p", { class: "hint" }, "No connection has ended yet.");
  const most = entries[0][1];
  return h("ul", { class: "bars" }, entries.map(([reason, n]) => h("li", { class: bad.has(reason) ? "bad" : null, title: GOOD_ENDS.has(reason) ? "a good end" : null },
    h("span", null, words(reason)), h("span", { class: "track" }, h("i", { style: { width: `${(Math.log1p(n) / Math.log1p(most)) * 100}%` } })), h("span", { class: "count" }, num(n)))));
}

export function overview(store) {
  const hero = h("section", { class: "panel hero" });
  const list = h("ul", { class: "problems", "aria-label": "Problems" });
  const row = h("section", { class: "tiles", "aria-label": "Key numbers" });
  const charts = new Charts(null);
  const sourcesBody = h("div"), workersBody = h("div"), endsBody = h("div"), eventsBody = h("div");
  const element = h("div", { class: "flow" }, h("h1", { class: "visually-hidden" }, "Overview"), hero, list, row, h("div", { class: "grid" }, charts.elements),
    h("div", { class: "grid" },
      h("div", { class: "w5 flow" }, panel("Clusters", null, sourcesBody), panel("Relay workers", null, workersBody), panel("How connections ended", h("span", { class: "more count" }, "since start, on a logarithmic scale"), endsBody)),
      h("div", { class: "w7" }, panel("Last decisions", h("a", { class: "more", href: "#/timeline" }, "Timeline"), eventsBody))));
  return {
    element,
    close: () => charts.close(),
    update() {
      const { overview: o, at } = store.board;
      const found = problems(o);
      const [level, title, text] = headline(o, found);
      hero.dataset.level = level;
      refill(hero, [level, title, text, Math.floor(o.now / 5)], () => [
        h("div", { class: "emblem" }, svg(emblems[level])), h("div", { role: "status" }, h("div", { style: { fontSize: "22px", fontWeight: 650, letterSpacing: "-0.01em" } }, title), h("p", null, text)),
        h("div", { class: "aside" }, h("div", null, o.ready ? "ready" : "not ready"), h("div", null, `up ${duration(o.now - o.started_at)}`), h("div", null, `as of ${clock(o.now)}`))]);
      list.hidden = !found.length;
      refill(list, [found.slice(0, 12), found.length, Math.floor(o.now / 10)], () => [
        ...found.slice(0, 12).map((one) => h("li", { class: "problem", "data-level": one.level }, h("span", { class: "tag", "data-level": one.level }, one.level), h("span", { class: "what" }, one.link ? h("a", { href: one.link }, one.text) : one.text), one.since ? since(one.since, o.now) : h("span"), one.remedy ? h("span", { class: "remedy" }, one.remedy) : null)),
        found.length > 12 ? h("li", { class: "count" }, `and ${found.length - 12} more`) : null]);
      refill(row, [o.rates, o.frontends, o.backends, o.accepted, o.sources], () => tiles(o));
      refill(sourcesBody, [o.sources, Math.floor(o.now / 5)], () => o.sources.length ? sources(o) : h("p", { class: "hint" }, "No cluster is configured."));
      refill(workersBody, o.workers.map((w) => ({ ...w, loops: 0 })), () => workers(o));
      refill(endsBody, o.ends, () => ends(o.ends, o.failures));
      refill(eventsBody, [store.decisions.at(-1)?.sequence ?? 0], () => eventList(store.decisions.slice(-10).reverse(), "Nothing was decided yet."));
      charts.push(at, o.rates);
    },
  };
}
