// What the pages of a service and of a node have in common: they ask for their details while the
// board moves, and show backends in groups, each with its reason and what would change it.

import { duration, h, many, num, since, tag, tone, words } from "./dom.js";
import { ask as get } from "./session.js";

const ASK_MS = 2000;
const SHOWN = 150;
const ORDER = { error: 0, warning: 1, idle: 2, good: 3 };

// A page that asks again every two seconds, and at once when `moved(store)` gives something new.
export function detailPage(store, path, moved, build) {
  const element = h("div", { class: "flow" }, h("p", { class: "hint" }, "Loading…"));
  let asked = 0,
    asking = false,
    seen = moved(store),
    closed = false,
    parts = null;
  async function ask() {
    if (asking) return;
    asking = true;
    asked = Date.now();
    try {
      const page = await get(path);
      if (closed) return;
      parts ??= build(element);
      parts.update(page);
    } catch (error) {
      if (closed || (parts && error.status !== 404)) return;
      parts?.close?.();
      parts = null;
      element.replaceChildren(
        h(
          "section",
          { class: "panel" },
          h("h1", null, "Not there"),
          h("p", { class: "hint" }, error.message),
          h("p", null, h("a", { href: "#/services" }, "All services")),
        ),
      );
    } finally {
      asking = false;
    }
  }
  ask();
  return {
    element,
    update() {
      parts?.tick?.();
      const now = moved(store);
      if (now !== seen || Date.now() - asked > ASK_MS - 100) {
        seen = now;
        ask();
      }
    },
    close() {
      closed = true;
      parts?.close?.();
    },
  };
}

export function probeText(one, now) {
  const verdict = one.verdict;
  if (!verdict || !verdict.probed_at) return "not yet";
  const bits = [words(verdict.cause)];
  if (verdict.latency_seconds !== null && verdict.cause === "connected")
    bits.push(`${(verdict.latency_seconds * 1000).toFixed(1)} ms`);
  bits.push(`${duration(now - verdict.probed_at)} ago`);
  return bits.join(", ");
}

// A number's cell; on a narrow screen, where rows become cards, it shows its label.
export const cell = (label, content, dull = false) =>
  h(
    "td",
    { class: `n${dull ? " dull" : ""}${label === "last probe" ? " wide" : ""}`, "data-label": label },
    h("span", null, content),
  );

// What a group's reason means, which signal says so, how old the oldest of it is, and what would
// change it.
function why(group, now) {
  const { meaning, signal, change } = group[0].explanation;
  const oldest = Math.min(...group.map((one) => one.signal_at ?? Infinity));
  const age = Number.isFinite(oldest) ? `, ${duration(now - oldest)} ago` : "";
  return h(
    "p",
    { class: "why" },
    meaning,
    " ",
    signal ? [h("b", null, "Seen by: "), `${words(signal)}${age}. `] : null,
    h("b", null, "Would change it: "),
    change,
  );
}

// `ones` in groups of one state and reason, the worst first. `what` is what there is one of in
// each line ("node"); `columns` are [heading, numeric]; `line` makes the cells of one.
export function groups(ones, now, what, columns, line) {
  const by = new Map();
  for (const one of ones) {
    const key = `${one.state} ${one.reason}`;
    by.set(key, [...(by.get(key) ?? []), one]);
  }
  const sorted = [...by.values()].sort(
    (a, b) =>
      (ORDER[tone(a[0].state, a[0].reason)] ?? 1) - (ORDER[tone(b[0].state, b[0].reason)] ?? 1) ||
      a.length - b.length,
  );
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": `Each ${what}` },
    h(
      "table",
      { class: "stack groups" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map(([text, numeric]) => h("th", { class: numeric ? "n" : null, scope: "col" }, text)),
        ),
      ),
      sorted.map((group) =>
        h(
          "tbody",
          null,
          h(
            "tr",
            { class: "sum" },
            h(
              "th",
              { colspan: columns.length, scope: "rowgroup" },
              h(
                "span",
                { class: "head" },
                tag(group[0].state, null, group[0].reason),
                h("b", null, words(group[0].reason)),
                h("span", { class: "count" }, many(group.length, what)),
              ),
              why(group, now),
            ),
          ),
          group.slice(0, SHOWN).map((one) => h("tr", null, line(one))),
          group.length > SHOWN
            ? h(
                "tr",
                null,
                h(
                  "td",
                  { colspan: columns.length, class: "sub" },
                  `and ${group.length - SHOWN} more; the matrix shows all.`,
                ),
              )
            : null,
        ),
      ),
    ),
  );
}

// "5 min", with the moment itself on hover.
export const held = (one, now) => (one.since ? since(one.since, now) : "–");
export const count = (value) => num(value ?? 0);
export const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
