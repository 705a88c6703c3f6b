// Boot: the store, the theme, the router. A page is {element, update(), close()}.

import { clock, duration, fill, h, refill } from "./dom.js";
import { Store } from "./store.js";
import { askToken } from "./drain.js";
import { overview } from "./overview.js";
import { services } from "./matrix.js";
import { service } from "./service.js";
import { node, nodes } from "./node.js";
import { ports } from "./ports.js";
import { problems, verdict } from "./problems.js";
import { timeline } from "./timeline.js";

const pages = { "": overview, services, service, nodes, node, ports, timeline };
const titles = {
  "": "Overview",
  services: "Services",
  service: "Service",
  nodes: "Nodes",
  node: "Node",
  ports: "Ports",
  timeline: "Timeline",
};
const parents = { service: "services", node: "nodes" };
const store = new Store();
const main = document.getElementById("main");
let page = null;
let shown = null;
let place = "nplb";

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const args = rest.map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name: name in pages ? name : "", args, query: new URLSearchParams(query ?? "") };
}

function show() {
  if (!store.board) return;
  const { name, args, query } = route();
  page?.close?.();
  try {
    page = pages[name](store, args, query);
  } catch (error) {
    page = { element: h("p", { class: "hint" }, `This page could not be drawn: ${error.message}`) };
    console.error(error);
  }
  fill(main, page.element);
  page.update?.();
  place = `${args.length && parents[name] ? `${args.at(-1)} · ` : ""}${titles[name]} · nplb`;
  showHealth();
  for (const link of document.querySelectorAll("#nav a")) {
    const target = link.getAttribute("href").replace(/^#\/?/, "");
    if (target === (parents[name] ?? name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown !== null && shown !== location.hash) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  shown = location.hash;
}

// The verdict, on every page and on the browser's tab.
function showHealth() {
  const stale = store.state !== "live";
  const found = stale ? [] : problems(store);
  // What is old says nothing of now.
  const [level, text] = stale ? ["none", "unknown"] : verdict(store, found);
  const chip = document.getElementById("health");
  chip.hidden = false;
  chip.dataset.level = level;
  if (chip.textContent !== text) chip.textContent = text;
  const errors = found.filter((one) => one.level === "error").length;
  const title = `${stale ? "(stale) " : errors ? `(${errors}) ` : ""}${place}`;
  if (document.title !== title) document.title = title;
  const icon = `static/icon${level === "error" || level === "warning" ? `-${level}` : ""}.svg`;
  const link = document.querySelector("link[rel=icon]");
  if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
}

function showState() {
  const live = document.getElementById("live");
  live.dataset.state = store.state;
  const text = { live: "live", stale: "stale", connecting: "connecting", locked: "token needed" }[
    store.state
  ];
  if (live.textContent !== text) live.textContent = text;
  if (store.state === "locked") {
    unlock();
    return;
  }
  const banner = document.getElementById("stale");
  const stale = store.state === "stale";
  banner.hidden = !stale;
  document.body.classList.toggle("is-stale", stale);
  if (store.board) showHealth();
  if (stale) {
    const text = `No news from nplb for ${duration((Date.now() - store.seenAt) / 1000)}. What you see is from ${clock(store.board.at)}; trying to reconnect.`;
    if (banner.textContent !== text) banner.textContent = text;
  }
}

let asking = false;
async function unlock() {
  fill(
    main,
    h(
      "section",
      { class: "panel flow" },
      h("h1", null, "Reading needs a token"),
      h(
        "p",
        { class: "hint" },
        "It is a line of admin.read_token_file or admin.token_file on the edge, and is kept in this tab until it is closed.",
      ),
      h("p", null, h("button", { type: "button", class: "main", onclick: () => unlock() }, "Enter a token")),
    ),
  );
  page?.close?.();
  page = null;
  if (asking) return;
  asking = true;
  const given = await askToken("Without one this page may not be read from where you are.");
  asking = false;
  if (given) store.reconnect();
}

function showFoot() {
  const o = store.board.overview;
  refill(
    document.getElementById("foot"),
    [o.version, Math.floor(o.now / 10), o.plan, o.passes, o.config_path],
    () => [
      h("span", null, `nplb ${o.version}`),
      h("span", null, `up ${duration(o.now - o.started_at)}`),
      h("span", { class: "mono" }, o.config_path),
      h("span", null, `plan ${o.plan}, ${o.passes} passes`),
      h("a", { href: "api/v1/openapi.json" }, "API"),
      h("a", { href: "metrics" }, "Metrics"),
      h("button", { type: "button", class: "link", onclick: showKeys }, "Keys"),
    ],
  );
}

function showKeys() {
  if (document.querySelector("dialog")) return;
  const keys = [
    ["1 … 5", "the pages"],
    ["/", "the filter of a page"],
    ["t", "light and dark"],
    ["arrows, Enter", "move in the matrix and in the port map"],
    ["Esc", "leave"],
    ["?", "this"],
  ];
  const close = h("button", { type: "button", class: "main", onclick: () => box.close() }, "Close");
  const box = h(
    "dialog",
    { "aria-label": "Keys", onclose: () => box.remove() },
    h("h2", null, "Keys"),
    h(
      "dl",
      null,
      keys.map(([key, text]) => [h("dt", null, h("kbd", null, key)), h("dd", null, text)]),
    ),
    h("div", { class: "actions" }, close),
  );
  document.body.append(box);
  box.showModal();
  close.focus();
}

const themes = window.matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("nplb-theme");
  } catch {
    /* storage is off */
  }
  document.documentElement.dataset.theme = chosen ?? (themes.matches ? "dark" : "light");
}
function switchTheme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("nplb-theme", next);
  } catch {
    /* storage is off */
  }
  document.documentElement.dataset.theme = next;
  show();
}
applyTheme();
themes.addEventListener("change", () => {
  applyTheme();
  show();
});
document.getElementById("theme").addEventListener("click", switchTheme);

document.addEventListener("keydown", (event) => {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)
  )
    return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "t") switchTheme();
  else if (event.key === "?") showKeys();
  else if (event.key === "/") {
    const search = main.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if ("12345".includes(event.key)) {
    location.hash = document.querySelectorAll("#nav a")[Number(event.key) - 1].getAttribute("href");
  }
});

window.addEventListener("hashchange", show);
store.addEventListener("board", () => {
  if (page) page.update?.();
  else show();
  showHealth();
  showFoot();
});
store.addEventListener("decisions", () => page?.update?.());
store.addEventListener("state", showState);
showState();
store.start();
