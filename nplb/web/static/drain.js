// Draining a node and putting it back, and asking for the token that this needs.

import { fill, h } from "./dom.js";
import { ask, session } from "./session.js";

// A dialog that stays open until `act(values)` succeeds or somebody closes it. Returns whether.
export function dialog({ title, text, fields, action, act }) {
  return new Promise((resolve) => {
    const inputs = fields.map((field) =>
      h("input", {
        type: field.type ?? "text",
        name: field.name,
        value: field.value ?? "",
        autocomplete: "off",
        spellcheck: "false",
        maxlength: field.most ?? 512,
      }),
    );
    const said = h("p", { class: "refused", role: "alert", hidden: true });
    const go = h("button", { type: "button", class: "main", onclick: () => submit() }, action);
    const box = h(
      "dialog",
      {
        "aria-label": title,
        onkeydown: (event) => {
          if (event.key === "Enter" && event.target.tagName === "INPUT") {
            event.preventDefault();
            submit();
          }
        },
      },
      h("h2", null, title),
      text ? h("p", { class: "hint" }, text) : null,
      fields.map((field, n) => h("label", null, h("span", null, field.label), inputs[n])),
      said,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => box.close() }, "Cancel"),
        go,
      ),
    );
    let done = false;
    async function submit() {
      go.disabled = true;
      said.hidden = true;
      try {
        await act(Object.fromEntries(fields.map((field, n) => [field.name, inputs[n].value.trim()])));
        done = true;
        box.close();
      } catch (error) {
        said.hidden = false;
        fill(said, error.message);
      } finally {
        go.disabled = false;
      }
    }
    box.addEventListener("close", () => {
      box.remove();
      resolve(done);
    });
    document.body.append(box);
    box.showModal();
    (inputs.find((input) => !input.value) ?? go).focus();
  });
}

const tokenField = () => ({
  name: "token",
  label: "Token, kept in this tab until it is closed",
  type: "password",
});

// Ask for a token. `what` says what for.
export const askToken = (what) =>
  dialog({
    title: "A token is needed",
    text: what,
    fields: [tokenField()],
    action: "Use it",
    async act({ token }) {
      if (!token) throw new Error("Paste a line of admin.token_file or admin.read_token_file.");
      const before = session.token;
      session.token = token;
      try {
        await ask("api/v1/drains");
      } catch (error) {
        if (error.status === 401 || error.status === 429) {
          session.token = before;
          throw error;
        }
      }
    },
  });

async function change(path, options, { token }) {
  if (token) session.token = token;
  if (!session.token) throw new Error("A change needs a token: paste a line of admin.token_file.");
  try {
    return await ask(path, options);
  } catch (error) {
    if (error.status === 401 || error.status === 429) session.token = "";
    throw error;
  }
}

export function drainNode(cluster, node) {
  return dialog({
    title: `Drain ${node}`,
    action: "Drain",
    text: "It gets no new connection from any frontend until it is put back, also over restarts of nplb.",
    fields: [
      { name: "why", label: "Why" },
      { name: "who", label: "Your name", value: session.name, most: 128 },
      ...(session.token ? [] : [tokenField()]),
    ],
    async act(values) {
      session.name = values.who;
      const body = JSON.stringify({ cluster, node, why: values.why, who: values.who });
      try {
        await change("api/v1/drains", { method: "POST", body }, values);
      } catch (error) {
        if (!session.token && values.token === undefined) askAgain(() => drainNode(cluster, node));
        throw error;
      }
    },
  });
}

export async function undrainNode(cluster, node) {
  const path = `api/v1/drains/${encodeURIComponent(cluster)}/${encodeURIComponent(node)}`;
  if (session.token) {
    try {
      await change(path, { method: "DELETE" }, {});
      return true;
    } catch {
      /* the dialog tells, and asks again */
    }
  }
  return dialog({
    title: `Put ${node} back`,
    text: "It gets new connections again, where its probes succeed.",
    action: "Put back",
    fields: session.token ? [] : [tokenField()],
    act: (values) => change(path, { method: "DELETE" }, values),
  });
}

// A token that turned out wrong: the dialog that had no field for it makes way for one that has.
function askAgain(open) {
  document.querySelector("dialog")?.close();
  open();
}

// The button for a node, which is drained by hand or is not.
export function drainButton(cluster, node, isDrained, after) {
  const go = async () => {
    if (await (isDrained ? undrainNode : drainNode)(cluster, node)) after?.();
  };
  return h(
    "button",
    {
      type: "button",
      class: "small",
      "data-node": node,
      onclick: go,
      "aria-label": isDrained ? `Put ${node} back` : `Drain ${node}`,
    },
    isDrained ? "Put back" : "Drain",
  );
}
