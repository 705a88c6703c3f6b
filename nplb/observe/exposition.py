"""Metric families as Prometheus text or OpenMetrics: what a scrape is answered with.

prometheus_client writes both, at some 12 microseconds a sample, since it serves every kind of
name and value. A large plan makes tens of thousands of samples; for the plain names and
labels that nplb has, this takes a quarter of that.
"""

from collections.abc import Iterable
from functools import lru_cache

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def content_type(accept: str) -> str:
    """TEXT or OPENMETRICS, as an Accept header asks."""
    _, chosen = choose_encoder(accept)
    return OPENMETRICS if chosen.startswith("application/openmetrics-text") else TEXT


def encode(families: Iterable[Metric], form: str) -> bytes:
    """The families in the given form, in their order."""
    openmetrics = form is OPENMETRICS
    lines: list[str] = []
    write = lines.append
    for family in families:
        name = family.name
        if family.type == "counter" and not openmetrics:
            name += "_total"
        text = family.documentation.replace("\\", "\\\\").replace("\n", "\\n")
        if openmetrics:
            text = text.replace('"', '\\"')
        write(f"# HELP {name} {text}\n# TYPE {name} {family.type}\n")
        for sample in family.samples:
            value = _number(sample.value)
            if sample.labels:
                pairs = ",".join([f'{k}="{_escape(v)}"' for k, v in sample.labels.items()])
                write(f"{sample.name}{{{pairs}}} {value}\n")
            else:
                write(f"{sample.name} {value}\n")
    if openmetrics:
        write("# EOF\n")
    return "".join(lines).encode()


def _number(value: float) -> str:
    number = float(value)
    # The short form is the same for all but large numbers and those that are none.
    return repr(number) if -1e6 < number < 1e6 else str(floatToGoString(number))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=65_536)
def _escape(value: str) -> str:
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
