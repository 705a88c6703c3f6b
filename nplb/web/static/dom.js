// Making elements, and showing numbers and times. Text is always set as text, never as HTML.

export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child.nodeType ? child : document.createTextNode(String(child)));
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

// Replace the children only if what they are made of has changed: keeps focus and selection, and
// what was opened.
export function refill(element, made_of, build) {
  const mark = JSON.stringify(made_of);
  if (element.madeOf === mark) return;
  element.madeOf = mark;
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const [name, value] =
    ["data-node", "data-fold", "href"]
      .map((one) => [one, focused?.getAttribute(one)])
      .find(([, found]) => found) ?? [];
  const open = [...element.querySelectorAll("[data-fold][aria-expanded=true]")].map(
    (one) => one.dataset.fold,
  );
  fill(element, build());
  for (const fold of open) {
    const button = element.querySelector(`[data-fold="${CSS.escape(fold)}"]`);
    if (button?.getAttribute("aria-expanded") === "false") button.click();
  }
  // A link or button that was built anew is focused anew.
  if (name) element.querySelector(`[${name}="${CSS.escape(value)}"]`)?.focus({ preventScroll: true });
}

export function svg(path, view = "0 0 24 24") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  element.setAttribute("viewBox", view);
  element.setAttribute("aria-hidden", "true");
  for (const d of [path].flat()) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", d);
    element.append(line);
  }
  return element;
}

export function num(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${(value / 1e9).toFixed(1)}G`;
  if (size >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (size >= 1e5) return `${(value / 1e3).toFixed(0)}k`;
  if (size >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1) : value.toFixed(size < 0.1 && size > 0 ? 2 : 1);
}

// "1 node", "3 nodes".
export const many = (count, one, more = `${one}s`) => `${num(count)} ${count === 1 ? one : more}`;

export function bytes(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return ["–", ""];
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (Math.abs(value) < 999.5 || unit === "TB") {
      return [value < 9.95 && unit !== "B" ? value.toFixed(1) : value.toFixed(0), unit];
    }
    value /= 1000;
  }
  return ["–", ""];
}
export const bytesText = (value) => bytes(value).join(" ");

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// Formatters are made once: making one costs more than a hundred uses.
const format = (options) => {
  const made = new Intl.DateTimeFormat([], { hourCycle: "h23", ...options });
  return (at) => made.format(at * 1000);
};
const time = { hour: "2-digit", minute: "2-digit" };
export const clock = format({ ...time, second: "2-digit" });
export const minute = format(time);
export const day = format({
  hourCycle: undefined,
  weekday: "long",
  year: "numeric",
  month: "long",
  day: "numeric",
});
export const stamp = format({ dateStyle: "medium", timeStyle: "medium" });
const monthly = format({ month: "short", day: "numeric", ...time });
export const words = (text) => String(text ?? "").replaceAll("_", " ");
export const sentence = (text) => words(text).replace(/^./, (letter) => letter.toUpperCase());

// "4 min", with the moment itself on hover; `now` is the server's, so clocks may differ.
export function since(at, now) {
  if (!at) return h("span", { class: "since" }, "–");
  return h(
    "time",
    { class: "since", datetime: new Date(at * 1000).toISOString(), title: stamp(at) },
    `for ${duration(now - at)}`,
  );
}

// The moment at which something began: the time of day, with the day if that is another.
export const began = (at, now) => (now - at < 20 * 3600 ? minute(at) : monthly(at));

// How a state looks: good, warning, error or idle. A node without a pod of an
// externalTrafficPolicy Local Service is down as meant, and so is one that was not probed yet;
// words that this page does not know are told by their state alone.
export const AS_MEANT = new Set([
  "no_local_endpoint",
  "local_silent",
  "health_check_port",
  "probing",
  "service_empty",
]);
export function tone(state, reason) {
  if (state === "active" || state === "serving" || state === "live")
    return /fail_open|panic|kept/.test(reason ?? "") ? "warning" : "good";
  if (state === "down") return AS_MEANT.has(reason) ? "idle" : "error";
  if (["no_backend", "conflict", "failed", "stale"].includes(state)) return "error";
  if (["draining", "pending", "connecting"].includes(state)) return "warning";
  return "idle";
}
export const tag = (state, text, reason) =>
  h("span", { class: "tag", "data-tone": tone(state, reason) }, words(text ?? state));

export function panel(title, more, ...children) {
  return h("section", { class: "panel" }, h("header", null, h("h2", null, title), more), children);
}

// What a place says that has nothing to show.
export const blank = (title, ...text) =>
  h("div", { class: "blank" }, h("b", null, title), text.length ? h("p", null, text) : null);

export const serviceLink = (key) => `#/service/${encodeURIComponent(key)}`;
export const nodeLink = (cluster, node) =>
  `#/node/${encodeURIComponent(cluster)}/${encodeURIComponent(node)}`;

// A frontend's key without its cluster, where there is one cluster alone.
export const short = (key, store) =>
  (Object.keys(store.board.nodes).length > 1 ? key : key.replace(/^[^/]*\//, "")).replace(/\/TCP$/, "");

export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Words beside the pointer, or beside what the keyboard has chosen.
export function tooltip() {
  const element = h("div", { class: "tip", hidden: true });
  document.body.append(element);
  return {
    element,
    get shown() {
      return !element.hidden;
    },
    hide() {
      element.hidden = true;
    },
    show(children, x, y) {
      if (children) fill(element, children);
      element.hidden = false;
      const bounds = element.getBoundingClientRect();
      element.style.left = `${Math.max(8, Math.min(x + 16, window.innerWidth - bounds.width - 12))}px`;
      element.style.top = `${y + 20 + bounds.height > window.innerHeight ? Math.max(8, y - bounds.height - 14) : y + 20}px`;
    },
    remove() {
      element.remove();
    },
  };
}
