// The NodePort ranges: who has which number, what is free, what is wrong; and the edge's own.

import { blank, duration, h, num, panel, refill, sentence, stamp } from "./dom.js";
import { ask as get } from "./session.js";
import { checkPanel } from "./check.js";
import { notice } from "./notice.js";
import { holders, portMap } from "./portmap.js";

const ASK_MS = 5000;
const WEEK = 7 * 86400;
const BANDS = {
  static: "Static band, for people to choose from",
  dynamic: "Dynamic band, for automatic allocation",
};

function band(one, at) {
  const rate = one.per_hour
    ? `${one.per_hour > 0 ? "+" : "−"}${num(Math.abs(one.per_hour))} an hour`
    : one.per_hour === 0
      ? "steady"
      : "watched too briefly for a forecast";
  const soon = one.full_at && one.full_at - at < WEEK;
  return h(
    "div",
    null,
    h("div", { class: "label" }, BANDS[one.band] ?? sentence(one.band)),
    h("div", { class: "value" }, num(one.free), h("span", { class: "unit" }, `free of ${num(one.size)}`)),
    h(
      "div",
      { class: "meter" },
      h("i", {
        style: {
          flex: one.used || 0.001,
          background: `var(${one.used / one.size > 0.9 ? "--cell-bad" : "--accent"})`,
        },
      }),
      h("i", { style: { flex: one.free || 0.001, background: "transparent" } }),
    ),
    h(
      "div",
      { class: "sub" },
      `${one.first}–${one.last} · `,
      one.full_at
        ? h(
            "span",
            { class: "tag", "data-tone": soon ? "error" : "warning", title: stamp(one.full_at) },
            `full in ${duration(one.full_at - at)}`,
          )
        : rate,
      one.full_at ? ` · ${rate}` : "",
    ),
  );
}

const key = (color, text) => h("span", null, h("i", { class: "key", style: { background: color } }), text);

function ledger(view) {
  const search = h("input", {
    type: "search",
    placeholder: "Number or service …  ( / )",
    "aria-label": "Find a number or a service",
    oninput: () => map.find(search.value),
  });
  const said = h("span", { class: "count", role: "status" });
  const map = portMap(view, (text) => {
    if (said.textContent !== text) said.textContent = text;
  });
  const bands = h("div", { class: "bands" }),
    findings = h("ul", { class: "check", hidden: true }),
    spaces = h("div"),
    outside = h("div", { hidden: true });

  function take(next) {
    view = next;
    const at = view.observed_at;
    refill(bands, [view.bands, Math.floor(Date.now() / 10000)], () => [
      h(
        "div",
        null,
        h("div", { class: "label" }, `Cluster ${view.cluster}`),
        h("div", { class: "value" }, view.port_range),
        h(
          "div",
          { class: "meter" },
          h("i", { style: { flex: view.used || 0.001, background: "var(--accent)" } }),
          h("i", { style: { flex: view.free || 0.001, background: "transparent" } }),
        ),
        h(
          "div",
          { class: "sub" },
          view.limited_to
            ? `only what can be seen: ${view.limited_to}`
            : `${num(view.used)} of ${num(view.size)} used`,
        ),
      ),
      view.bands.map((one) => band(one, at)),
    ]);
    findings.hidden = !view.findings.length;
    refill(findings, [view.findings, Math.floor(at / 10)], () =>
      view.findings.map((one) =>
        notice(
          {
            level: one.severity,
            text: `${sentence(one.kind)}: ${one.text}`,
            remedy: one.remedy,
            since: one.since,
          },
          at,
        ),
      ),
    );
    const out = view.entries.filter((entry) => entry.band === "outside");
    outside.hidden = !out.length;
    refill(outside, out, () =>
      panel(
        "Held outside of the range",
        null,
        h(
          "ul",
          { class: "spots" },
          out.map((entry) => h("li", null, h("b", null, entry.number), ` ${holders(entry)}`)),
        ),
      ),
    );
    const most = Math.max(1, ...view.namespaces.map((one) => one.used));
    refill(spaces, view.namespaces, () =>
      view.namespaces.length
        ? h(
            "ul",
            { class: "bars" },
            [...view.namespaces]
              .sort((a, b) => b.used - a.used)
              .slice(0, 10)
              .map((one) =>
                h(
                  "li",
                  null,
                  h("span", null, one.namespace),
                  h("span", { class: "track" }, h("i", { style: { width: `${(one.used / most) * 100}%` } })),
                  h("span", { class: "count" }, num(one.used)),
                ),
              ),
          )
        : h("p", { class: "hint" }, "Nobody has a number."),
    );
    map.take(view);
  }

  const picture = h(
    "section",
    { class: "panel" },
    bands,
    findings,
    h(
      "div",
      { class: "filters", style: { margin: "4px 0 14px" } },
      search,
      said,
      h(
        "div",
        { class: "keys", "aria-hidden": "true" },
        key("var(--accent)", "used"),
        key("var(--idle)", "health check"),
        key("color-mix(in srgb, var(--accent) 18%, transparent)", "free, static"),
        key("var(--cell-none)", "free, dynamic"),
        key("var(--cell-bad)", "held twice"),
        key("var(--cell-warn)", "leak"),
      ),
    ),
    map.element,
  );
  take(view);
  return {
    element: picture,
    beside: [panel("By namespace", null, spaces), outside],
    take,
    close: () => map.close(),
  };
}

