"""What holds for all tests, and the fault matrix: what of it runs with every change, and its table."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.namespaces import keep_mounts_to_ourselves

# A busy machine is no fault of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter; pytest keeps its own to itself, and closes them again at every start."""
    with tempfile.TemporaryDirectory(prefix="sortd-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


FAULTS = Path(__file__).parent / "faults"

keep_mounts_to_ourselves()

_OUTCOMES: dict[str, list[tuple[str, str]]] = defaultdict(list)


@pytest.fixture(scope="session", autouse=True)
def home_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The owner's settings, state and caches are none of the tests'."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in [name for name in os.environ if name.startswith(("XDG_", "SORTD_"))]:
            environment.delenv(name)
        yield


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Of the tests in `faults` all but a sample are for `make faults`; those elsewhere run with every change."""
    for item in items:
        mark = item.get_closest_marker("fault")
        if mark is not None:
            item.user_properties += [("fault", row) for row in mark.args]  # so that each report names its rows
        if FAULTS in item.path.parents:
            assert mark is not None, f"{item.nodeid} names no row of the fault matrix"
            if not mark.kwargs.get("sample"):
                item.add_marker("full")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        why = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        for key, row in report.user_properties:
            if key == "fault":
                _OUTCOMES[str(row)].append((report.outcome, why))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Each row of the matrix by its id, where the whole of it was asked for."""
    if config.option.markexpr != "fault":
        return
    terminalreporter.section("faults")
    for row in sorted(_OUTCOMES, key=lambda row: (row[0], int(row[1:]))):
        seen = [outcome for outcome, _ in _OUTCOMES[row]]
        word = "NOT SURVIVED" if "failed" in seen else "survived" if "passed" in seen else "could not run here"
        why = "; ".join(sorted({why for _, why in _OUTCOMES[row] if why}))
        terminalreporter.write_line(
            f"{row:4} {word}: {len(seen)} {'test' if len(seen) == 1 else 'tests'} {why}".rstrip()
        )
