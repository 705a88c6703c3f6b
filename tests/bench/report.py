"""What a run of the benchmark found: tables, a chart, a page."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Series = dict[str, list[float]]

# load, figure -> what it is, and whether more is better
FIGURES: dict[tuple[str, str], tuple[str, bool]] = {
    ("kept", "per_second"): ("requests on kept connections, per second", True),
    ("kept", "cpu_us"): ("CPU per request, µs", False),
    ("kept", "machine_us"): ("CPU of the whole machine per request, µs", False),
    ("new", "per_second"): ("new connections, per second", True),
    ("new", "cpu_us"): ("CPU per connection, µs", False),
    ("new", "machine_us"): ("CPU of the whole machine per connection, µs", False),
    ("up", "gbit_per_second"): ("bulk toward the node, Gbit/s", True),
    ("up", "cpu_ms_per_gb"): ("CPU per GB toward the node, ms", False),
    ("down", "gbit_per_second"): ("bulk from the node, Gbit/s", True),
    ("down", "cpu_ms_per_gb"): ("CPU per GB from the node, ms", False),
    ("latency", "p50_us"): ("median latency at 4000 requests/s, µs", False),
    ("latency", "p99_us"): ("99th percentile at 4000 requests/s, µs", False),
    ("idle", "bytes_per_connection"): ("memory per idle connection, bytes", False),
}

# What is to be reached: a contender, another, load, figure, ratio of the first's to the other's.
TARGETS: tuple[tuple[str, str, str, str, float], ...] = (
    ("nplb", "haproxy-tuned", "kept", "per_second", 1.0),
    ("nplb", "haproxy-tuned", "new", "per_second", 0.95),
    ("nplb", "haproxy-tuned", "new", "cpu_us", 1.1),
    ("nplb", "haproxy-tuned", "up", "gbit_per_second", 1.0),
    ("nplb", "haproxy-tuned", "down", "gbit_per_second", 1.0),
    ("nplb", "haproxy-tuned", "up", "cpu_ms_per_gb", 1.0),
    ("nplb", "haproxy-tuned", "down", "cpu_ms_per_gb", 1.0),
    ("nplb", "haproxy-tuned", "latency", "p99_us", 1.1),
    ("nplb", "haproxy", "up", "gbit_per_second", 1.5),
    ("nplb", "haproxy", "down", "gbit_per_second", 1.5),
    ("nplb", "nginx", "kept", "per_second", 1.0),
    ("nplb", "nginx", "new", "per_second", 1.0),
    ("nplb", "nginx", "up", "gbit_per_second", 1.0),
    ("nplb", "nginx", "down", "gbit_per_second", 1.0),
    ("nplb-kernel", "direct", "kept", "per_second", 0.95),
    ("nplb-kernel", "direct", "new", "per_second", 0.95),
    ("nplb-kernel", "direct", "up", "gbit_per_second", 0.95),
    ("nplb-kernel", "direct", "down", "gbit_per_second", 0.95),
    ("nplb-kernel", "haproxy-tuned", "kept", "per_second", 1.2),
    ("nplb-kernel", "haproxy-tuned", "new", "per_second", 1.4),
    # With 2,000 other frontends of 100 backends installed: the same within noise.
    ("nplb-kernel-2000", "nplb-kernel", "kept", "per_second", 0.95),
    ("nplb-kernel-2000", "nplb-kernel", "new", "per_second", 0.95),
    ("nplb-kernel-fast", "direct", "kept", "per_second", 0.95),
    ("nplb-kernel-fast", "direct", "new", "per_second", 0.95),
    ("nplb-kernel-fast", "direct", "up", "gbit_per_second", 0.95),
    ("nplb-kernel-fast", "direct", "down", "gbit_per_second", 0.95),
    ("nplb-kernel-fast", "haproxy-tuned", "kept", "per_second", 1.2),
    ("nplb-kernel-fast", "haproxy-tuned", "new", "per_second", 1.4),
    ("nplb-kernel-fast-2000", "nplb-kernel-fast", "kept", "per_second", 0.95),
    ("nplb-kernel-fast-2000", "nplb-kernel-fast", "new", "per_second", 0.95),
)


INTRODUCTION = """\
# Benchmarks