// What nplb listens on itself, and who else stands in its way.
function edgePanel() {
  const body = h("div", { class: "flow" });
  function take(edge, now) {
    refill(body, [edge, Math.floor(now / 10)], () => {
      const ephemeral = edge.ephemeral;
      return [
        h(
          "p",
          { class: "hint" },
          `nplb listens on ${num(edge.ports.length)} of its ports.`,
          ephemeral
            ? ` The kernel gives ${ephemeral.low}–${ephemeral.high} to outgoing connections${ephemeral.reserved ? `, but for ${ephemeral.reserved}` : ""}.`
            : "",
        ),
        edge.findings.length
          ? h(
              "ul",
              { class: "check" },
              edge.findings.map((one) =>
                notice(
                  {
                    level: one.severity,
                    text: `${sentence(one.kind)}: ${one.text}`,
                    remedy: one.remedy,
                    since: one.since,
                  },
                  now,
                ),
              ),
            )
          : null,
        edge.others.length
          ? h(
              "ul",
              { class: "spots" },
              edge.others
                .slice(0, 12)
                .map((one) =>
                  h(
                    "li",
                    null,
                    h("span", { class: "mono" }, `${one.address}:${one.port}`),
                    ` held by ${one.command || "another process"}${one.pid ? ` (${one.pid})` : ""}`,
                  ),
                ),
            )
          : h("p", { class: "hint" }, "No other process holds one that it wants."),
      ];
    });
  }
  return { element: panel("The edge's own ports", null, body), take };
}

export function ports() {
  const body = h("div", { class: "flow" }, h("p", { class: "hint" }, "Loading…"));
  const drawn = new Map();
  const edge = edgePanel();
  let asked = 0,
    closed = false,
    shape = null;

  function build(page) {
    for (const one of drawn.values()) one.close();
    drawn.clear();
    if (!page.ledgers.length) {
      body.replaceChildren(
        h(
          "section",
          { class: "panel" },
          blank("No range is known yet", "The ledger of a cluster appears with its first snapshot."),
        ),
        edge.element,
      );
      return;
    }
    for (const view of page.ledgers) drawn.set(view.cluster, ledger(view));
    const all = [...drawn.values()];
    body.replaceChildren(
      ...all.map((one) => one.element),
      h(
        "div",
        { class: "grid" },
        h("div", { class: "w7 flow" }, checkPanel(page.ledgers.map((one) => one.cluster))),
        h(
          "div",
          { class: "w5 flow" },
          all.flatMap((one) => one.beside),
          edge.element,
        ),
      ),
    );
    for (const view of page.ledgers) drawn.get(view.cluster).take(view);
  }

  async function ask() {
    asked = Date.now();
    try {
      const page = await get("api/v1/ports");
      if (closed) return;
      const now = page.ledgers.map((one) => `${one.cluster} ${one.port_range}`).join();
      if (now !== shape) {
        shape = now;
        build(page);
      }
      for (const view of page.ledgers) drawn.get(view.cluster).take(view);
      edge.take(page.edge, page.now);
    } catch {
      /* the state of the connection is shown above */
    }
  }
  ask();
  return {
    element: h("div", { class: "flow" }, h("div", { class: "title" }, h("h1", null, "Ports")), body),
    update() {
      if (Date.now() - asked > ASK_MS) ask();
    },
    close() {
      closed = true;
      for (const one of drawn.values()) one.close();
    },
  };
}
