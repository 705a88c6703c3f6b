// The NodePort range as a picture: who has which number, what is free, what is wrong.

import { duration, h, num, panel, refill, stamp, token } from "./dom.js";
import { ask as get } from "./session.js";
import { checkPanel } from "./check.js";

function ledger(view) {
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": `NodePort range ${view.port_range} of cluster ${view.cluster}. Arrow keys move.` });
  const tip = h("div", { class: "tip", hidden: true });
  const said = h("div", { class: "visually-hidden", "aria-live": "polite" });
  const answer = h("p", { class: "hint", role: "status" });
  const search = h("input", { type: "search", placeholder: "Number or service …  ( / )", "aria-label": "Find a number or a service", oninput: () => find() });
  const bands = h("div", { class: "grid" }), outside = h("div"), spaces = h("div");
  const c = canvas.getContext("2d");
  let by = new Map(), marked = new Set(), size = 11, columns = 1, focus = null, observed = 0;

  const kind = (entry, number) => {
    if (entry) return entry.holders.length > 1 ? "conflict" : entry.holders.length ? (entry.holders[0].health_check && !entry.holders[0].ports.length ? "health" : "used") : "leak";
    const band = view.bands.find((one) => number >= one.first && number <= one.last);
    return band?.band === "static" ? "static" : "dynamic";
  };

  function take(next) {
    view = next;
    by = new Map(view.entries.map((entry) => [entry.number, entry]));
    observed = Date.now();
    refill(bands, [view.bands, Math.floor(observed / 10000)], () => view.bands.map((band) => h("div", { class: "w6 band" }, h("div", { class: "count" }, `${band.band === "static" ? "Static band, for people to choose from" : "Dynamic band, for automatic allocation"}: ${band.first}–${band.last}`),
      h("div", null, h("b", null, num(band.free)), ` free of ${num(band.size)}`, band.per_hour ? h("span", { class: "count" }, ` · ${band.per_hour > 0 ? "+" : ""}${band.per_hour.toFixed(1)} an hour`) : null, band.full_at ? h("span", { class: "tag", "data-level": band.full_at - view.observed_at < 7 * 86400 ? "error" : "warning", title: stamp(band.full_at), style: { marginLeft: "8px" } }, `full in ${duration(band.full_at - view.observed_at)}`) : null),
      h("div", { class: "meter" }, h("i", { style: { flex: band.used || 0.001, background: `var(${band.used / band.size > 0.9 ? "--cell-bad" : "--accent"})` } }), h("i", { style: { flex: band.free || 0.001 } })))));
    const out = view.entries.filter((entry) => entry.band === "outside");
    refill(outside, out, () => out.length ? panel("Held outside of the range", null, h("ul", null, out.map((entry) => h("li", null, `${entry.number}: ${holders(entry)}`)))) : []);
    const most = Math.max(1, ...view.namespaces.map((one) => one.used));
    refill(spaces, view.namespaces, () => h("ul", { class: "bars" }, [...view.namespaces].sort((a, b) => b.used - a.used).slice(0, 12).map((one) => h("li", null, h("span", null, one.namespace), h("span", { class: "track" }, h("i", { style: { width: `${(one.used / most) * 100}%` } })), h("span", { class: "count" }, num(one.used))))));
    find();
  }

  const holders = (entry) => entry.holders.map((one) => `${one.service.namespace}/${one.service.name}${one.ports.length ? ` ${one.ports.map((port) => `${port.name || port.port}/${port.protocol}`).join(", ")}` : ""}${one.health_check ? " (health check)" : ""}`).join("; ") || "nobody: taken in the allocator, but no Service has it (leak)";
  const describe = (number) => {
    const entry = by.get(number);
    const state = kind(entry, number);
    if (!entry) return `free, ${state} band`;
    return `${state === "conflict" ? "held twice: " : ""}${holders(entry)}${entry.since ? `, for ${duration(view.observed_at - entry.since)}` : ""}`;
  };

  function find() {
    const text = search.value.trim().toLowerCase();
    marked = new Set();
    answer.textContent = `${num(view.used)} used, ${num(view.free)} free of ${num(view.size)}`;
    if (/^\d+$/.test(text)) {
      const number = Number(text);
      if (number >= view.base && number < view.base + view.size) { marked.add(number); answer.textContent = `${number}: ${describe(number)}`; }
      else if (text.length >= 4) answer.textContent = by.has(number) ? `${number}: ${describe(number)}` : `${number} is not in the range ${view.port_range}`;
    } else if (text) {
      for (const entry of view.entries) if (holders(entry).toLowerCase().includes(text)) marked.add(entry.number);
      answer.textContent = marked.size ? `${[...marked].slice(0, 8).join(", ")}${marked.size > 8 ? ` and ${marked.size - 8} more` : ""}` : "nobody of that name has a number";
    }
    draw();
  }

  function draw() {
    const width = canvas.parentElement?.clientWidth ?? 0;
    if (!width) return;
    size = view.size > 6000 ? 6 : width < 500 ? 9 : 12;
    columns = Math.max(8, Math.floor(width / size));
    const height = Math.ceil(view.size / columns) * size;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const colors = { used: token("--accent"), health: token("--idle"), conflict: token("--cell-bad"), leak: token("--cell-warn"), static: token("--accent") + "33", dynamic: token("--cell-none") };
    const text = token("--text"), gap = size > 8 ? 1.5 : 1;
    for (let n = 0; n < view.size; n += 1) {
      const number = view.base + n, x = (n % columns) * size, y = Math.floor(n / columns) * size, state = kind(by.get(number), number);
      c.globalAlpha = marked.size && !marked.has(number) ? 0.35 : 1;
      c.fillStyle = colors[state];
      c.fillRect(x, y, size - gap, size - gap);
      if (state === "conflict") { c.fillStyle = token("--panel"); c.fillRect(x + size / 2 - gap, y + 2, 1.5, size - gap - 4); c.fillRect(x + 2, y + size / 2 - gap, size - gap - 4, 1.5); }
      if (state === "leak") { c.fillStyle = token("--panel"); c.beginPath(); c.arc(x + (size - gap) / 2, y + (size - gap) / 2, size / 5, 0, 7); c.fill(); }
      if (marked.has(number) || focus === number) { c.globalAlpha = 1; c.strokeStyle = text; c.lineWidth = 1.5; c.strokeRect(x - 0.5, y - 0.5, size - gap + 1, size - gap + 1); }
    }
    c.globalAlpha = 1;
  }

  function show(number, x, y) {
    if (number === null || number >= view.base + view.size || number < view.base) { tip.hidden = true; return; }
    tip.replaceChildren(h("div", { class: "name" }, number), h("div", { class: "sub" }, describe(number)));
    said.textContent = `${number}: ${describe(number)}`;
    tip.hidden = false;
    const bounds = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 14, window.innerWidth - bounds.width - 12))}px`;
    tip.style.top = `${y + 18 + bounds.height > window.innerHeight ? y - bounds.height - 12 : y + 18}px`;
  }
  canvas.addEventListener("pointermove", (event) => {
    const bounds = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - bounds.left) / size);
    show(column < columns ? view.base + Math.floor((event.clientY - bounds.top) / size) * columns + column : null, event.clientX, event.clientY);
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("blur", () => { focus = null; tip.hidden = true; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    focus = focus === null ? view.base : Math.min(view.base + view.size - 1, Math.max(view.base, focus + step));
    const bounds = canvas.getBoundingClientRect(), n = focus - view.base;
    show(focus, bounds.left + (n % columns) * size, bounds.top + Math.floor(n / columns) * size);
    draw();
  });
  const sizes = new ResizeObserver(draw);
  const key = (state, color, text) => h("span", null, h("i", { class: "key", style: { background: color } }), text);
  const map = h("div", { class: "map" }, canvas);
  document.body.append(tip);
  sizes.observe(map);
  const element = h("div", { class: "flow" },
    h("section", { class: "panel" }, h("header", null, h("h2", null, `Cluster ${view.cluster}, range ${view.port_range}`)), bands),
    h("section", { class: "panel" }, h("div", { class: "filters", style: { marginBottom: "12px" } }, search, answer,
      h("div", { class: "keys", "aria-hidden": "true" }, key("used", "var(--accent)", "used"), key("health", "var(--idle)", "health check"), key("static", "color-mix(in srgb, var(--accent) 20%, transparent)", "free, static"), key("dynamic", "var(--cell-none)", "free, dynamic"), key("conflict", "var(--cell-bad)", "held twice"), key("leak", "var(--cell-warn)", "leak"))), map),
    h("div", { class: "grid" }, h("div", { class: "w6" }, panel("By namespace", null, spaces)), h("div", { class: "w6" }, outside)), said);
  take(view);
  return { element, take, draw, close() { sizes.disconnect(); tip.remove(); } };
}

export function ports() {
  const body = h("div", { class: "flow" }, h("p", { class: "hint" }, "Loading…"));
  const drawn = new Map();
  let asked = 0, closed = false;
  async function ask() {
    asked = Date.now();
    try {
      const page = await get("api/v1/ports");
      if (closed) return;
      if (!page.ledgers.length) { body.replaceChildren(h("section", { class: "panel" }, h("p", { class: "hint" }, "The ledger is empty: no cluster has been read yet."))); return; }
      for (const view of page.ledgers) {
        const one = drawn.get(view.cluster);
        if (one) { one.take(view); continue; }
        if (!drawn.size) body.replaceChildren(checkPanel(page.ledgers.map((other) => other.cluster)));
        drawn.set(view.cluster, ledger(view));
        body.lastElementChild.before(drawn.get(view.cluster).element);
        drawn.get(view.cluster).draw();
      }
    } catch { /* the state of the connection is shown above */ }
  }
  ask();
  return {
    element: h("div", { class: "flow" }, h("h1", null, "Ports"), body),
    update() { if (Date.now() - asked > 5000) ask(); },
    close() { closed = true; for (const one of drawn.values()) one.close(); },
  };
}