The last full run of `make bench`: nplb's planes beside HAProxy (as most run it, and tuned:
256 KiB buffers, 1 MiB pipes, splice both ways) and nginx's stream module, between the same
client and the same servers, in four network namespaces on one machine. `direct` is the client
on the servers without anything between, spread over them by a route alone: the limit.
Contenders take turns in {rounds} rounds: in each 2 s of requests, 4 s of new connections, three
times 1 s of bulk either way, and 1 s at a fixed rate. The tables have means without the least and
the greatest value, and ratios of these, with their standard errors: single values differ by a
tenth and more from one second to the next, whoever is measured. CPU is the balancer's own processes
unless it says otherwise. Client, balancer and servers share the machine, so the figures say how the
contenders compare, and not what any of them reaches on hardware of its own.
`nplb-kernel` is the kernel plane's nftables table, `nplb-kernel-fast` the same with
`kernel.fast_path`; `-2000` is either with 2,000 other frontends of 100 backends installed.
"""


@dataclass(slots=True, kw_only=True)
class Run:
    """All figures of a run: by threads, contender and load; each figure has a value for each time
    that it was measured."""

    machine: dict[str, str]
    versions: dict[str, str]
    rounds: int
    figures: dict[int, dict[str, dict[str, Series]]] = field(default_factory=dict)

    def add(self, threads: int, contender: str, load: str, found: dict[str, float]) -> None:
        """What one measurement of a load has found."""
        series = self.figures.setdefault(threads, {}).setdefault(contender, {}).setdefault(load, {})
        for name, value in found.items():
            series.setdefault(name, []).append(value)

    def values(self, threads: int, contender: str, load: str, figure: str) -> list[float]:
        """One figure's values; empty when it was not measured."""
        return self.figures.get(threads, {}).get(contender, {}).get(load, {}).get(figure, [])

    def ratio(
        self, threads: int, name: str, other: str, load: str, figure: str
    ) -> tuple[float, float] | None:
        """One contender's figure over another's, and the standard error of that."""
        mine = self.values(threads, name, load, figure)
        theirs = self.values(threads, other, load, figure)
        if not mine or not any(theirs):
            return None
        found = mean(mine) / mean(theirs)
        return found, found * math.hypot(_error(mine), _error(theirs))

    def as_json(self) -> dict[str, Any]:
        """Everything, for bench.json."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "figures": {str(threads): figures for threads, figures in self.figures.items()},
            "targets": [
                {
                    "of": name,
                    "to": to,
                    "load": load,
                    "figure": figure,
                    "wanted": wanted,
                    "found": found,
                    "error": error,
                }
                for name, to, load, figure, wanted, found, error, _ in judge(self)
            ],
        }


def mean(values: list[float]) -> float:
    """Without the least and the greatest where there are five or more."""
    return statistics.fmean(sorted(values)[1:-1] if len(values) >= 5 else values)


def _error(values: list[float]) -> float:
    """The standard error of the mean, as a part of it."""
    return statistics.stdev(values) / math.sqrt(len(values)) / mean(values) if values[1:] else 0.0


def judge(run: Run) -> Iterator[tuple[str, str, str, str, float, float, float, bool]]:
    """Each target with the ratio that one thread reached, its error, and whether it is enough."""
    for name, to, load, figure, wanted in TARGETS:
        ratio = run.ratio(1, name, to, load, figure)
        if ratio is not None:
            enough = ratio[0] >= wanted if FIGURES[load, figure][1] else ratio[0] <= wanted
            yield name, to, load, figure, wanted, *ratio, enough


def tables(run: Run) -> Iterator[list[str]]:
    """For each number of threads a table: a head, a line of dashes, a row for each figure."""
    for threads, contenders in run.figures.items():
        names = list(contenders)
        names.sort(
            key=lambda name: ("direct", "nplb").index(name) if name in ("direct", "nplb") else 9
        )
        plural = "thread or worker" if threads == 1 else "threads or workers"
        lines = [
            f"| {threads} {plural} | " + " | ".join(names) + " |",
            "| --- " * (len(names) + 1) + "|",
        ]
        for (load, figure), (text, _) in FIGURES.items():
            cells = [run.values(threads, name, load, figure) for name in names]
            if any(cells):
                shown = [_short(mean(values)) if values and any(values) else "" for values in cells]
                lines.append(f"| {text} | " + " | ".join(shown) + " |")
        yield lines


def target_lines(run: Run) -> list[str]:
    """The targets as a table."""
    lines = [
        "| of | compared with | figure | wanted | reached | error | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, to, load, figure, wanted, found, error, enough in judge(run):
        text, more = FIGURES[load, figure]
        wish = f"{'≥' if more else '≤'} {wanted:g}"
        met = "yes" if enough else "no"
        lines.append(f"| {name} | {to} | {text} | {wish} | {found:.3f} | ± {error:.3f} | {met} |")
    return lines


def print_tables(run: Run) -> None:
    """All of it on the terminal."""
    for lines in (*tables(run), target_lines(run)):
        print()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        del rows[1]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def write_page(run: Run, page: Path) -> None:
    """The page that tells of a run."""
    rounds = []
    for threads, contenders in run.figures.items():
        for name, loads in contenders.items():
            for load, series in loads.items():
                for figure, values in series.items():
                    if any(values):
                        shown = ", ".join(_short(value) for value in values)
                        rounds.append(f"| {threads} | {name} | {load} | {figure} | {shown} |")
    parts = [
        INTRODUCTION.format(rounds=run.rounds),
        "![The figures as a chart](benchmarks.png)",
        "",
        "## Machine",
        *[f"- {name}: {value}" for name, value in {**run.machine, **run.versions}.items()],
        "",
        "## Targets, one thread each",
        *target_lines(run),
        "",
        "## Figures",
    ]
    for lines in tables(run):
        parts += ["", *lines]
    parts += [
        "",
        "## Every measurement",
        "| threads | contender | load | figure | values |",
        "| --- | --- | --- | --- | --- |",
        *rounds,
    ]
    notes = page.with_name("benchmarks-notes.md")
    if notes.exists():
        parts += ["", notes.read_text().strip()]
    page.write_text("\n".join(parts) + "\n")


def write_chart(run: Run, file: Path) -> None:
    """Bars of each figure, one thread each. Needs matplotlib; without it there is no chart."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no chart: matplotlib is not installed (pip install 'nplb[bench]')")
        return
    mpl.use("Agg")
    from matplotlib import pyplot

    colours = {
        "direct": "#9aa0a6",
        "nplb": "#0b6e4f",
        "nplb-kernel": "#5aa469",
        "nplb-kernel-fast": "#8fd19e",
        "haproxy-tuned": "#2b6cb0",
        "haproxy": "#90b4d8",
        "nginx": "#b7791f",
    }
    shown = [
        key
        for key in FIGURES
        if any(any(run.values(1, name, *key)) for name in run.figures.get(1, {}))
    ]
    rows = -(-len(shown) // 3)
    figure, axes = pyplot.subplots(rows, 3, figsize=(13, 2.7 * rows), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (load, name) in zip(axes.flat, shown, strict=False):
        text, more = FIGURES[load, name]
        names = [n for n in colours if any(run.values(1, n, load, name))]
        means = [mean(run.values(1, n, load, name)) for n in names]
        bars = axis.barh(names, means, color=[colours[n] for n in names])
        axis.bar_label(bars, [_short(value) for value in means], padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.set_title(f"{text}\n({'more' if more else 'less'} is better)", fontsize=9)
        axis.set_xlim(0, max(means) * 1.2)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
