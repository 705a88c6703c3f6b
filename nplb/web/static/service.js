// One service's port: its frontend, its backends with the reason of each, charts, decisions.

import { bytesText, duration, h, many, nodeLink, num, panel, refill, tag, words } from "./dom.js";
import { Charts } from "./charts.js";
import { cell, count, detailPage, fact, groups, held, probeText } from "./detail.js";
import { drainButton } from "./drain.js";
import { ends } from "./ends.js";
import { eventList, level } from "./events.js";
import { sign } from "./notice.js";

const COLUMNS = [
  ["Node"],
  ["Since", true],
  ["Last probe", true],
  ["Open", true],
  ["Share", true],
  ["Connections", true],
  ["Failed connects", true],
  ["Weight", true],
  ["", true],
];

function line(one, page, open) {
  const { cluster } = page.key.service;
  const share = open ? `${Math.round(((one.traffic.active ?? 0) / open) * 100)} %` : "–";
  return [
    h(
      "td",
      null,
      h("a", { href: nodeLink(cluster, one.key.node) }, one.key.node),
      " ",
      h("span", { class: "sub mono" }, one.key.address.text),
      one.detail ? h("div", { class: "sub" }, one.detail) : null,
    ),
    cell("since", held(one, page.now)),
    cell("last probe", one.verdict === undefined ? "–" : probeText(one, page.now)),
    cell("open", count(one.traffic.active)),
    cell("share", share, true),
    cell("connections", count(one.traffic.connections)),
    cell("failed connects", count(one.traffic.connect_failures)),
    cell("weight", one.tier ? `${one.weight}, tier ${one.tier}` : one.weight, true),
    h("td", { class: "n do" }, drainButton(cluster, one.key.node, page.drained.includes(one.key.node))),
  ];
}

function backends(page) {
  const left = page.left_out.map((one) => ({
    ...one,
    key: { node: one.node, address: { text: "no address" } },
    traffic: {},
    weight: "–",
  }));
  const all = [...page.backends, ...left];
  if (!all.length) return h("p", { class: "hint" }, "No node may serve it.");
  const open = page.backends.reduce((sum, one) => sum + (one.traffic.active ?? 0), 0);
  return groups(all, page.now, "node", COLUMNS, (one) => line(one, page, open));
}

function facts(page) {
  const { protocol } = page.key;
  const active = page.backends.filter((one) => one.state === "active").length;
  const { relay } = page;
  const limits = [
    relay?.max_connections ? `${num(relay.max_connections)} connections` : "",
    relay?.max_connections_per_client ? `${num(relay.max_connections_per_client)} per client` : "",
    relay?.client_rate ? `${num(relay.client_rate)}/s per client` : "",
  ].filter(Boolean);
  return [
    fact("Listens on", page.listen.map((one) => one.text).join(", ") || "–"),
    fact("NodePort", `${page.node_port}/${protocol}`),
    page.port_name ? fact("Port name", page.port_name) : null,
    fact("Plane", page.served_by),
    fact("Backends", `${active} active of ${page.backends.length}`),
    fact("Balancing", words(page.balance)),
    fact("Clients", `${num(page.traffic.accepted)} since start`),
    fact("Bytes", `${bytesText(page.traffic.bytes_in)} in, ${bytesText(page.traffic.bytes_out)} out`),
    fact("Deadlines", `connect ${duration(page.timeouts.connect)}, idle ${duration(page.timeouts.idle)}`),
    fact("Tries", many(page.connect_attempts, "node")),
    relay?.affinity_seconds ? fact("Affinity", duration(relay.affinity_seconds)) : null,
    relay && relay.send_proxy !== "none" ? fact("PROXY header", relay.send_proxy) : null,
    limits.length ? fact("Limits", limits.join(", ")) : null,
  ];
}

export function service(store, args) {
  const key = args.join("/");
  const row = (board) => board.rows.find((one) => one.key === key);
  return detailPage(
    store,
    `api/v1/frontend?key=${encodeURIComponent(key)}`,
    (now) => row(now.board),
    (element) => {
      const head = h("div", { class: "title" }),
        list = h("dl", { class: "facts" }),
        table = h("div"),
        endsBody = h("div"),
        events = h("div"),
        alarm = h("ul", { class: "check" });
      const own = key.replace(/:[^:]*$/, "");
      const charts = new Charts(key, () =>
        store.decisions.filter((one) => one.service === own && level(one) === "error").map((one) => one.at),
      );
      element.replaceChildren(
        head,
        alarm,
        h("section", { class: "panel" }, list),
        h("div", { class: "grid" }, charts.elements),
        panel("Nodes, and why each is in or out", null, table),
        h(
          "div",
          { class: "grid" },
          h(
            "div",
            { class: "w7" },
            panel(
              "Its last decisions",
              h("a", { class: "more", href: `#/timeline?q=${encodeURIComponent(own)}` }, "Timeline"),
              events,
            ),
          ),
          h("div", { class: "w5" }, panel("How its connections ended", null, endsBody)),
        ),
      );
      return {
        close: () => charts.close(),
        tick() {
          const index = store.board.rows.findIndex((one) => one.key === key);
          if (index >= 0) charts.push(store.board.at, store.board.traffic[index]);
        },
        update(page) {
          const { service: id, port } = page.key;
          refill(head, [page.state, page.key, page.panic], () => [
            h(
              "h1",
              null,
              h("span", { class: "crumb" }, `${id.cluster} / ${id.namespace} / `),
              `${id.name}:${port}`,
            ),
            tag(page.state),
            page.panic ? tag("draining", "panic: too few nodes pass, so all are tried") : null,
            h("span", { class: "count" }, page.explanation),
          ]);
          alarm.hidden = !page.listen_errors.length;
          refill(alarm, page.listen_errors, () =>
            page.listen_errors.map((error) =>
              h(
                "li",
                { class: "problem panel", "data-level": "error" },
                sign("error"),
                h("span", { class: "what" }, `It does not listen on ${error.address.text}`),
                h("span", { class: "remedy" }, error.detail),
              ),
            ),
          );
          refill(
            list,
            [
              page.listen,
              page.served_by,
              page.backends.map((one) => one.state),
              page.balance,
              page.traffic.accepted,
              page.traffic.bytes_in,
              page.traffic.bytes_out,
              page.relay,
            ],
            () => facts(page),
          );
          refill(table, [page.backends, page.left_out, page.drained, Math.floor(page.now / 2)], () =>
            backends(page),
          );
          refill(endsBody, page.traffic.ends, () => ends(page.traffic.ends, store.board.overview.failures));
          refill(events, page.decisions.at(-1)?.sequence ?? 0, () =>
            eventList([...page.decisions].reverse(), "Nothing was decided about it yet."),
          );
        },
      };
    },
  );
}
