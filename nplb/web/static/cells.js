// The cells of the matrix: states differ by shape as well as by colour. A full one is active, a
// half one drains, a cross is down, a ring is not used.

import { h, token, tone } from "./dom.js";

export const cellColors = () => ({
  good: token("--cell-good"),
  warn: token("--cell-warn"),
  bad: token("--cell-bad"),
  none: token("--strong"),
  idle: token("--cell-idle"),
  warnSoft: `${token("--cell-warn")}40`,
  badSoft: `${token("--cell-bad")}30`,
  text: token("--text"),
  soft: token("--soft"),
  faint: token("--faint"),
  line: token("--line"),
  panel: token("--panel"),
  accent: token("--accent"),
  accentSoft: token("--accent-soft"),
  sans: token("--sans"),
});

export function drawCell(c, pair, x, y, width, height, colors) {
  const centre = [x + width / 2, y + height / 2];
  if (!pair) {
    c.fillStyle = colors.none;
    c.fillRect(centre[0] - 1.5, centre[1] - 1.5, 3, 3);
    return;
  }
  const of = tone(...pair);
  const box = (fill) => {
    c.fillStyle = fill;
    c.beginPath();
    c.roundRect(x, y, width, height, Math.min(3.5, width / 4));
    c.fill();
  };
  if (of === "good") box(colors.good);
  else if (of === "warning") {
    box(colors.warnSoft);
    c.fillStyle = colors.warn;
    c.beginPath();
    c.moveTo(x, y + height);
    c.lineTo(x, y);
    c.lineTo(x + width, y);
    c.fill();
  } else if (of === "error") {
    // A small one is full, with its cross cut out.
    const small = width < 13;
    box(small ? colors.bad : colors.badSoft);
    const arm = Math.min(width, height) * 0.28;
    c.strokeStyle = small ? colors.panel : colors.bad;
    c.lineWidth = Math.max(1.6, Math.min(width, height) / 7);
    c.lineCap = "round";
    c.beginPath();
    c.moveTo(centre[0] - arm, centre[1] - arm);
    c.lineTo(centre[0] + arm, centre[1] + arm);
    c.moveTo(centre[0] + arm, centre[1] - arm);
    c.lineTo(centre[0] - arm, centre[1] + arm);
    c.stroke();
  } else {
    c.strokeStyle = colors.idle;
    c.lineWidth = 1.6;
    c.beginPath();
    c.arc(...centre, Math.min(width, height) * 0.27, 0, Math.PI * 2);
    c.stroke();
  }
}

export function keys() {
  return h(
    "div",
    { class: "keys", "aria-hidden": "true" },
    [
      ["good", "active"],
      ["warning", "draining"],
      ["error", "down"],
      ["idle", "not used"],
    ].map(([of, text]) => h("span", null, h("i", { class: "key", "data-tone": of }), text)),
  );
}
