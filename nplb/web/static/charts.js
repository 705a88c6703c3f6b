// Live charts of the last hour: uPlot over what /api/v1/history keeps.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { bytes, bytesText, h, minute, num, token } from "./dom.js";
import { ask as get } from "./session.js";

const SPAN = 3600;
const STEP = 5;
const ORDER = ["active", "accepted", "failed", "bytes_in", "bytes_out"];

const perSecond = (value) => [num(value), "/s"];
export const CHARTS = [
  {
    title: "Connections open",
    series: [["active", "open", "--accent"]],
    show: num,
    big: (d) => [num(d.active), ""],
  },
  {
    title: "New clients",
    series: [["accepted", "new", "--accent"]],
    show: num,
    big: (d) => perSecond(d.accepted),
  },
  {
    title: "Clients not served",
    series: [["failed", "failed", "--cell-bad"]],
    show: num,
    big: (d) => perSecond(d.failed),
  },
  {
    title: "Throughput",
    series: [
      ["bytes_out", "out", "--accent"],
      ["bytes_in", "in", "--second"],
    ],
    show: bytesText,
    least: 1000,
    big(d) {
      const [value, unit] = bytes((d.bytes_in ?? 0) + (d.bytes_out ?? 0));
      return [value, `${unit}/s`];
    },
  },
];

// Several charts over one history: of everything, or of one frontend. `marks` gives the moments
// at which something went wrong.
export class Charts {
  #data = null;
  #plots = [];
  #closed = false;
  #ended = null;
  #sizes = new ResizeObserver(() => this.#resize());

  constructor(frontend, marks = () => []) {
    this.frontend = frontend;
    this.marks = marks;
    this.elements = CHARTS.map((chart) => {
      const value = h("div", { class: "value" }, "–");
      const values = chart.series.map(() => h("b", null, "–"));
      const when = h("span");
      const body = h("div", { class: "chart", role: "img", "aria-label": chart.title });
      const legend = h(
        "div",
        { class: "legend" },
        when,
        chart.series.length < 2
          ? null
          : chart.series.map(([, label, color], n) =>
              h("span", null, h("i", { style: { background: token(color) } }), `${label} `, values[n]),
            ),
      );
      this.#plots.push({ chart, body, value, values, when, plot: null });
      return h(
        "section",
        { class: "panel chartbox w3" },
        h("div", { class: "top" }, h("div", null, h("h2", null, chart.title), value), legend),
        body,
      );
    });
    this.#load();
  }

  // Per second, the ends of connections by reason; null before it is known.
  get ends() {
    return this.#data && { at: this.#data.at, ends: this.#data.ends ?? {} };
  }

