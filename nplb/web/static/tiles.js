// The overview's key numbers: frontends, backends, clusters, data plane.

import { AS_MEANT, duration, h, many, num, words } from "./dom.js";

const meter = (parts) =>
  h(
    "div",
    { class: "meter" },
    parts.map(([n, color]) => (n ? h("i", { style: { flex: n, background: `var(${color})` } }) : null)),
  );

// Backends by how they look: those that are not used as meant are apart from those that are down.
function tones(backends) {
  const found = { active: 0, draining: 0, down: 0, unused: 0 };
  for (const [pair, count] of Object.entries(backends)) {
    const [state, reason] = pair.split("/");
    const as = state === "down" && AS_MEANT.has(reason) ? "unused" : state;
    found[as] = (found[as] ?? 0) + count;
  }
  return found;
}

export function tiles(o) {
  const states = tones(o.backends);
  const all = Object.values(states).reduce((sum, n) => sum + n, 0);
  const total = Object.values(o.frontends).reduce((sum, n) => sum + n, 0);
  const serving = o.frontends.serving ?? 0;
  const apart = [
    ["down", states.down],
    ["draining", states.draining],
    ["not used", states.unused],
  ]
    .filter(([, n]) => n)
    .map(([text, n]) => `${num(n)} ${text}`);
  const notServing = Object.entries(o.frontends)
    .filter(([state]) => state !== "serving")
    .map(([state, n]) => `${n} ${words(state)}`);
  const tile = (label, value, unit, bar, sub, of, href) =>
    h(
      "a",
      { class: "tile", "data-level": of, href },
      h("div", { class: "label" }, label),
      h("div", { class: "value" }, value, unit ? h("span", { class: "unit" }, unit) : null),
      bar,
      h("div", { class: "sub" }, sub),
    );
  return [
    tile(
      "Frontends serving",
      num(serving),
      `of ${num(total)}`,
      meter([
        [serving, "--cell-good"],
        [total - serving, "--cell-bad"],
      ]),
      notServing.join(", ") || (total ? "every one" : "none yet"),
      total > serving ? "error" : null,
      "#/services",
    ),
    tile(
      "Backends active",
      num(states.active),
      `of ${num(all)}`,
      meter([
        [states.active, "--cell-good"],
        [states.draining, "--cell-warn"],
        [states.down, "--cell-bad"],
        [states.unused, "--cell-idle"],
      ]),
      apart.join(", ") || (all ? "every one" : "none yet"),
      null,
      states.down ? "#/services?trouble=1" : "#/nodes",
    ),
    clusterTile(o, tile),
    planeTile(o, tile),
  ];
}

function clusterTile(o, tile) {
  const live = o.sources.filter((s) => s.state === "live").length;
  const old = o.sources
    .filter((s) => s.state === "stale")
    .map((s) => o.now - (s.last_snapshot_at ?? s.since));
  const waiting = o.sources.length - live - old.length;
  const [value, unit] = !o.sources.length
    ? ["–"]
    : old.length
      ? [duration(Math.max(...old)), "old"]
      : waiting
        ? ["waiting"]
        : ["current"];
  const bar = meter([
    [live, "--cell-good"],
    [waiting, "--cell-warn"],
    [old.length, "--cell-bad"],
  ]);
  return tile(
    o.sources.length === 1 ? "Cluster state" : "Clusters",
    value,
    unit,
    bar,
    o.sources.length === 1
      ? `${o.sources[0].cluster}: ${o.sources[0].state}`
      : o.sources.length
        ? `${live} of ${o.sources.length} live`
        : "none configured",
    old.length ? "error" : waiting ? "warning" : null,
    "#/nodes",
  );
}

function planeTile(o, tile) {
  const alive = o.workers.filter((w) => w.alive).length;
  const behind = o.applied !== o.plan;
  const kinds = Object.keys(o.planes).filter((kind) => kind !== "relay");
  const value = o.workers.length
    ? [num(alive), `of ${many(o.workers.length, "worker")}`]
    : kinds.length
      ? [kinds.join(", ")]
      : ["–"];
  const bar = meter(
    o.workers.length
      ? [
          [alive, "--cell-good"],
          [o.workers.length - alive, "--cell-bad"],
        ]
      : [[1, behind ? "--cell-warn" : "--cell-good"]],
  );
  return tile(
    "Data plane",
    value[0],
    value[1],
    bar,
    o.applied === null
      ? "no plan applied yet"
      : behind
        ? `plan ${o.plan} is not in force yet, ${o.applied} is`
        : `plan ${o.plan} in force`,
    alive < o.workers.length ? "error" : behind ? "warning" : null,
    "#/services",
  );
}
