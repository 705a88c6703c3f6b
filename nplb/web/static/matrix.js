// Services × nodes: thousands of rows on one canvas that shows what is in view.

import { blank, h, many, nodeLink, num, serviceLink, tone, tooltip, words } from "./dom.js";
import { cellColors, drawCell, keys } from "./cells.js";
import { describer } from "./celltip.js";

const ROW = 28;
const ORDERS = [
  ["name", "By name"],
  ["trouble", "Trouble first"],
  ["connections", "Most connections"],
  ["rate", "Most new clients"],
];

export function services(store, args, query) {
  const search = h("input", {
    type: "search",
    placeholder: "Service, port, state …  ( / )",
    "aria-label": "Filter services",
    value: query.get("q") ?? "",
    oninput: () => changed(),
  });
  const trouble = h("input", { type: "checkbox", checked: query.has("trouble"), onchange: () => changed() });
  const order = h(
    "select",
    { "aria-label": "Order", onchange: () => changed() },
    ORDERS.map(([value, text]) => h("option", { value, selected: query.get("order") === value }, text)),
  );
  const cluster = h("select", { "aria-label": "Cluster", onchange: () => changed() });
  const count = h("span", { class: "count", role: "status" });
  const canvas = h("canvas", {
    tabindex: 0,
    role: "application",
    "aria-label": "Services by nodes. Arrow keys move, Enter opens the service.",
  });
  const space = h("div", { class: "space" }, canvas);
  const box = h("div", { class: "panel matrix" }, space);
  const nothing = h("section", { class: "panel", hidden: true });
  const tip = tooltip();
  const said = h("div", { class: "visually-hidden", "aria-live": "polite" });
  const c = canvas.getContext("2d");
  let rows = [],
    columns = [],
    focus = null,
    hover = null,
    touched = null,
    colors = cellColors();
  let left = 250,
    top = 74,
    cell = 26,
    drawn = 0,
    worded = false,
    width = 0,
    height = 0;

  const bad = (row) =>
    [...row.cells].reduce(
      (sum, letter) =>
        sum + (store.board.legend[letter] && tone(...store.board.legend[letter]) === "error" ? 1 : 0),
      0,
    );
  const weight = (row) => (row.state === "serving" ? 0 : 1e6) + bad(row);

  function changed() {
    const wanted = new URLSearchParams();
    if (search.value.trim()) wanted.set("q", search.value.trim());
    if (trouble.checked) wanted.set("trouble", "1");
    if (order.value !== "name") wanted.set("order", order.value);
    history.replaceState(null, "", `#/services${wanted.size ? `?${wanted}` : ""}`);
    refresh(true);
  }

  function refresh(reset) {
    const { board } = store;
    const names = Object.keys(board.nodes);
    if (cluster.dataset.names !== names.join()) {
      cluster.dataset.names = names.join();
      cluster.replaceChildren(...names.map((name) => h("option", { value: name }, `Cluster ${name}`)));
      cluster.hidden = names.length < 2;
    }
    const chosen = cluster.value || names[0];
    columns = board.nodes[chosen] ?? [];
    const text = search.value.trim().toLowerCase();
    const matches = (row) =>
      !text ||
      `${row.namespace}/${row.name}:${row.port} ${row.port_name} ${row.node_port} ${row.state} ${words(row.state)}`
        .toLowerCase()
        .includes(text);
    rows = [];
    let all = 0;
    board.rows.forEach((row, index) => {
      if (row.cluster !== chosen) return;
      all += 1;
      if (matches(row) && !(trouble.checked && !weight(row))) rows.push({ row, index });
    });
    const by = { connections: 0, rate: 1 }[order.value];
    if (by !== undefined) rows.sort((a, b) => board.traffic[b.index][by] - board.traffic[a.index][by]);
    if (order.value === "trouble") rows.sort((a, b) => weight(b.row) - weight(a.row));
    count.textContent = `${rows.length === all ? all : `${rows.length} of ${all}`} ${all === 1 ? "frontend" : "frontends"} × ${many(columns.length, "node")}`;
    box.hidden = !rows.length;
    nothing.hidden = rows.length > 0;
    if (!rows.length) {
      nothing.replaceChildren(
        !all
          ? blank(
              "There is no service to serve yet",
              "A Service of type NodePort or LoadBalancer appears here as soon as the cluster has one.",
            )
          : trouble.checked && !text
            ? blank("No trouble", "Every service is served, and every node that should works.")
            : blank("No service matches", "Nothing of that name, port or state is served."),
      );
    }
    if (reset) {
      box.scrollTop = 0;
      focus = null;
    }
    layout();
  }

  function layout() {
    width = box.clientWidth;
    const narrow = width < 560;
    left = narrow
      ? Math.min(190, Math.round(width * 0.5))
      : Math.min(360, Math.max(240, Math.round(width * 0.26)));
    const room = width - left - 14;
    const share = columns.length ? room / columns.length : 26;
    // With few nodes there is room for the reason itself beside its square.
    worded = share >= 104;
    cell = worded ? Math.floor(share) : Math.min(30, Math.max(narrow ? 17 : 9, Math.floor(share)));
    const longest = Math.max(4, ...columns.map((name) => name.length));
    top = worded ? 40 : Math.min(118, 24 + longest * 5);
    const full = top + rows.length * ROW + 6;
    space.style.height = `${full}px`;
    space.style.width = `${Math.max(left + columns.length * cell + 14, width)}px`;
    height = Math.min(full, Math.max(300, window.innerHeight - (window.innerWidth < 720 ? 330 : 232)));
    const ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw();
  }

  function draw() {
    cancelAnimationFrame(drawn);
    drawn = requestAnimationFrame(paint);
  }

  function paint() {
    if (!rows.length || !width) return;
    const sx = box.scrollLeft,
      sy = box.scrollTop,
      at = focus ?? hover;
    const first = Math.max(0, Math.floor(sy / ROW)),
      last = Math.min(rows.length, Math.ceil((sy + height - top) / ROW) + 1);
    const span = [
      Math.max(0, Math.floor(sx / cell)),
      Math.min(columns.length, Math.ceil((sx + width - left) / cell) + 1),
    ];
    c.clearRect(0, 0, width, height);
    c.textBaseline = "middle";
    clipped(0, top, width, height - top, () => {
      for (let n = first; n < last; n += 1) paintRow(n, top + n * ROW - sy, sx, span, at);
    });
    paintHead(sx, span, at);
  }

  function clipped(x, y, w, tall, paintIt) {
    c.save();
    c.beginPath();
    c.rect(x, y, w, tall);
    c.clip();
    paintIt();
    c.restore();
  }

  function paintRow(n, y, sx, span, at) {
    const { row, index } = rows[n],
      { legend, traffic } = store.board;
    const narrow = width < 560,
      middle = y + ROW / 2;
    if (at && at.row === n) {
      c.fillStyle = colors.accentSoft;
      c.fillRect(0, y, width, ROW);
    }
    c.fillStyle = colors.line;
    c.fillRect(0, y + ROW - 1, width, 1);
    clipped(left, top, width - left, height - top, () => {
      const tall = ROW - 9,
        wide = worded ? 14 : cell - (cell > 14 ? 5 : 2);
      for (let m = span[0]; m < span[1]; m += 1) {
        const x = left + m * cell - sx,
          pair = legend[row.cells[m]];
        drawCell(
          c,
          pair,
          worded ? x : x + (cell - wide) / 2,
          worded ? middle - 7 : y + 4,
          wide,
          worded ? 14 : tall,
          colors,
        );
        if (pair && worded) {
          c.textAlign = "left";
          c.font = `12.5px ${colors.sans}`;
          c.fillStyle = tone(...pair) === "good" ? colors.faint : colors.text;
          c.fillText(cut(words(pair[1]), cell - 28, ended), x + 21, middle + 0.5);
        }
        if (at && at.row === n && at.column === m) {
          c.strokeStyle = colors.accent;
          c.lineWidth = 1.5;
          c.strokeRect(x - (worded ? 4 : 0) + 0.5, y + 1.5, cell - 1, ROW - 4);
        }
      }
    });
    const of = tone(row.state);
    c.fillStyle = { good: colors.good, warning: colors.warn, error: colors.bad, idle: colors.idle }[of];
    c.beginPath();
    if (of === "good") c.arc(19, middle, 4, 0, 7);
    else c.rect(15, middle - 4, 8, 8);
    c.fill();
    const numbers = narrow ? 0 : 104,
      port = `:${row.port}`;
    c.font = `12.5px ${colors.sans}`;
    const portWide = c.measureText(port).width;
    c.textAlign = "left";
    c.font = `13.5px ${colors.sans}`;
    c.fillStyle = colors.text;
    const name = cut(narrow ? row.name : `${row.namespace}/${row.name}`, left - 32 - numbers - portWide - 10);
    c.fillText(name, 32, middle + 0.5);
    const used = c.measureText(name).width;
    const [active, rate] = traffic[index];
    c.fillStyle = colors.faint;
    c.font = `12.5px ${colors.sans}`;
    c.fillText(port, 32 + used + 1, middle + 0.5);
    if (narrow) return;
    c.textAlign = "right";
    c.fillStyle = active ? colors.soft : colors.faint;
    c.fillText(num(active), left - 74, middle + 0.5);
    c.fillText(rate ? `${num(rate)}/s` : "0/s", left - 18, middle + 0.5);
  }

  // The head, over what has scrolled under it.
  function paintHead(sx, span, at) {
    c.fillStyle = colors.panel;
    c.fillRect(0, 0, width, top);
    c.fillStyle = colors.line;
    c.fillRect(0, top - 1, width, 1);
    c.font = `12px ${colors.sans}`;
    c.fillStyle = colors.faint;
    c.textAlign = "left";
    c.fillText("Service", 32, top - 14);
    if (width >= 560) {
      c.textAlign = "right";
      c.fillText("open", left - 74, top - 14);
      c.fillText("new", left - 18, top - 14);
    }
    c.textAlign = "left";
    clipped(left - (worded ? 0 : 8), 0, width - left + 8, top, () => {
      // Where names would lie upon each other, every second or fifth is told, and the one in hand.
      const every = worded || cell >= 15 ? 1 : cell >= 12 ? 2 : 5;
      for (let m = span[0]; m < span[1]; m += 1) {
        const chosen = at && at.column === m;
        if (m % every && !chosen) continue;
        if (!chosen && at && at.column >= 0 && every > 1 && Math.abs(m - at.column) < every / 2) continue;
        c.fillStyle = chosen ? colors.accent : colors.soft;
        c.font = `${chosen || worded ? "600 " : ""}12px ${colors.sans}`;
        const x = left + m * cell - sx;
        if (worded) {
          c.fillText(cut(columns[m], cell - 14), x, top - 14);
          continue;
        }
        c.save();
        c.translate(x + cell / 2, top - 8);
        c.rotate(-Math.PI / 3.2);
        c.fillText(middled(columns[m], 22), 0, 0);
        c.restore();
      }
    });
  }

  const middled = (text, most) =>
    text.length > most ? `${text.slice(0, most / 2 - 1)}…${text.slice(-most / 2)}` : text;

  const ended = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);

  // Names differ at their end, so they are cut in the middle; words are cut at their end.
  function cut(text, room, by = middled) {
    if (c.measureText(text).width <= room) return text;
    let keep = text.length - 1;
    while (keep > 2 && c.measureText(by(text, keep)).width > room) keep -= 1;
    return by(text, keep);
  }

  function place(event) {
    const bounds = canvas.getBoundingClientRect(),
      x = event.clientX - bounds.left,
      y = event.clientY - bounds.top;
    const row = y < top ? -1 : Math.floor((y - top + box.scrollTop) / ROW),
      column = x < left ? -1 : Math.floor((x - left + box.scrollLeft) / cell);
    if (row >= rows.length || column >= columns.length || (row < 0 && column < 0)) return null;
    return { row, column };
  }

  const describe = describer(store, tip, said, () => ({ rows, columns }));
  function open(at) {
    if (!at) return;
    if (at.row >= 0) location.hash = serviceLink(rows[at.row].row.key);
    else if (at.column >= 0)
      location.hash = nodeLink(cluster.value || Object.keys(store.board.nodes)[0], columns[at.column]);
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    focus = null;
    hover = place(event);
    canvas.style.cursor = hover ? "pointer" : "default";
    describe(hover, event.clientX, event.clientY);
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => {
    touched = event.pointerType === "touch" ? place(event) : null;
  });
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") {
      hover = null;
      describe(null);
      draw();
    }
  });
  canvas.addEventListener("blur", () => {
    focus = null;
    describe(null);
    draw();
  });
  canvas.addEventListener("click", (event) => {
    const at = place(event);
    // A finger has no hover: the first touch of a cell tells, the second opens.
    if (touched && at && at.column >= 0 && !(focus && focus.row === at.row && focus.column === at.column)) {
      focus = at;
      describe(at, event.clientX, event.clientY);
      draw();
      return;
    }
    open(at);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      PageDown: [15, 0],
      PageUp: [-15, 0],
      Home: [-1e6, 0],
      End: [1e6, 0],
    }[event.key];
    if (event.key === "Enter" && focus) {
      open(focus);
      return;
    }
    if (event.key === "Escape") {
      canvas.blur();
      return;
    }
    if (!step || !rows.length) return;
    event.preventDefault();
    focus ??= { row: Math.floor(box.scrollTop / ROW) - Math.max(step[0], 0), column: -1 };
    focus = {
      row: Math.min(rows.length - 1, Math.max(0, focus.row + step[0])),
      column: Math.min(columns.length - 1, Math.max(-1, focus.column + step[1])),
    };
    const y = focus.row * ROW,
      room = height - top - ROW;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y > box.scrollTop + room) box.scrollTop = y - room;
    const x = Math.max(0, focus.column) * cell,
      wide = width - left - cell;
    if (x < box.scrollLeft) box.scrollLeft = x;
    else if (x > box.scrollLeft + wide) box.scrollLeft = x - wide;
    const bounds = canvas.getBoundingClientRect();
    describe(
      focus,
      bounds.left + left + Math.max(0, focus.column) * cell - box.scrollLeft,
      bounds.top + top + y - box.scrollTop + ROW,
    );
    draw();
  });
  box.addEventListener("scroll", draw, { passive: true });
  const sizes = new ResizeObserver(layout);
  sizes.observe(box);

  return {
    element: h(
      "div",
      { class: "flow" },
      h("div", { class: "title" }, h("h1", null, "Services"), count),
      h(
        "div",
        { class: "filters" },
        search,
        h("label", { class: "toggle" }, trouble, "Trouble only"),
        order,
        cluster,
        keys(),
      ),
      box,
      nothing,
      said,
    ),
    update() {
      colors = cellColors();
      refresh(false);
    },
    close() {
      sizes.disconnect();
      tip.remove();
      describe(null);
      cancelAnimationFrame(drawn);
    },
  };
}
