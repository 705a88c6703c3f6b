// The NodePort range as a picture: one square for each number, in rows of a round number.

import { duration, h, many, num, token, tooltip } from "./dom.js";

const ROUND = [20, 25, 50, 100, 200, 250, 500];
const LABEL = 44;

export const holders = (entry) =>
  entry.holders
    .map(
      (one) =>
        `${one.service.namespace}/${one.service.name}${one.ports.length ? ` ${one.ports.map((port) => `${port.name || port.port}/${port.protocol}`).join(", ")}` : ""}${one.health_check ? " (health check)" : ""}`,
    )
    .join("; ") || "nobody: taken in the allocator, but no Service has it (leak)";

// `answer(text)` tells what a search has found.
export function portMap(view, answer) {
  const canvas = h("canvas", {
    tabindex: 0,
    role: "application",
    "aria-label": `NodePort range ${view.port_range} of cluster ${view.cluster}. Arrow keys move.`,
  });
  const said = h("div", { class: "visually-hidden", "aria-live": "polite" });
  const box = h("div", { class: "map" }, canvas, said);
  const tip = tooltip();
  const c = canvas.getContext("2d");
  let by = new Map(),
    marked = new Set(),
    wanted = "",
    size = 11,
    columns = 1,
    focus = null,
    hover = null;

  const kind = (number) => {
    const entry = by.get(number);
    if (entry)
      return entry.holders.length > 1
        ? "conflict"
        : entry.holders.length
          ? entry.holders[0].health_check && !entry.holders[0].ports.length
            ? "health"
            : "used"
          : "leak";
    const band = view.bands.find((one) => number >= one.first && number <= one.last);
    return band?.band === "static" ? "static" : "dynamic";
  };
  const describe = (number) => {
    const entry = by.get(number);
    if (!entry) return `free, ${kind(number)} band`;
    return `${kind(number) === "conflict" ? "held twice: " : ""}${holders(entry)}${entry.since ? `, for ${duration(view.observed_at - entry.since)}` : ""}`;
  };
  const inRange = (number) => number >= view.base && number < view.base + view.size;

  function find(text) {
    wanted = text.trim().toLowerCase();
    marked = new Set();
    if (!wanted) answer(`${num(view.used)} used, ${num(view.free)} free of ${num(view.size)}`);
    else if (/^\d+$/.test(wanted)) {
      const number = Number(wanted);
      if (inRange(number)) marked.add(number);
      answer(
        inRange(number) || by.has(number)
          ? `${number}: ${describe(number)}`
          : wanted.length < 4
            ? "…"
            : `${number} is not in the range ${view.port_range}`,
      );
    } else {
      for (const entry of view.entries)
        if (holders(entry).toLowerCase().includes(wanted)) marked.add(entry.number);
      const found = [...marked];
      answer(
        found.length
          ? `${many(found.length, "number")}: ${found.slice(0, 6).join(", ")}${found.length > 6 ? " …" : ""}`
          : "nobody of that name has a number",
      );
    }
    draw();
  }

  function draw() {
    const width = box.clientWidth;
    if (!width) return;
    const room = width - LABEL,
      least = width < 560 ? 5.5 : 10;
    columns = [...ROUND].reverse().find((one) => room / one >= least && view.size / one >= 3) ?? ROUND[0];
    size = Math.min(22, room / columns);
    const height = Math.ceil(view.size / columns) * size;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const colors = {
      used: token("--accent"),
      health: token("--idle"),
      conflict: token("--cell-bad"),
      leak: token("--cell-warn"),
      static: `${token("--accent")}2e`,
      dynamic: token("--cell-none"),
    };
    const text = token("--text"),
      hole = token("--panel"),
      gap = size > 8 ? 1.5 : 1,
      wide = size - gap,
      at = focus ?? hover;
    labels(height);
    for (let n = 0; n < view.size; n += 1) {
      const number = view.base + n,
        x = LABEL + (n % columns) * size,
        y = Math.floor(n / columns) * size,
        state = kind(number);
      c.globalAlpha = marked.size && !marked.has(number) ? 0.3 : 1;
      c.fillStyle = colors[state];
      c.beginPath();
      c.roundRect(x, y, wide, wide, size > 8 ? 2 : 1);
      c.fill();
      c.fillStyle = hole;
      if (state === "conflict") {
        c.fillRect(x + wide / 2 - 0.75, y + 2, 1.5, wide - 4);
        c.fillRect(x + 2, y + wide / 2 - 0.75, wide - 4, 1.5);
      }
      if (state === "leak") {
        c.beginPath();
        c.arc(x + wide / 2, y + wide / 2, size / 5, 0, 7);
        c.fill();
      }
      if (marked.has(number) || at === number) {
        c.globalAlpha = 1;
        c.strokeStyle = text;
        c.lineWidth = 1.75;
        c.strokeRect(x - 0.5, y - 0.5, wide + 1, wide + 1);
      }
    }
    c.globalAlpha = 1;
  }

  // The number that a row begins with, wherever there is room for it.
  function labels(height) {
    c.fillStyle = token("--faint");
    c.font = `11px ${token("--sans")}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    const every = Math.max(1, Math.ceil(14 / size));
    for (let row = 0; row * size < height - 1; row += every)
      c.fillText(view.base + row * columns, LABEL - 8, row * size + size / 2);
  }

  function show(number, x, y) {
    if (number === null || !inRange(number)) {
      tip.hide();
      return;
    }
    tip.show([h("div", { class: "name" }, number), h("div", { class: "sub" }, describe(number))], x, y);
    said.textContent = `${number}: ${describe(number)}`;
  }
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - bounds.left - LABEL) / size),
      row = Math.floor((event.clientY - bounds.top) / size);
    const number = view.base + row * columns + column;
    return column >= 0 && column < columns && row >= 0 && inRange(number) ? number : null;
  };
  const point = (event) => {
    hover = place(event);
    focus = null;
    show(hover, event.clientX, event.clientY);
    draw();
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => {
    hover = null;
    tip.hide();
    draw();
  });
  canvas.addEventListener("blur", () => {
    focus = null;
    tip.hide();
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = focus === null ? view.base : focus + step;
    focus = inRange(next) ? next : focus;
    const bounds = canvas.getBoundingClientRect(),
      n = focus - view.base;
    show(focus, bounds.left + LABEL + (n % columns) * size, bounds.top + Math.floor(n / columns) * size);
    draw();
  });
  const sizes = new ResizeObserver(draw);
  sizes.observe(box);
  return {
    element: box,
    find,
    take(next) {
      view = next;
      by = new Map(view.entries.map((entry) => [entry.number, entry]));
      find(wanted);
    },
    close() {
      sizes.disconnect();
      tip.remove();
    },
  };
}
