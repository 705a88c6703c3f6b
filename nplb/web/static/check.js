// A pasted manifest: what the API server would answer to each of its Services.

import { fill, h, panel, words } from "./dom.js";
import { sign } from "./notice.js";
import { ask } from "./session.js";

const EXAMPLE =
  "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  type: NodePort\n  selector: {app: web}\n  ports: [{port: 80, nodePort: 30080}]";

function number(port) {
  const what = port.port ? `${port.name || port.port}/${port.protocol}` : "health check";
  if (port.node_port) return `${what}: ${port.node_port} (${words(port.origin)})`;
  if (port.drawn_from)
    return `${what}: drawn from ${port.drawn_from.free} free of the ${port.drawn_from.band} band`;
  return `${what}: ${port.origin === "none" ? "no number" : words(port.origin)}`;
}

function answer(one) {
  const ports = [...one.ports, one.health_check].filter(Boolean);
  return h(
    "li",
    { class: "problem", "data-level": one.accepted ? "good" : "error" },
    sign(one.accepted ? "good" : "error"),
    h(
      "span",
      { class: "what" },
      `${one.service.namespace}/${one.service.name || "(no name)"}: ${one.accepted ? (one.rolled_back ? "given up" : "accepted") : "refused"}`,
    ),
    h("span", { class: "since" }, h("span", null, `${one.code}${one.reason ? ` ${one.reason}` : ""}`)),
    h(
      "span",
      { class: "remedy" },
      one.accepted ? ports.map(number).join("; ") : h("code", null, one.message),
      one.hint ? h("div", null, one.hint) : null,
      h("div", { class: "count" }, one.place.replace(/^manifest:/, "line ")),
    ),
  );
}

export function checkPanel(clusters) {
  const text = h("textarea", {
    rows: 9,
    spellcheck: "false",
    "aria-label": "Manifest, YAML or JSON",
    placeholder: EXAMPLE,
  });
  const cluster = h(
    "select",
    { "aria-label": "Cluster" },
    clusters.map((name) => h("option", { value: name }, name)),
  );
  const sent = h(
    "select",
    { "aria-label": "As which request" },
    h("option", { value: "create" }, "as kubectl create"),
    h("option", { value: "apply" }, "as kubectl apply"),
  );
  const go = h("button", { type: "button", class: "main", onclick: () => check() }, "Check");
  const result = h("div", { role: "status" });
  async function check() {
    if (!text.value.trim()) {
      text.focus();
      return;
    }
    go.disabled = true;
    fill(result, h("p", { class: "hint" }, "Asking…"));
    try {
      const query = new URLSearchParams({ cluster: cluster.value, as: sent.value });
      const page = await ask(`api/v1/ports/check?${query}`, {
        method: "POST",
        body: text.value,
        type: "application/yaml",
      });
      fill(
        result,
        h("ul", null, page.services.map(answer)),
        page.notes.map((note) => h("p", { class: "hint" }, note)),
      );
    } catch (error) {
      fill(
        result,
        h(
          "div",
          { class: "problem", "data-level": "error" },
          sign("error"),
          h("span", { class: "what" }, error.message),
        ),
      );
    } finally {
      go.disabled = false;
    }
  }
  return panel(
    "Check a manifest",
    h("span", { class: "more count" }, "what the API server would answer; nothing is sent to it"),
    h(
      "div",
      { class: "check" },
      text,
      h("div", { class: "filters" }, clusters.length > 1 ? cluster : null, sent, go),
      result,
    ),
  );
}
