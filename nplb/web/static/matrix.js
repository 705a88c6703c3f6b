// Services × nodes: thousands of rows on one canvas that shows what is in view.
//
// States differ by shape as well as by colour: a full square is active, a half one drains, a
// cross is down, a ring is left out.

import { h, duration, nodeLink, num, serviceLink, token, words, bytesText } from "./dom.js";
import { ask as get } from "./session.js";

const ROW = 26;

export function drawCell(c, letter, legend, x, y, size, colors) {
  const pair = legend[letter];
  if (!pair) {
    c.fillStyle = colors.none;
    c.fillRect(x + size / 2 - 1.5, y + size / 2 - 1.5, 3, 3);
    return;
  }
  const [state] = pair;
  if (state === "active") {
    c.fillStyle = colors.good;
    c.beginPath(); c.roundRect(x, y, size, size, Math.min(3, size / 4)); c.fill();
  } else if (state === "draining") {
    c.fillStyle = colors.warnSoft;
    c.beginPath(); c.roundRect(x, y, size, size, Math.min(3, size / 4)); c.fill();
    c.fillStyle = colors.warn;
    c.beginPath(); c.moveTo(x, y + size); c.lineTo(x, y); c.lineTo(x + size, y); c.fill();
  } else if (state === "down") {
    c.fillStyle = colors.badSoft;
    c.beginPath(); c.roundRect(x, y, size, size, Math.min(3, size / 4)); c.fill();
    c.strokeStyle = colors.bad; c.lineWidth = Math.max(2, size / 6);
    const inset = size * 0.24;
    c.beginPath(); c.moveTo(x + inset, y + inset); c.lineTo(x + size - inset, y + size - inset);
    c.moveTo(x + size - inset, y + inset); c.lineTo(x + inset, y + size - inset); c.stroke();
  } else {
    c.strokeStyle = colors.idle; c.lineWidth = 1.5;
    c.beginPath(); c.arc(x + size / 2, y + size / 2, size * 0.28, 0, Math.PI * 2); c.stroke();
  }
}

export const cellColors = () => ({
  good: token("--cell-good"), warn: token("--cell-warn"), bad: token("--cell-bad"), none: token("--strong"), idle: token("--idle"),
  warnSoft: token("--cell-warn") + "40", badSoft: token("--cell-bad") + "26", text: token("--text"), soft: token("--soft"), faint: token("--faint"), line: token("--line"), panel: token("--panel"), raised: token("--raised"), accent: token("--accent"), accentSoft: token("--accent-soft"),
});

export function keys() {
  return h("div", { class: "keys", "aria-hidden": "true" }, ["active", "draining", "down"].map((state) => h("span", null, h("i", { class: "key", "data-state": state }), state)));
}

