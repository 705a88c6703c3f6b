"""Rules for every test: under NPLB_TEST_ALL=1 a skipped test is a failed one, and what a test has
recorded as `told` stands at the end of the run."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.lab"]

# How long an example takes on a busy machine says nothing of the code. The same examples every
# time, so that a run says something of the change at hand; `make fuzz` looks for new ones.
settings.register_profile("nplb", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("NPLB_TEST_PROFILE", "nplb"))


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
