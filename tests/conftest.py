"""Rules for every test: under NPLB_TEST_ALL=1 a skipped test is a failed one."""

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.support.lab"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NPLB_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped under NPLB_TEST_ALL=1: {report.longrepr}"
    return report
