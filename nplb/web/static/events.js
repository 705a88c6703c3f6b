// Decisions as a list: what happened together is folded into one line.

import { AS_MEANT, clock, h, many, nodeLink, sentence, serviceLink, stamp, words } from "./dom.js";

const LEVELS = {
  backend_joined: "good",
  listening: "good",
  source_live: "good",
  finding_closed: "good",
  started: "good",
  worker_started: "good",
  undrained: "good",
  backend_kept: "warning",
  backend_draining: "warning",
  finding_opened: "warning",
  stopping: "warning",
  drained: "warning",
  skipped: "warning",
  backend_down: "error",
  listen_failed: "error",
  source_stale: "error",
  source_failing: "error",
  reload_refused: "error",
  worker_died: "error",
};
const TOGETHER_SECONDS = 2;
const FOLDED_FROM = 3;

// How much a decision matters. Kinds that are newer than this page are told by their words.
export function level(one) {
  if (one.kind === "backend_down" && AS_MEANT.has(one.reason)) return "none";
  const known = LEVELS[one.kind];
  if (known) return known;
  if (/died|failed|refused|stale|lost|down/.test(one.kind)) return "error";
  if (/capped|panic|refusing|warning|opened/.test(one.kind)) return "warning";
  return "none";
}

// Runs of the newest-first `decisions` that say the same of several at about the same time.
export function fold(decisions) {
  const groups = [];
  const latest = new Map();
  for (const one of decisions) {
    const alike = one.node || one.service ? `${one.kind} ${one.reason} ${one.cluster}` : `${one.sequence}`;
    const group = latest.get(alike);
    if (group && group[0].at - one.at <= TOGETHER_SECONDS) {
      group.push(one);
      continue;
    }
    groups.push([one]);
    latest.set(alike, groups.at(-1));
  }
  const shown = groups.flatMap((group) => (group.length < FOLDED_FROM ? group.map((one) => [one]) : [group]));
  return shown.sort((a, b) => b[0].sequence - a[0].sequence);
}

const KEY = /^(\S+\/\S+\/\S+:\d+\/(?:TCP|UDP|SCTP))/;
const frontendOf = (one) => KEY.exec(one.subject)?.[1] ?? null;
const frontendLink = (key) => h("a", { href: serviceLink(key) }, key);

// Where a decision's subject has a page of its own.
function subject(one) {
  const key = frontendOf(one);
  const parts = [];
  if (key) parts.push(frontendLink(key));
  else if (one.subject && one.subject !== "nplb") parts.push(one.subject);
  if (one.node && one.subject !== one.node)
    parts.push(parts.length ? " on " : "", h("a", { href: nodeLink(one.cluster, one.node) }, one.node));
  return parts;
}

function time(one, linked) {
  const at = new Date(one.at * 1000).toISOString();
  return h(
    "time",
    { datetime: at, title: stamp(one.at) },
    linked
      ? h(
          "a",
          { href: `#/timeline/${one.sequence}`, title: `${stamp(one.at)}: link to this moment` },
          clock(one.at),
        )
      : clock(one.at),
  );
}

const kind = (one) => [
  h("span", { class: "kind" }, sentence(one.kind)),
  one.reason ? h("span", { class: "sub" }, ` ${words(one.reason)}`) : null,
];

function single(one, linked, marked) {
  return h(
    "li",
    {
      class: one.sequence === marked ? "event marked" : "event",
      id: `d${one.sequence}`,
      "data-level": level(one),
    },
    time(one, linked),
    h("span", { class: "dot" }),
    h("div", { class: "text" }, kind(one), " ", subject(one), h("div", { class: "sub" }, one.text)),
  );
}

// Several alike: on one node, of one service, or of many.
function folded(group, linked, marked) {
  const [first] = group;
  const nodes = [...new Set(group.map((one) => one.node).filter(Boolean))];
  const keys = [...new Set(group.map((one) => frontendOf(one)).filter(Boolean))];
  const about =
    keys.length === 1 && nodes.length
      ? [frontendLink(keys[0]), ` on ${many(nodes.length, "node")}`]
      : nodes.length === 1
        ? [
            many(keys.length, "frontend"),
            " on ",
            h("a", { href: nodeLink(first.cluster, nodes[0]) }, nodes[0]),
          ]
        : nodes.length
          ? [`${many(keys.length, "frontend")} on ${many(nodes.length, "node")}`]
          : [many(keys.length || group.length, "frontend")];
  const names =
    keys.length === 1 ? nodes : keys.map((key) => key.replace(/^[^/]*\//, "").replace(/\/TCP$/, ""));
  const open = group.some((one) => one.sequence === marked);
  const line = ({ sequence, ...rest }) =>
    h(
      "li",
      { id: `d${sequence}`, class: sequence === marked ? "marked" : null },
      subject(rest),
      h("div", { class: "sub" }, rest.text),
    );
  const each = h("ul", { class: "each", hidden: !open }, open ? group.map(line) : null);
  const unfold = () => {
    each.hidden = !each.hidden;
    button.setAttribute("aria-expanded", String(!each.hidden));
    if (!each.childElementCount) each.append(...group.map(line));
  };
  const button = h(
    "button",
    {
      type: "button",
      class: "link fold",
      "data-fold": first.sequence,
      "aria-expanded": String(open),
      onclick: unfold,
    },
    "each",
  );
  return h(
    "li",
    { class: open ? "event marked" : "event", "data-level": level(first) },
    time(first, linked),
    h("span", { class: "dot" }),
    h(
      "div",
      { class: "text" },
      kind(first),
      " ",
      h("span", { class: "times" }, `×${group.length}`),
      " ",
      about,
      h(
        "div",
        { class: "sub" },
        names.slice(0, 4).join(", "),
        names.length > 4 ? ` and ${names.length - 4} more` : "",
        " ",
        button,
      ),
      each,
    ),
  );
}

export function eventItems(groups, { linked = false, marked = null } = {}) {
  return groups.map((group) =>
    group.length === 1 ? single(group[0], linked, marked) : folded(group, linked, marked),
  );
}

// `decisions` newest first; the first `most` lines of them.
export function eventList(decisions, empty, most = 14) {
  if (!decisions.length) return h("p", { class: "hint" }, empty);
  return h("ul", null, eventItems(fold(decisions).slice(0, most), { linked: true }));
}