  async #load() {
    try {
      const path = this.frontend
        ? `api/v1/history?frontend=${encodeURIComponent(this.frontend)}`
        : "api/v1/history";
      this.#data = await get(path);
    } catch {
      this.#data = null;
    }
    if (this.#closed || !this.#data) return;
    for (const one of this.#plots) this.#make(one);
  }

  #make(one) {
    const { chart, body } = one;
    const axis = {
      stroke: token("--faint"),
      grid: { stroke: token("--line"), width: 1 },
      ticks: { show: false },
      font: `11px ${token("--sans")}`,
    };
    one.plot = new uPlot(
      {
        width: body.clientWidth || 300,
        height: body.clientHeight || 122,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, sync: { key: "hour" }, drag: { x: false, y: false } },
        scales: {
          x: { time: true, range: () => this.#range() },
          y: { range: (_, __, max) => [0, Math.max(max * 1.15, chart.least ?? 1)] },
        },
        axes: [
          { ...axis, size: 22, space: 56, values: (_, ticks) => ticks.map(minute) },
          {
            ...axis,
            size: 50,
            space: 32,
            incrs:
              chart.show === num
                ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7]
                : undefined,
            values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : chart.show(tick))),
          },
        ],
        series: [
          {},
          ...chart.series.map(([, label, color], n) => ({
            label,
            stroke: token(color),
            width: 1.6,
            points: { show: false },
            spanGaps: false,
            fill: n === 0 ? `${token(color)}20` : undefined,
          })),
        ],
        hooks: {
          setCursor: [(plot) => this.#values(one, plot.cursor.idx)],
          draw: [(plot) => this.#mark(plot)],
        },
      },
      this.#series(chart),
      body,
    );
    this.#sizes.observe(body);
    this.#values(one, null);
  }

  // A short stroke at the bottom for each moment of trouble.
  #mark(plot) {
    const { ctx, bbox } = plot;
    const [from, to] = [plot.scales.x.min, plot.scales.x.max];
    ctx.save();
    ctx.fillStyle = token("--cell-bad");
    let last = -9;
    for (const at of this.marks()) {
      if (at < from || at > to) continue;
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x - last < 3) continue;
      last = x;
      ctx.fillRect(
        x - 1,
        bbox.top + bbox.height - 7 * devicePixelRatio,
        2 * devicePixelRatio,
        7 * devicePixelRatio,
      );
    }
    ctx.restore();
  }

  #range() {
    const last = this.#data.at.at(-1) ?? Date.now() / 1000;
    const first = this.#data.at[0] ?? last - 60;
    return [Math.min(Math.max(first, last - SPAN), last - 180), last];
  }

  #series(chart) {
    return [this.#data.at, ...chart.series.map(([name]) => this.#data[name])];
  }

  #values(one, index) {
    const { chart } = one;
    const n = index ?? this.#data.at.length - 1;
    const now = Object.fromEntries(ORDER.map((name) => [name, this.#data[name][n]]));
    const [value, unit] = chart.big(now);
    put(one.value, `${value}\n${unit}`, () => [value, unit ? h("span", { class: "unit" }, unit) : null]);
    chart.series.forEach(([name], k) => put(one.values[k], chart.show(now[name])));
    put(one.when, index === null || index === undefined ? "" : minute(this.#data.at[n]));
    one.value.parentElement.parentElement.parentElement.dataset.level =
      chart.title === "Clients not served" && now.failed > 0 ? "error" : "";
    if (index === null || index === undefined) {
      one.body.setAttribute(
        "aria-label",
        `${chart.title}, last hour. Now: ${chart.series.map(([name, label]) => `${label} ${chart.show(now[name])}`).join(", ")}`,
      );
    }
  }

  // `numbers` are [active, accepted, failed, in, out], as the board has them; `ends` are counts.
  push(at, numbers, ends = null) {
    const data = this.#data;
    const last = data?.at.at(-1) ?? 0;
    if (!data || !numbers || at - last < STEP - 0.5) return;
    data.at.push(at);
    ORDER.forEach((name, n) => data[name].push(numbers[n]));
    if (ends) this.#pushEnds(at, ends);
    while (data.at[0] < at - SPAN) {
      for (const values of [data.at, ...ORDER.map((name) => data[name]), ...Object.values(data.ends ?? {})])
        values.shift();
    }
    for (const one of this.#plots) {
      one.plot?.setData(this.#series(one.chart));
      if (one.plot && (one.plot.cursor.idx === null || one.plot.cursor.idx === undefined))
        this.#values(one, null);
    }
  }

  #pushEnds(at, counts) {
    const { ends } = this.#data;
    const before = this.#ended;
    for (const reason of Object.keys(counts)) ends[reason] ??= new Array(this.#data.at.length - 1).fill(0);
    for (const [reason, values] of Object.entries(ends)) {
      const more = before ? Math.max((counts[reason] ?? 0) - (before.counts[reason] ?? 0), 0) : 0;
      values.push(before ? more / (at - before.at) : 0);
    }
    this.#ended = { at, counts: { ...counts } };
  }

  #resize() {
    for (const { plot, body } of this.#plots) {
      if (
        plot &&
        body.clientWidth &&
        (body.clientWidth !== plot.width || body.clientHeight !== plot.height)
      ) {
        plot.setSize({ width: body.clientWidth, height: body.clientHeight });
      }
    }
  }

  close() {
    this.#closed = true;
    this.#sizes.disconnect();
    for (const { plot } of this.#plots) plot?.destroy();
  }
}

function put(element, text, build = () => text) {
  if (element.shown === text) return;
  element.shown = text;
  element.replaceChildren(...[build()].flat().filter((one) => one !== null && one !== ""));
}
