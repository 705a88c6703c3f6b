// What a cell of the matrix says to the pointer, to a finger and to the keyboard.

import { bytesText, duration, h, num, words } from "./dom.js";
import { ask as get } from "./session.js";

// Tells what is under the pointer or the keyboard's focus: at once what the board knows, and the
// connections and the last probe as soon as they have been asked for.
export function describer(store, tip, said, matrix) {
  const details = new Map();
  let timer = null;

  async function fetchDetail(key) {
    const kept = details.get(key);
    if (kept && Date.now() - kept.at < 2000) return kept.page;
    const page = await get(`api/v1/frontend?key=${encodeURIComponent(key)}`);
    if (details.size > 50) details.clear();
    details.set(key, { at: Date.now(), page });
    return page;
  }

  function rowLines(chosen) {
    const [active, rate, failed, inward, outward] = store.board.traffic[chosen.index];
    return [
      h("div", null, words(chosen.row.state)),
      h("div", { class: "sub" }, `${chosen.row.listen.join(", ")} → NodePort ${chosen.row.node_port}`),
      h(
        "div",
        { class: "sub" },
        `${num(active)} open, ${num(rate)}/s new, ${num(failed)}/s failed, ${bytesText(inward + outward)}/s`,
      ),
    ];
  }

  function detailLines(page, one) {
    const bits = [];
    if (one.since) bits.push(`for ${duration(page.now - one.since)}`);
    if (one.traffic) bits.push(`${num(one.traffic.active)} open`);
    if (one.verdict?.probed_at)
      bits.push(
        `probed ${duration(page.now - one.verdict.probed_at)} ago${one.verdict.latency_seconds ? `, ${(one.verdict.latency_seconds * 1000).toFixed(1)} ms` : ""}`,
      );
    return [h("div", null, bits.join(" · ")), h("div", null, one.explanation.meaning)];
  }

  return (at, x, y) => {
    clearTimeout(timer);
    const { rows, columns } = matrix();
    const chosen = at && at.row >= 0 ? rows[at.row] : null;
    const node = at && at.column >= 0 ? columns[at.column] : null;
    if (!chosen && !node) {
      tip.hide();
      return;
    }
    const pair = chosen && node ? store.board.legend[chosen.row.cells[at.column]] : null;
    const lines = [];
    if (chosen)
      lines.push(
        h("div", { class: "name" }, `${chosen.row.namespace}/${chosen.row.name}:${chosen.row.port}`),
        ...(node ? [] : rowLines(chosen)),
      );
    if (node) lines.push(h("div", null, chosen ? "on " : "", h("b", null, node)));
    if (node && chosen)
      lines.push(h("div", null, pair ? `${words(pair[0])}: ${words(pair[1])}` : "no backend here"));
    const more = h("div", { class: "sub" });
    tip.show([...lines, more], x, y);
    said.textContent = lines.map((line) => line.textContent).join(", ");
    if (pair)
      timer = setTimeout(async () => {
        try {
          const page = await fetchDetail(chosen.row.key);
          const one =
            page.backends.find((backend) => backend.key.node === node) ??
            page.left_out.find((out) => out.node === node);
          if (!one || !tip.shown) return;
          more.replaceChildren(...detailLines(page, one));
          tip.show(null, x, y);
        } catch {
          /* the cell's own words are enough */
        }
      }, 120);
  };
}
