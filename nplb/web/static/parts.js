// The overview's panels on what nplb is made of: clusters, data plane, health checks.

import { blank, duration, h, many, num, tag, words } from "./dom.js";
import { fact } from "./detail.js";

export function sources(o) {
  if (!o.sources.length)
    return blank("No cluster is configured", "clusters: in the configuration names them.");
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Clusters" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h("tr", null, h("th", null, "Cluster"), h("th", null, "State"), h("th", { class: "n" }, "Snapshot")),
      ),
      h(
        "tbody",
        null,
        o.sources.map((s) =>
          h(
            "tr",
            null,
            h("td", null, s.cluster, s.error ? h("div", { class: "sub" }, s.error) : null),
            h("td", null, tag(s.state)),
            h(
              "td",
              { class: "n" },
              s.state === "live"
                ? "current"
                : s.last_snapshot_at
                  ? `${duration(o.now - s.last_snapshot_at)} old`
                  : "none yet",
            ),
          ),
        ),
      ),
    ),
  );
}

export function planes(o) {
  const kinds = Object.entries(o.planes);
  const line = kinds.length
    ? h("p", { class: "hint" }, kinds.map(([kind, n]) => `${kind}: ${many(n, "frontend")}`).join(" · "))
    : null;
  if (!o.workers.length)
    return [line ?? h("p", { class: "hint" }, "No worker runs, and no frontend is in the kernel.")];
  return [
    line,
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": "Workers" },
      h(
        "table",
        null,
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("th", null, "Relay worker"),
            h("th", null, "State"),
            ["Open", "Plan", "Restarts", "Pauses"].map((text) => h("th", { class: "n" }, text)),
          ),
        ),
        h(
          "tbody",
          null,
          o.workers.map((w) =>
            h(
              "tr",
              null,
              h("td", null, `${w.worker} `, h("span", { class: "sub" }, `pid ${w.pid}`)),
              h("td", null, w.alive ? tag("live", "running") : tag("failed", "not running")),
              [num(w.open_connections), w.generation, num(w.restarts), num(w.accept_pauses)].map((value) =>
                h("td", { class: "n" }, value),
              ),
            ),
          ),
        ),
      ),
    ),
  ];
}

// How soon probes find a fault, and what they see.
export function checks(probing) {
  const seen = Object.entries(probing.ended).sort((a, b) => b[1] - a[1]);
  return [
    fact("Targets", num(probing.targets)),
    probing.rate === undefined
      ? null
      : fact("Probes", `${num(probing.rate)}/s${probing.shared ? ", shared by services" : ""}`),
    probing.node_seconds
      ? fact("A silent node is out within", duration(Math.ceil(probing.node_seconds)))
      : null,
    probing.service_seconds
      ? fact("A silent service within", duration(Math.ceil(probing.service_seconds)))
      : null,
    fact(
      "Seen since start",
      seen.map(([cause, n]) => `${words(cause)} ${num(n)}`).join(", ") || "nothing yet",
    ),
    probing.repeated ? fact("Done again, as the edge was late", num(probing.repeated)) : null,
  ];
}
