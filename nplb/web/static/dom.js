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

// Replace the children only if what they are made of has changed: keeps focus and selection.
export function refill(element, made_of, build) {
  const mark = JSON.stringify(made_of);
  if (element.madeOf === mark) return;
  element.madeOf = mark;
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const [name, value] = ["data-node", "href"].map((one) => [one, focused?.getAttribute(one)]).find(([, found]) => found) ?? [];
  fill(element, build());
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

export function bytes(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return ["–", ""];
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (Math.abs(value) < 999.5 || unit === "TB") return [value < 9.95 && unit !== "B" ? value.toFixed(1) : value.toFixed(0), unit];
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

export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
export const day = (at) => new Date(at * 1000).toLocaleDateString([], { weekday: "long", year: "numeric", month: "long", day: "numeric" });
export const stamp = (at) => new Date(at * 1000).toLocaleString([], { hour12: false });
export const words = (text) => text.replaceAll("_", " ");

// "4 min", with the moment itself on hover; `now` is the server's, so clocks may differ.
export function since(at, now) {
  if (!at) return h("span", { class: "since" }, "–");
  const stamped = new Date(at * 1000);
  return h("time", { class: "since", datetime: stamped.toISOString(), title: stamp(at) }, `for ${duration(now - at)}`);
}

export const tag = (state, text) => h("span", { class: "tag", "data-state": state }, words(text ?? state));

export function panel(title, more, ...children) {
  return h("section", { class: "panel" }, h("header", null, h("h2", null, title), more), children);
}

export const serviceLink = (key) => `#/service/${encodeURIComponent(key)}`;
export const nodeLink = (cluster, node) => `#/node/${encodeURIComponent(cluster)}/${encodeURIComponent(node)}`;

export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
