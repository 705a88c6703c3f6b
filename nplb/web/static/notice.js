// One line of what is wrong, or well: a sign, what, since when, and what to do.

import { began, clock, duration, h, svg } from "./dom.js";

const signs = {
  error: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M9 9l6 6", "M15 9l-6 6"],
  warning: ["M12 4 2.8 20h18.4z", "M12 10v4.5", "M12 17.2v.1"],
  info: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M12 11v5.5", "M12 7.8v.1"],
  good: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M8 12.5l2.8 2.8L16 9.5"],
};

export const sign = (of) => svg(signs[of] ?? signs.info);

// One thing to be told: {level, text, link, since, remedy}.
export function notice(one, now) {
  return h(
    "li",
    { class: "problem", "data-level": one.level },
    sign(one.level),
    h(
      "span",
      { class: "what" },
      h("span", { class: "visually-hidden" }, `${one.level}: `),
      one.link ? h("a", { href: one.link }, one.text) : one.text,
    ),
    one.since
      ? h(
          "span",
          { class: "since", title: clock(one.since) },
          h("b", null, duration(now - one.since)),
          h("span", null, `since ${began(one.since, now)}`),
        )
      : null,
    one.remedy ? h("span", { class: "remedy" }, one.remedy) : null,
  );
}
