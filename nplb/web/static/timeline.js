// The timeline: every decision, with reason and filter, and a link to the moment.

import { blank, day, h, minute, num, refill, token, tooltip, words } from "./dom.js";
import { eventItems, fold, level } from "./events.js";

const GROUPS = {
  Backends: /^(backend_|drained|undrained)/,
  Frontends: /^(frontend_|listen|skipped)/,
  Clusters: /^source_/,
  Findings: /^finding_/,
};
const PAGE = 200;
const STRIP_BINS = 96;

// What is none of the groups above is nplb's own: reloads, workers, starts, and what is new.
const groupOf = (kind) => Object.keys(GROUPS).find((name) => GROUPS[name].test(kind)) ?? "nplb itself";

export function timeline(store, args, query) {
  const marked = args[0] ? Number(args[0]) : null;
  const search = h("input", {
    type: "search",
    placeholder: "Service, node, reason …  ( / )",
    "aria-label": "Filter decisions",
    value: query.get("q") ?? "",
    oninput: () => changed(),
  });
  const group = h(
    "select",
    { "aria-label": "Kind", onchange: () => changed() },
    h("option", { value: "" }, "Everything"),
    [...Object.keys(GROUPS), "nplb itself"].map((name) =>
      h("option", { value: name, selected: query.get("kind") === name }, name),
    ),
  );
  const trouble = h("input", { type: "checkbox", checked: query.has("trouble"), onchange: () => changed() });
  const count = h("span", { class: "count", role: "status" });
  const list = h("div"),
    foot = h("div");
  const strip = makeStrip((sequence) => {
    location.hash = `#/timeline/${sequence}`;
  });
  let limit = PAGE,
    scrolled = marked === null;

  // The filter is in the address, so that it can be passed on.
  function changed() {
    limit = PAGE;
    const wanted = new URLSearchParams();
    if (search.value.trim()) wanted.set("q", search.value.trim());
    if (group.value) wanted.set("kind", group.value);
    if (trouble.checked) wanted.set("trouble", "1");
    history.replaceState(null, "", `#/timeline${wanted.size ? `?${wanted}` : ""}`);
    update();
  }

  function matching() {
    const text = search.value.trim().toLowerCase();
    return store.decisions
      .filter(
        (one) =>
          (!group.value || groupOf(one.kind) === group.value) &&
          (!trouble.checked || ["error", "warning"].includes(level(one))) &&
          (!text ||
            `${one.subject} ${one.node} ${one.reason} ${words(one.reason)} ${one.kind} ${words(one.kind)} ${one.text}`
              .toLowerCase()
              .includes(text)),
      )
      .reverse();
  }

  function build(groups) {
    const parts = [];
    let last = "",
      run = [];
    const flush = () => {
      if (run.length) parts.push(...eventItems(run, { linked: true, marked }));
      run = [];
    };
    for (const one of groups.slice(0, limit)) {
      const on = day(one[0].at);
      if (on !== last) {
        flush();
        parts.push(h("li", { class: "day" }, (last = on)));
      }
      run.push(one);
    }
    flush();
    return h("ul", null, parts);
  }

  function update() {
    const found = matching();
    const groups = fold(found);
    if (marked !== null && !scrolled) {
      const at = groups.findIndex((one) => one.some(({ sequence }) => sequence === marked));
      if (at >= limit) limit = at + 50;
      if (at < 0 && store.decisions.length && marked < store.decisions[0].sequence) store.older();
    }
    count.textContent =
      found.length === store.decisions.length
        ? `${num(found.length)} decisions`
        : `${num(found.length)} of ${num(store.decisions.length)} decisions`;
    strip.draw(found);
    refill(list, [groups.slice(0, limit).map((one) => [one[0].sequence, one.length]), limit], () =>
      found.length
        ? build(groups)
        : store.decisions.length
          ? blank("No decision matches")
          : blank(
              "Nothing was decided yet",
              "Whatever joins, leaves, drains or fails is noted here, with its reason.",
            ),
    );
    const more = groups.length > limit;
    refill(foot, [more, store.hasOlder], () =>
      more || store.hasOlder
        ? h(
            "p",
            null,
            h(
              "button",
              {
                type: "button",
                onclick: () => {
                  limit += PAGE;
                  if (more) update();
                  else store.older();
                },
              },
              "Show older ones",
            ),
          )
        : null,
    );
    if (!scrolled) {
      const line = document.getElementById(`d${marked}`);
      if (line) {
        scrolled = true;
        line.scrollIntoView({ block: "center" });
      }
    }
  }
  return {
    element: h(
      "div",
      { class: "flow" },
      h("div", { class: "title" }, h("h1", null, "Timeline"), count),
      h("div", { class: "filters" }, search, group, h("label", { class: "toggle" }, trouble, "Trouble only")),
      h("section", { class: "panel" }, strip.element, list, foot),
    ),
    update,
    close: () => strip.close(),
  };
}

