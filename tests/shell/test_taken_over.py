"""A file has taken its decoder over: whatever it tries from there is refused, as root and as an ordinary user."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.shell.attacks import CONTROL
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are limits only")

USER = 12345
"""Of no account on any machine."""
USERS = ["root", "user"]

Lacking = Sequence[tuple[str, int | None]]

# What a kernel may refuse: the step that it takes away -> the system call, or prctl's option.
STEPS: dict[str, Lacking] = {
    "seccomp": [("prctl", 22)],
    "landlock": [("landlock_create_ruleset", None)],
    "own network": [("unshare", None)],
    "empty root": [("chroot", None)],
    "nobody": [("setresuid", None)],
    "no privileges": [("capset", None)],
    "undumpable": [("prctl", 4)],
    "ends with its server": [("prctl", 1)],
    "no new code": [("prctl", 65)],
    "no new privileges": [("prctl", 38)],
    "limits": [("prlimit64", None)],
}
NO_NAMESPACES: Lacking = [*STEPS["own network"], *STEPS["empty root"]]

ON_ITS_OWN_FILE = {
    "change the video's mode",
    "change the video's times",
    "set an attribute of the video",
    "lock the video",
    "have a lease",
}
RESIDUE = ON_ITS_OWN_FILE | {
    "live on without its server",
    "be readable",
    "end everything",
    "limit a bystander",
    "slow a bystander",
    "pin a bystander",
    "have signals sent",
    "ask the socket",
    "keep a key",
    "add a key",
    "shared memory",
    "semaphores",
    "message queue",
    "another personality",
}
"""What nothing but the filter of system calls refuses; the worst of it is on the one file that it reads."""

WITHOUT_AN_EMPTY_ROOT = {
    "look at a file",
    "ask for access",
    "change a mode",
    "change times",
    "set an attribute",
    "change an owner",
}
"""What Landlock does not refuse."""


def python_for(user: str) -> str:
    """An interpreter of this version that the user may run: one in root's home is for root alone."""
    if user == "root" or os.geteuid() != 0:
        return sys.executable
    version = sysconfig.get_python_version()
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if os.access(python, os.X_OK) and may_run(python):
            return python
    pytest.skip(f"no Python {version} that an ordinary user may run")


def may_run(python: str) -> bool:
    code = "import os; os.execv({0!r}, [{0!r}, '-c', ''])"  # what setpriv starts may be another of that name
    command = [*as_user(), "/usr/bin/env", "-", python, "-c", code.format(python)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def as_user() -> list[str]:
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


@functools.cache
def outcome(user: str, lacking: tuple[tuple[str, int | None], ...] = (), *, attacked: bool = True) -> dict[str, Any]:
    """What a child that was taken over could do, on a kernel that lacks this."""
    if user == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    if user == "user" and os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    path = [entry for entry in [str(Path(__file__).parents[2]), *sys.path] if entry]
    code = f"import sys; sys.path += {path!a}; from tests.shell.attacks import main; main()"
    through = as_user() if user == "user" and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if through:
            os.chown(folder, USER, USER)
        command = [*through, python_for(user), "-P", "-c", code, folder, json.dumps(lacking), ("attack" * attacked)]
        ended = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@functools.cache
def offered_by_none(user: str) -> set[str]:
    """The steps that this kernel does not offer, told by other means than taking them."""
    missing = set()
    release = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
    if release < [6, 3]:
        missing.add("no new code")
    modules = Path("/sys/kernel/security/lsm")
    if release < [5, 13] or (modules.exists() and "landlock" not in modules.read_text("ascii")):
        missing.add("landlock")
    through = as_user() if user == "user" and os.geteuid() == 0 else []
    apart = ["unshare", "--net", "--ipc"] if user == "root" else ["unshare", "--user", "--net", "--ipc"]
    if subprocess.run([*through, *apart, "true"], capture_output=True, check=False).returncode:
        missing.add("own network")
        if user == "user":
            missing.add("empty root")
    return missing


@pytest.mark.fault("S2")
@pytest.mark.parametrize("user", USERS)
def test_a_decoder_that_was_taken_over_is_refused_everything(user):
    told = outcome(user)
    assert told["succeeded"] == [CONTROL]
    assert told["harmed"] == []
    # Each step that this kernel offers holds.
    assert set(told["missing"]) == offered_by_none(user)
    assert told["possible"] == []
    assert ("landlock" in told["missing"]) == (told["landlock"] == 0)


@pytest.mark.fault("S2")
@pytest.mark.parametrize("user", USERS)
def test_the_same_attacks_succeed_in_a_process_that_gave_up_nothing(user):
    real = set(outcome(user)["real"])
    assert real >= {
        "read a file",
        "open the video for writing",
        "unlink",
        "rename",
        "change a mode",
        "change times",
        "connect to a socket",
        "connect to an abstract socket",
        "send a descriptor",
        "run a shell",
        "run a program",
        "fork",
        "leave a grandchild",
        "end a bystander",
        "limit a bystander",
        "have signals sent",
        "memfd",
        "become root" if user == "root" else "slow a bystander",
    }
    assert len(real) > 60


@pytest.mark.fault("S2")
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("step", STEPS)
def test_where_a_kernel_lacks_a_step_the_others_hold_and_it_is_told(user, step):
    if step == "nobody" and user == "user":
        pytest.skip("a user stays who they are")
    told = outcome(user, tuple(STEPS[step]), attacked=False)
    lost = {step}
    if user == "user" and step == "own network":
        lost.add("empty root")  # only the namespace would allow it
    assert set(told["missing"]) == lost | offered_by_none(user)
    assert all(why for why in told["missing"].values())
    assert told["possible"] == []


@pytest.mark.fault("S2")
@pytest.mark.parametrize("user", USERS)
def test_where_a_kernel_knows_only_seccomp_everything_is_refused_all_the_same(user):
    told = outcome(user, (*STEPS["landlock"], *NO_NAMESPACES))
    assert told["succeeded"] == [CONTROL]
    assert told["harmed"] == []


@pytest.mark.fault("S2")
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("further", [(), tuple(NO_NAMESPACES)], ids=["", "nor namespaces"])
def test_where_a_kernel_knows_no_seccomp_the_owner_s_files_are_safe_all_the_same(user, further):
    told = outcome(user, (*STEPS["seccomp"], *further))
    touching = {
        "look at a file",
        "ask for access",
        "change a mode",
        "change times",
        "set an attribute",
        "change an owner",
    }
    allowed = RESIDUE | (touching if further else set())
    assert set(told["succeeded"]) - {CONTROL} <= allowed
    assert set(told["harmed"]) <= (allowed if user == "user" else set())
    assert "seccomp" in told["missing"]
