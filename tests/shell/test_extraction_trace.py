"""The trace of the video in work is a help, never a hindrance: whatever stands in its place, work goes on."""

from __future__ import annotations

import os

import pytest

from sortd.store.extraction_trace import TRACE, ExtractionTrace, died_with, forget_trace


def test_what_was_begun_and_not_ended_is_told_until_it_is_forgotten(tmp_path):
    trace = ExtractionTrace(tmp_path)
    trace.begin("first")
    trace.end()
    trace.begin("second")
    os.close(trace._file)  # as the end of its process does
    assert [died_with(tmp_path), died_with(tmp_path)] == ["second", "second"]
    forget_trace(tmp_path)
    assert died_with(tmp_path) is None


@pytest.mark.parametrize(
    "obstacle",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("elsewhere"),
        os.mkfifo,
    ],
    ids=["a folder", "a link", "a pipe"],
)
def test_whatever_stands_in_its_place_the_child_goes_on_without(tmp_path, obstacle):
    (tmp_path / "elsewhere").write_text("somebody's")
    obstacle(tmp_path / TRACE)
    trace = ExtractionTrace(tmp_path)
    trace.begin("video")
    assert died_with(tmp_path) is None
    trace.end()
    forget_trace(tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "somebody's"


def test_without_its_folder_the_child_goes_on_without(tmp_path):
    trace = ExtractionTrace(tmp_path / "gone")
    trace.begin("video")
    trace.end()
