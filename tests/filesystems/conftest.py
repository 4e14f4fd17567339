"""What the stories on other filesystems start from, and the table that they end with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import clips, fresh, learned

__all__ = ["clips", "fresh", "learned"]

_ROWS: list[tuple[str, str, str, str]] = []


@pytest.fixture
def row(request) -> Any:
    """Notes what the probe said of a filesystem; the outcome is the test's."""
    told: dict[str, str] = {}
    request.node.stash[_TOLD] = told
    return told


_TOLD = pytest.StashKey[dict[str, str]]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ARG001 - the hook has it
    report = (yield).get_result()
    if _TOLD in item.stash and (report.when == "call" or report.skipped):
        told = item.stash[_TOLD]
        why = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
        result = {"passed": "good", "failed": "NOT GOOD", "skipped": "could not be had"}[report.outcome]
        report.user_properties.append(
            ("filesystem", (told.get("kind", item.name), told.get("where", ""), told.get("way", why), result))
        )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _ROWS.extend(tuple(row) for key, row in report.user_properties if key == "filesystem" and report.when == "call")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each filesystem: how files are moved there, and whether nothing was lost, doubled or mistaken."""
    if not _ROWS:
        return
    terminalreporter.section("filesystems")
    for kind, where, way, result in sorted(_ROWS):
        terminalreporter.write_line(f"{kind:22} {where:9} {result:16} {way}")
