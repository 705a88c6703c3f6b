"""docs/metrics.md, made from the table of families: `python -m nplb.observe.document`."""

import sys
from pathlib import Path

from nplb.observe.families import FAMILIES, Family
from nplb.observe.ledger_metrics import LEDGER_FAMILIES

PATH = Path("docs/metrics.md")

_HEAD = """# Metrics

nplb serves Prometheus metrics at `/metrics` on its admin address. This page is made from the
code: `python -m nplb.observe.document`.

Labels are bounded by the cluster's size or by closed sets of words, the same words as in the
log, the API, the dashboard and `nplb status`. Clients' addresses are never labels. Metrics
marked *per backend* have one series per node of every frontend; with more than 5,000 backends
they are left out, the sums stay, and `nplb_backend_series_omitted` says so. Besides, there are
the usual `process_*` metrics of the control process.

`kube_apiserver_*` are the API server's own metrics as nplb's twin of its allocator sees them,
under their own names, with the cluster as label.

Alert rules and recording rules are in `deploy/prometheus/`, a Grafana dashboard is in
`deploy/grafana/`.

| metric | type | labels | what it says, and what to do with it |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page's text."""
    return _HEAD + "".join(f"{_row(family)}\n" for family in (*FAMILIES, *LEDGER_FAMILIES))


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    mark = "; *per backend*" if family.per_backend else ""
    text = family.help.replace("|", "\\|")
    return f"| `{family.name}` | {family.kind}{mark} | {labels} | {text} |"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH}\n")
