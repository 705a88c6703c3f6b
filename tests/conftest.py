"""Rules for every test: under NPLB_TEST_ALL=1 a skipped test is a failed one, what a test has
recorded as `told` stands at the end of the run, and tests in a browser share one."""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.support.lab"]

# How long an example takes on a busy machine says nothing of the code. The same examples every
# time, so that a run says something of the change at hand; `make fuzz` looks for new ones.
settings.register_profile("nplb", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("NPLB_TEST_PROFILE", "nplb"))


class OneBrowser(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """One test at a time to whoever is free, for batches leave one worker with all the slow ones;
    but those of the dashboard to one, and first: a browser, and the edge that it looks at, cost
    more to start than most tests take."""

    def _split_scope(self, nodeid: str) -> str:
        return "the dashboard" if nodeid.startswith("tests/ui/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneBrowser | None:
    return OneBrowser(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes, stays to the end: to look through it for garbage, again and again,
    would take as long as collecting."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NPLB_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped under NPLB_TEST_ALL=1: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = {
        str(text)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
        for name, text in report.user_properties
        if name == "told"
    }
    if told:
        terminalreporter.section("told")
        for text in sorted(told):
            terminalreporter.line(text)