// When how much was decided, and how much of it was trouble: a click goes there.
function makeStrip(go) {
  const canvas = h("canvas", { class: "strip", "aria-hidden": "true" });
  const c = canvas.getContext("2d");
  const tip = tooltip();
  let bins = [],
    found = [];
  function draw(decisions = found) {
    found = decisions;
    const width = canvas.clientWidth,
      height = canvas.clientHeight;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const count = Math.min(STRIP_BINS, Math.floor(width / 7));
    const to = decisions[0]?.at ?? 0,
      from = Math.min(decisions.at(-1)?.at ?? 0, to - 600);
    bins = Array.from({ length: count }, (_, n) => ({
      at: from + ((to - from) * n) / count,
      all: 0,
      bad: 0,
      newest: null,
    }));
    for (const one of decisions) {
      const bin = bins[Math.min(count - 1, Math.floor(((one.at - from) / (to - from)) * count))];
      bin.all += 1;
      bin.newest ??= one;
      if (level(one) === "error") bin.bad += 1;
    }
    const most = Math.log1p(Math.max(1, ...bins.map((bin) => bin.all)));
    const wide = width / count,
      room = height - 15;
    bins.forEach((bin, n) => {
      if (!bin.all) return;
      const tall = Math.max(3, (Math.log1p(bin.all) / most) * room);
      c.fillStyle = token("--cell-idle");
      c.beginPath();
      c.roundRect(n * wide, room - tall, wide - 2, tall, 1.5);
      c.fill();
      if (!bin.bad) return;
      const red = Math.max(3, tall * (bin.bad / bin.all));
      c.fillStyle = token("--cell-bad");
      c.beginPath();
      c.roundRect(n * wide, room - red, wide - 2, red, 1.5);
      c.fill();
    });
    c.fillStyle = token("--line");
    c.fillRect(0, room, width, 1);
    if (!decisions.length) return;
    c.fillStyle = token("--faint");
    c.font = `11px ${token("--sans")}`;
    c.textBaseline = "bottom";
    c.textAlign = "left";
    c.fillText(minute(from), 0, height);
    c.textAlign = "right";
    c.fillText(minute(to), width, height);
  }
  const at = (event) => {
    const bounds = canvas.getBoundingClientRect();
    return bins[Math.floor(((event.clientX - bounds.left) / bounds.width) * bins.length)];
  };
  canvas.addEventListener("pointermove", (event) => {
    const bin = at(event);
    canvas.style.cursor = bin?.newest ? "pointer" : "default";
    if (!bin?.all) {
      tip.hide();
      return;
    }
    tip.show(
      [
        h("div", { class: "name" }, minute(bin.at)),
        h("div", { class: "sub" }, `${num(bin.all)} decided, ${num(bin.bad)} of it trouble`),
      ],
      event.clientX,
      event.clientY,
    );
  });
  canvas.addEventListener("pointerleave", () => tip.hide());
  canvas.addEventListener("click", (event) => {
    const bin = at(event);
    if (bin?.newest) go(bin.newest.sequence);
  });
  const sizes = new ResizeObserver(() => draw());
  sizes.observe(canvas);
  return {
    element: canvas,
    draw,
    close() {
      sizes.disconnect();
      tip.remove();
    },
  };
}
