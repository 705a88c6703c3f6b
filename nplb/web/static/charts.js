// Live charts of the last hour: uPlot over what /api/v1/history keeps.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { h, num, token, bytesText } from "./dom.js";
import { ask as get } from "./session.js";

const SPAN = 3600;
const STEP = 5;

export const CHARTS = [
  { title: "Connections open", series: [["active", "open", "--accent"]], show: num },
  { title: "Clients per second", series: [["accepted", "taken", "--accent"], ["failed", "failed", "--cell-bad"]], show: num },
  { title: "Throughput per second", series: [["bytes_out", "out", "--accent"], ["bytes_in", "in", "--cell-warn"]], show: bytesText },
];
const ORDER = ["active", "accepted", "failed", "bytes_in", "bytes_out"];

// Several charts over one history: of everything, or of one frontend.
export class Charts {
  #data = null;
  #plots = [];
  #closed = false;
  #sizes = new ResizeObserver(() => this.#resize());

  constructor(frontend, layout = "w4") {
    this.frontend = frontend;
    this.elements = CHARTS.map((chart) => {
      const values = chart.series.map(() => h("b", null, "–"));
      const body = h("div", { class: "chart", role: "img", "aria-label": chart.title });
      const legend = h("span", { class: "legend" }, chart.series.map(([, label, color], n) =>
        h("span", null, h("i", { style: { background: token(color) } }), `${label} `, values[n])));
      this.#plots.push({ chart, body, values, plot: null });
      return h("section", { class: `panel ${layout}` }, h("header", null, h("h2", null, chart.title), legend), body);
    });
    this.#load();
  }

  async #load() {
    try {
      const path = this.frontend ? `api/v1/history?frontend=${encodeURIComponent(this.frontend)}` : "api/v1/history";
      this.#data = await get(path);
    } catch {
      this.#data = null;
    }
    if (this.#closed || !this.#data) return;
    for (const one of this.#plots) this.#make(one);
  }

  #make(one) {
    const { chart, body } = one;
    const axis = { stroke: token("--faint"), grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const width = body.clientWidth || 300;
    one.plot = new uPlot({
      width, height: 150, padding: [8, 14, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { show: false },
      scales: { x: { time: true, range: () => this.#range() }, y: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] } },
      axes: [
        { ...axis, size: 24, space: 60, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })) },
        { ...axis, size: 58, space: 34, values: (_, ticks) => ticks.map((tick) => chart.show(tick)) },
      ],
      series: [{}, ...chart.series.map(([name, label, color], n) => ({
        label, stroke: token(color), width: 1.6, points: { show: false }, spanGaps: false,
        fill: n === 0 ? token(color) + "22" : undefined,
      }))],
      hooks: { setCursor: [(plot) => this.#values(one, plot.cursor.idx)] },
    }, this.#series(chart), body);
    this.#sizes.observe(body);
    this.#values(one, null);
  }

  #range() {
    const last = this.#data.at.at(-1) ?? Date.now() / 1000;
    const first = this.#data.at[0] ?? last - 60;
    return [Math.min(Math.max(first, last - SPAN), last - 600), last];
  }

  #series(chart) {
    return [this.#data.at, ...chart.series.map(([name]) => this.#data[name])];
  }

  #values(one, index) {
    one.chart.series.forEach(([name], n) => {
      const values = this.#data[name];
      const text = one.chart.show(values[index ?? values.length - 1]);
      if (one.values[n].textContent !== text) one.values[n].textContent = text;
    });
    if (index === null || index === undefined) {
      const said = one.chart.series.map(([name, label]) => `${label} ${one.chart.show(this.#data[name].at(-1))}`);
      one.body.setAttribute("aria-label", `${one.chart.title}, last hour. Now: ${said.join(", ")}`);
    }
  }

  // `numbers` are [active, accepted, failed, in, out], as the board has them.
  push(at, numbers) {
    const data = this.#data;
    if (!data || !numbers || at - (data.at.at(-1) ?? 0) < STEP - 0.5) return;
    data.at.push(at);
    ORDER.forEach((name, n) => data[name].push(numbers[n]));
    while (data.at[0] < at - SPAN) for (const values of [data.at, ...ORDER.map((name) => data[name])]) values.shift();
    for (const one of this.#plots) {
      one.plot?.setData(this.#series(one.chart));
      if (one.plot && (one.plot.cursor.idx === null || one.plot.cursor.idx === undefined)) this.#values(one, null);
    }
  }

  #resize() {
    for (const { plot, body } of this.#plots) {
      if (plot && body.clientWidth && body.clientWidth !== plot.width) plot.setSize({ width: body.clientWidth, height: 150 });
    }
  }

  close() {
    this.#closed = true;
    this.#sizes.disconnect();
    for (const { plot } of this.#plots) plot?.destroy();
  }
}
