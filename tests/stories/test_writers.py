"""A writer who opens a video while it is copied to another disk."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.stories.conftest import taught


@pytest.mark.fault("K2")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a category, as root")
def test_a_writer_who_opens_a_video_during_its_copy_keeps_what_they_write_after_it(household):
    home = household(taught(), move={"probation": []})
    cats = home.root / "cats"
    if subprocess.run(["mount", "--bind", cats, cats], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        written = []
        copy = home.copy

        def copy_while_it_is_opened(order):
            with (home.root / "new.mp4").open("ab") as writer:
                copy(order)
                writer.write(b" mine")
            written.append(order)
            home.copy = copy

        home.copy = copy_while_it_is_opened
        home.files({"new.mp4": b"cats new"})

        assert written
        assert [line["reason"] for line in home.events("left")][:1] == ["move_refused"]
        home.settle()
        assert [path.read_bytes() for path in home.root.rglob("new.mp4")] == [b"cats new mine"]
        assert not list(home.root.rglob(".sortd-*.part"))
    finally:
        subprocess.run(["umount", cats], check=True)
