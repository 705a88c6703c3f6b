// The first page: is everything well, and if not, what, and since when.

import { clock, duration, h, many, num, panel, refill, svg } from "./dom.js";
import { Charts } from "./charts.js";
import { ends } from "./ends.js";
import { eventList, level } from "./events.js";
import { notice } from "./notice.js";
import { problems, verdict } from "./problems.js";
import { checks, planes, sources } from "./parts.js";
import { tiles } from "./tiles.js";

const SHOWN = 8;
const emblems = {
  good: "M5 12.5 10 17.5 19.5 7",
  warning: ["M12 4.5v9.5", "M12 19.2v.1"],
  error: ["M6 6l12 12", "M18 6 6 18"],
  none: ["M6 12h.1", "M12 12h.1", "M18 12h.1"],
};
function summary(o, of, found) {
  const total = Object.values(o.frontends).reduce((sum, n) => sum + n, 0);
  if (of === "none") {
    return o.sources.length
      ? "The clusters have no Service of type NodePort or LoadBalancer that is chosen. Create one, and it appears here."
      : "No cluster is configured.";
  }
  const [, accepted, failed] = o.rates;
  const served = `${o.frontends.serving ?? 0} of ${many(total, "frontend serves", "frontends serve")}`;
  const first = Math.min(...found.filter((one) => one.level === of && one.since).map((one) => one.since));
  return [
    served,
    failed > 0
      ? ` · ${num(failed)} of ${num(Math.max(accepted, failed))} new clients a second are not served`
      : "",
    Number.isFinite(first) ? ` · it began ${duration(o.now - first)} ago` : "",
  ].join("");
}

function head(o, [of, title], found) {
  return h(
    "div",
    { class: "head" },
    h("div", { class: "emblem" }, svg(emblems[of])),
    h("div", { role: "status" }, h("h1", null, title), h("p", null, summary(o, of, found))),
    h(
      "div",
      { class: "aside" },
      h("div", null, o.ready ? "ready" : "not ready"),
      h("div", null, `up ${duration(o.now - o.started_at)}`),
      h("div", null, `as of ${clock(o.now)}`),
    ),
  );
}

export function overview(store) {
  const box = h("section", { class: "panel verdict" }),
    top = h("div"),
    list = h("ul", { "aria-label": "Problems" });
  const row = h("section", { class: "tiles", "aria-label": "Key numbers" });
  const charts = new Charts(null, () =>
    store.decisions.filter((one) => level(one) === "error").map((one) => one.at),
  );
  const sourcesBody = h("div"),
    planesBody = h("div", { class: "flow" }),
    endsBody = h("div"),
    chartsBody = h("div", { class: "grid" }, charts.elements),
    checksBody = h("dl", { class: "facts" }),
    eventsBody = h("div");
  let all = false;
  box.append(top, list);
  const element = h(
    "div",
    { class: "flow" },
    box,
    row,
    chartsBody,
    h(
      "div",
      { class: "grid" },
      h(
        "div",
        { class: "w7 flow" },
        panel("Last decisions", h("a", { class: "more", href: "#/timeline" }, "Timeline"), eventsBody),
      ),
      h(
        "div",
        { class: "w5 flow" },
        panel("How connections ended", null, endsBody),
        panel("Clusters", null, sourcesBody),
        panel("Data plane", null, planesBody),
        panel("Health checks", null, checksBody),
      ),
    ),
  );
  function update() {
    const { overview: o, at } = store.board;
    const found = problems(store);
    const [of, title] = verdict(store, found);
    box.dataset.level = of;
    const shown = all ? found : found.slice(0, SHOWN);
    refill(top, [of, title, o.rates.slice(1, 3), o.ready, o.frontends, Math.floor(o.now / 5)], () =>
      head(o, [of, title], found),
    );
    top.dataset.level = of;
    list.hidden = !found.length;
    refill(list, [shown, found.length, Math.floor(o.now / 5)], () => [
      ...shown.map((one) => notice(one, o.now)),
      found.length > shown.length
        ? h(
            "li",
            { class: "rest" },
            h(
              "button",
              {
                type: "button",
                class: "link",
                onclick: () => {
                  all = true;
                  update();
                },
              },
              `and ${found.length - shown.length} more`,
            ),
          )
        : null,
    ]);
    refill(
      row,
      [
        o.frontends,
        o.backends,
        o.sources.map((s) => [s.state, Math.floor((o.now - (s.last_snapshot_at ?? 0)) / 5)]),
        o.planes,
        o.plan,
        o.applied,
        o.workers.map((w) => w.alive),
      ],
      () => tiles(o),
    );
    refill(
      sourcesBody,
      [
        o.sources.map((s) => ({ ...s, last_snapshot_at: s.state === "live" ? 0 : s.last_snapshot_at })),
        Math.floor(o.now / 5),
      ],
      () => sources(o),
    );
    refill(
      planesBody,
      [o.planes, o.workers.map((w) => ({ ...w, loops: 0, connect_buckets: 0, connect_seconds: 0 }))],
      () => planes(o),
    );
    refill(checksBody, [o.probing], () => checks(o.probing));
    refill(eventsBody, [store.decisions.at(-1)?.sequence ?? 0], () =>
      eventList(store.decisions.slice(-400).reverse(), "Nothing was decided yet."),
    );
    // Before there is a service, there is nothing to draw.
    chartsBody.hidden = of === "none" && !o.accepted;
    charts.push(at, o.rates, o.ends);
    refill(endsBody, [o.ends, charts.ends?.at.length], () => ends(o.ends, o.failures, charts.ends));
  }
  return { element, close: () => charts.close(), update };
}