export function services(store, args, query) {
  const search = h("input", { type: "search", placeholder: "Filter services …  ( / )", "aria-label": "Filter services", value: query.get("q") ?? "", oninput: () => refresh(true) });
  const trouble = h("input", { type: "checkbox", checked: query.has("trouble"), onchange: () => refresh(true) });
  const order = h("select", { "aria-label": "Order", onchange: () => refresh(true) }, [["name", "By name"], ["trouble", "Trouble first"], ["connections", "Most connections"], ["rate", "Most new clients"]].map(([value, text]) => h("option", { value }, text)));
  const cluster = h("select", { "aria-label": "Cluster", onchange: () => refresh(true) });
  const count = h("span", { class: "count", role: "status" });
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": "Services by nodes. Arrow keys move, Enter opens the service." });
  const space = h("div", { class: "space" }, canvas);
  const box = h("div", { class: "panel matrix" }, space);
  const tip = h("div", { class: "tip", hidden: true });
  const said = h("div", { class: "visually-hidden", "aria-live": "polite" });
  const c = canvas.getContext("2d");
  let rows = [], columns = [], focus = null, hover = null, colors = cellColors(), left = 250, top = 74, cell = 26, ratio = 1, drawn = 0, worded = false;
  const details = new Map();

  const troubled = (row) => row.state !== "serving" || [...row.cells].some((letter) => store.board.legend[letter]?.[0] === "down");

  function refresh(reset) {
    const board = store.board;
    const names = Object.keys(board.nodes);
    if (cluster.dataset.names !== names.join()) {
      cluster.dataset.names = names.join();
      cluster.replaceChildren(...names.map((name) => h("option", { value: name }, `Cluster ${name}`)));
      cluster.hidden = names.length < 2;
    }
    const chosen = cluster.value || names[0];
    columns = board.nodes[chosen] ?? [];
    const text = search.value.trim().toLowerCase();
    rows = [];
    board.rows.forEach((row, index) => {
      if (row.cluster !== chosen || (text && !`${row.namespace}/${row.name}:${row.port} ${row.port_name} ${row.node_port} ${row.state}`.toLowerCase().includes(text))) return;
      if (trouble.checked && !troubled(row)) return;
      rows.push({ row, index });
    });
    const by = { connections: 0, rate: 1 }[order.value];
    if (by !== undefined) rows.sort((a, b) => board.traffic[b.index][by] - board.traffic[a.index][by]);
    if (order.value === "trouble") {
      const weight = ({ row }) => (row.state === "serving" ? 0 : 1000) + [...row.cells].filter((letter) => board.legend[letter]?.[0] === "down").length;
      rows.sort((a, b) => weight(b) - weight(a));
    }
    const all = board.rows.filter((row) => row.cluster === chosen).length;
    count.textContent = `${rows.length === all ? all : `${rows.length} of ${all}`} ${all === 1 ? "frontend" : "frontends"} × ${columns.length} ${columns.length === 1 ? "node" : "nodes"}`;
    if (reset) { box.scrollTop = 0; focus = null; }
    layout();
  }

  function layout() {
    const width = box.clientWidth, narrow = width < 560;
    left = narrow ? 150 : Math.min(340, Math.max(230, width * 0.24));
    const room = width - left - 16;
    const share = columns.length ? Math.floor(room / columns.length) : 26;
    // With few nodes there is room for the reason itself beside its square.
    worded = share >= 118;
    cell = worded ? Math.min(share, 170) : Math.min(30, Math.max(narrow ? 18 : 12, share));
    const longest = Math.max(4, ...columns.map((name) => name.length));
    top = worded ? 40 : cell < 12 ? 34 : Math.min(130, 26 + longest * 5.2);
    const height = top + rows.length * ROW + 10;
    space.style.height = `${height}px`;
    space.style.width = `${Math.max(left + columns.length * cell + 16, width)}px`;
    const shown = Math.min(Math.max(height, 160), Math.max(240, window.innerHeight - 250));
    ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${width}px`; canvas.style.height = `${shown}px`;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(shown * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(shown * ratio);
    }
    draw();
  }

  function draw() {
    cancelAnimationFrame(drawn);
    drawn = requestAnimationFrame(paint);
  }

  function paint() {
    const board = store.board, width = canvas.width / ratio, height = canvas.height / ratio, narrow = left < 200;
    const sx = box.scrollLeft, sy = box.scrollTop, size = Math.max(6, Math.min(cell, ROW) - 6);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.textBaseline = "middle";
    if (!rows.length) {
      c.font = "14px system-ui, sans-serif"; c.fillStyle = colors.soft; c.textAlign = "left";
      c.fillText(store.board.rows.length ? "No service matches." : "There is no service to serve yet.", 18, 40);
      return;
    }
    const first = Math.max(0, Math.floor(sy / ROW)), last = Math.min(rows.length, Math.ceil((sy + height - top) / ROW) + 1);
    const firstColumn = Math.max(0, Math.floor(sx / cell)), lastColumn = Math.min(columns.length, Math.ceil((sx + width - left) / cell) + 1);
    const at = focus ?? hover;
    c.save();
    c.beginPath(); c.rect(0, top, width, height - top); c.clip();
    for (let n = first; n < last; n += 1) {
      const { row, index } = rows[n], y = top + n * ROW - sy;
      if (at && at.row === n) { c.fillStyle = colors.accentSoft; c.fillRect(0, y, width, ROW); }
      c.fillStyle = colors.line; c.fillRect(0, y + ROW - 0.5, width, 0.5);
      c.save(); c.beginPath(); c.rect(left, top, width - left, height - top); c.clip();
      for (let m = firstColumn; m < lastColumn; m += 1) {
        const x = left + m * cell - sx;
        drawCell(c, row.cells[m], board.legend, worded ? x + 6 : x + (cell - size) / 2, y + (ROW - size) / 2, size, colors);
        const pair = worded ? board.legend[row.cells[m]] : null;
        if (pair) {
          c.textAlign = "left"; c.font = "12px system-ui, sans-serif"; c.fillStyle = pair[0] === "active" ? colors.faint : colors.text;
          c.fillText(cut(words(pair[1]), cell - size - 18), x + size + 13, y + ROW / 2);
        }
      }
      if (focus && focus.row === n && focus.column >= 0) { c.strokeStyle = colors.accent; c.lineWidth = 2; c.strokeRect(left + focus.column * cell - sx + 1, y + 1, cell - 2, ROW - 2); }
      c.restore();
      c.fillStyle = row.state === "serving" ? colors.good : row.state === "pending" ? colors.warn : colors.bad;
      if (row.state === "serving") { c.beginPath(); c.arc(16, y + ROW / 2, 4, 0, 7); c.fill(); } else c.fillRect(12, y + ROW / 2 - 4, 8, 8);
      const [active, rate] = board.traffic[index];
      const right = narrow ? 0 : 86;
      c.textAlign = "left"; c.font = "13px system-ui, sans-serif";
      const name = narrow ? row.name : `${row.namespace}/${row.name}`;
      c.fillStyle = colors.text;
      c.fillText(cut(name, left - 40 - right - 36), 28, y + ROW / 2);
      const used = Math.min(c.measureText(name).width, left - 40 - right - 36);
      c.fillStyle = colors.faint; c.font = "12px system-ui, sans-serif";
      c.fillText(`:${row.port}`, 28 + used + 1, y + ROW / 2);
      if (!narrow) { c.textAlign = "right"; c.fillText(`${num(active)}`, left - 58, y + ROW / 2); c.fillText(`${num(rate)}/s`, left - 12, y + ROW / 2); }
    }
    c.restore();
    // The head, over what has scrolled under it.
    c.fillStyle = colors.panel; c.fillRect(0, 0, width, top);
    c.fillStyle = colors.line; c.fillRect(0, top - 1, width, 1);
    c.font = "12px system-ui, sans-serif"; c.fillStyle = colors.faint; c.textAlign = "left";
    c.fillText("Service", 28, top - 14);
    if (!narrow) { c.textAlign = "right"; c.fillText("open", left - 58, top - 14); c.fillText("new", left - 12, top - 14); }
    if (worded) {
      c.textAlign = "left";
      for (let m = firstColumn; m < lastColumn; m += 1) {
        c.fillStyle = at && at.column === m ? colors.accent : colors.soft; c.font = "600 12px system-ui, sans-serif";
        c.fillText(cut(columns[m], cell - 14), left + m * cell - sx + 6, top - 14);
      }
    } else if (cell >= 12) {
      c.save(); c.beginPath(); c.rect(left - 6, 0, width - left + 6, top); c.clip();
      for (let m = firstColumn; m < lastColumn; m += 1) {
        c.save();
        c.translate(left + m * cell - sx + cell / 2 + 2, top - 9); c.rotate(-Math.PI / 3.4);
        c.textAlign = "left"; c.fillStyle = at && at.column === m ? colors.accent : colors.soft; c.font = `${at && at.column === m ? "600 " : ""}11.5px system-ui, sans-serif`;
        c.fillText(columns[m].length > 22 ? `${columns[m].slice(0, 10)}…${columns[m].slice(-10)}` : columns[m], 0, 0);
        c.restore();
      }
      c.restore();
    }
  }

  function cut(text, width) {
    if (c.measureText(text).width <= width) return text;
    let end = text.length;
    while (end > 1 && c.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
    return `${text.slice(0, end)}…`;
  }

  function place(event) {
    const bounds = canvas.getBoundingClientRect(), x = event.clientX - bounds.left, y = event.clientY - bounds.top;
    const row = y < top ? -1 : Math.floor((y - top + box.scrollTop) / ROW), column = x < left ? -1 : Math.floor((x - left + box.scrollLeft) / cell);
    if (row >= rows.length || column >= columns.length) return null;
    return { row, column };
  }

  async function fetchDetail(key) {
    const kept = details.get(key);
    if (kept && Date.now() - kept.at < 2000) return kept.page;
    const page = await get(`api/v1/frontend?key=${encodeURIComponent(key)}`);
    if (details.size > 50) details.clear();
    details.set(key, { at: Date.now(), page });
    return page;
  }

  let timer = null;
  function describe(at, x, y) {
    clearTimeout(timer);
    const chosen = at && at.row >= 0 ? rows[at.row] : null;
    if (!at || (!chosen && at.column < 0)) { tip.hidden = true; return; }
    const node = at.column >= 0 ? columns[at.column] : null;
    const pair = chosen && node ? store.board.legend[chosen.row.cells[at.column]] : null;
    const lines = [];
    if (chosen) {
      const [active, rate, failed, inward, outward] = store.board.traffic[chosen.index];
      lines.push(h("div", { class: "name" }, `${chosen.row.namespace}/${chosen.row.name}:${chosen.row.port}`));
      if (!node) lines.push(h("div", null, words(chosen.row.state)), h("div", { class: "sub" }, `${chosen.row.listen.join(", ")} → NodePort ${chosen.row.node_port}`), h("div", { class: "sub" }, `${num(active)} open, ${num(rate)}/s new, ${num(failed)}/s failed, ${bytesText(inward + outward)}/s`));
    }
    if (node) lines.push(h("div", null, chosen ? "on " : "", h("b", null, node)));
    if (node && chosen) lines.push(h("div", null, pair ? `${words(pair[0])}: ${words(pair[1])}` : "no backend here"));
    const more = h("div", { class: "sub" });
    tip.replaceChildren(...lines, more);
    tip.hidden = false;
    move(x, y);
    said.textContent = lines.map((line) => line.textContent).join(", ");
    if (pair) timer = setTimeout(async () => {
      try {
        const page = await fetchDetail(chosen.row.key);
        const one = page.backends.find((backend) => backend.key.node === node) ?? page.left_out.find((out) => out.node === node);
        if (!one || tip.hidden) return;
        const bits = [];
        if (one.since) bits.push(`for ${duration(page.now - one.since)}`);
        if (one.traffic) bits.push(`${num(one.traffic.active)} open`);
        if (one.verdict?.probed_at) bits.push(`probed ${duration(page.now - one.verdict.probed_at)} ago${one.verdict.latency_seconds ? `, ${(one.verdict.latency_seconds * 1000).toFixed(1)} ms` : ""}`);
        more.replaceChildren(h("div", null, bits.join(" · ")), h("div", null, one.explanation.meaning));
        move(x, y);
      } catch { /* the cell's own words are enough */ }
    }, 120);
  }

  function move(x, y) {
    const bounds = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 16, window.innerWidth - bounds.width - 12))}px`;
    tip.style.top = `${y + 20 + bounds.height > window.innerHeight ? Math.max(8, y - bounds.height - 14) : y + 20}px`;
  }

  canvas.addEventListener("pointermove", (event) => {
    focus = null;
    hover = place(event);
    canvas.style.cursor = hover ? "pointer" : "default";
    describe(hover, event.clientX, event.clientY);
    draw();
  });
  canvas.addEventListener("pointerleave", () => { hover = null; describe(null); draw(); });
  canvas.addEventListener("blur", () => { focus = null; describe(null); draw(); });
  canvas.addEventListener("click", (event) => open(place(event)));
  function open(at) {
    if (!at) return;
    if (at.row >= 0) location.hash = serviceLink(rows[at.row].row.key);
    else if (at.column >= 0) location.hash = nodeLink(cluster.value || Object.keys(store.board.nodes)[0], columns[at.column]);
  }
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [15, 0], PageUp: [-15, 0], Home: [-1e6, 0], End: [1e6, 0] }[event.key];
    if (event.key === "Enter" && focus) { open(focus); return; }
    if (event.key === "Escape") { canvas.blur(); return; }
    if (!step || !rows.length) return;
    event.preventDefault();
    focus ??= { row: Math.floor(box.scrollTop / ROW) - Math.max(step[0], 0), column: -1 };
    focus = { row: Math.min(rows.length - 1, Math.max(0, focus.row + step[0])), column: Math.min(columns.length - 1, Math.max(-1, focus.column + step[1])) };
    const y = focus.row * ROW, room = canvas.height / ratio - top - ROW;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y > box.scrollTop + room) box.scrollTop = y - room;
    const x = Math.max(0, focus.column) * cell, wide = canvas.width / ratio - left - cell;
    if (x < box.scrollLeft) box.scrollLeft = x;
    else if (x > box.scrollLeft + wide) box.scrollLeft = x - wide;
    const bounds = canvas.getBoundingClientRect();
    describe(focus, bounds.left + left + Math.max(0, focus.column) * cell - box.scrollLeft, bounds.top + top + y - box.scrollTop + ROW);
    draw();
  });
  box.addEventListener("scroll", draw, { passive: true });
  const sizes = new ResizeObserver(layout);
  sizes.observe(box);
  document.body.append(tip);

  return {
    element: h("div", { class: "flow" }, h("div", { class: "title" }, h("h1", null, "Services"), count), h("div", { class: "filters" }, search, h("label", { class: "toggle" }, trouble, "Trouble only"), order, cluster, keys()), box, said),
    update() { colors = cellColors(); refresh(false); },
    close() { sizes.disconnect(); tip.remove(); clearTimeout(timer); cancelAnimationFrame(drawn); },
  };
}
