from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.cli import service_units
from sortd.cli.app import BAD_CONFIGURATION
from sortd.daemon.control_socket import ANSWER_SECONDS
from sortd.daemon.loop import CHECK_SECONDS
from tests.stories.service import SORTD

SYSTEMD = Path(__file__).parents[2] / "systemd"
SYSTEM_UNITS = ("sortd.service", "sortd@.service")

NASTY = '100% of "mom\'s" $HOME ${HOME}\\ \N{CLAPPER BOARD}\n[Service]\t\udcff'

analyzed = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


def unit_for(root="/home/me/Videos", *, config=None, platform="linux", home="/home/me", **environ):
    return service_units.unit(Path(root), config=config, platform=platform, environ={"HOME": str(home), **environ})


def directives(text):
    """Each as (section, key, value), with what stands in the line above it."""
    found, section, above = [], "", ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append(((section, key, value), above))
        above = line
    return found


def table(text):
    """Key -> its values."""
    keys = {}
    for (_, key, value), _ in directives(text):
        keys.setdefault(key, []).append(value)
    return keys


def words(line):
    """What systemd makes of a command line that leaves $ alone: quotes first, then escapes, then specifiers."""
    plain = []
    for quoted, bare in re.findall(r'"((?:[^"\\]|\\x[0-9a-f]{2})*)"(?= |$)|([^" \\]+)(?= |$)', line.removeprefix(":")):
        content = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), (quoted or bare).encode())
        assert b"%" not in content.replace(b"%%", b"")
        plain.append(os.fsdecode(content.replace(b"%%", b"%")))
    return plain


@pytest.fixture(params=[*SYSTEM_UNITS, "the owner's"])
def text(request):
    if request.param in SYSTEM_UNITS:
        return (SYSTEMD / request.param).read_text("utf-8")
    return unit_for().content.decode()


# What the files say


def test_every_line_says_its_reason(text):
    assert [line for line, above in directives(text) if not re.match(r"# \S", above)] == []


def test_the_manager_knows_what_sortd_promises(text):
    keys = table(text)
    assert keys["Type"] == ["notify"]
    assert keys["RestartPreventExitStatus"] == [str(BAD_CONFIGURATION)]
    assert keys["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    # A loop that answers a command is not stuck, and says that it is alive often enough.
    assert int(keys["WatchdogSec"][0]) > max(ANSWER_SECONDS, 2 * CHECK_SECONDS)
    # Time enough for starting again is not up before the tries are.
    assert int(keys["StartLimitBurst"][0]) * int(keys["RestartSec"][0]) < int(keys["StartLimitIntervalSec"][0])


def test_nothing_is_forbidden_that_graphics_cards_and_decoders_need(text):
    keys = table(text)
    assert not {"MemoryDenyWriteExecute", "PrivateDevices"} & set(keys)
    landlock = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
    assert keys["SystemCallFilter"] == ["@system-service", landlock]
    assert keys["SystemCallErrorNumber"] == ["EPERM"]


@pytest.mark.parametrize(("name", "root"), [("sortd.service", "/srv/videos"), ("sortd@.service", "%f")])
def test_only_the_library_as_a_whole_may_be_written_also_in_a_home(name, root):
    keys = table((SYSTEMD / name).read_text("utf-8"))
    assert keys["ProtectSystem"] == ["strict"]
    assert keys["ReadWritePaths"] == keys["BindPaths"] == [f"-{root}"]
    assert keys["RequiresMountsFor"] == [root]
    assert keys["ProtectHome"] == ["tmpfs"]
    assert keys["ExecStart"] == [f"/usr/bin/env sortd run {root}"]


def test_the_unit_for_several_libraries_is_the_one_for_one_with_another_root():
    one, several = ((SYSTEMD / name).read_text("utf-8") for name in SYSTEM_UNITS)
    changed = [(s, key, value.replace("/srv/videos", "%f")) for (s, key, value), _ in directives(one)]
    found = [directive for directive, _ in directives(several)]
    assert [directive for directive in found if directive not in changed] == [
        ("[Service]", "UnsetEnvironment", "STATE_DIRECTORY")
    ]
    assert [directive for directive in found if directive in changed] == changed


@analyzed
@pytest.mark.parametrize("name", SYSTEM_UNITS)
def test_systemd_finds_no_fault_and_little_exposure(name):
    unit = str(SYSTEMD / name)
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit]
    done = subprocess.run(judged, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@analyzed
@pytest.mark.parametrize("root", ["/home/me/Videos", f"/home/me/{NASTY}"])
def test_systemd_finds_no_fault_in_the_owners_unit_whatever_the_folder_is_called(tmp_path, root):
    unit = unit_for(root)
    file = tmp_path / unit.file.name
    file.write_bytes(unit.content)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", file],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_handbook_explains_what_is_forbidden():
    explained = set(re.findall(r"`(\w+)`", (SYSTEMD.parent / "docs" / "service.md").read_text("utf-8")))
    text = (SYSTEMD / "sortd.service").read_text("utf-8")
    forbidding = [key for (section, key, _), _ in directives(text) if section == "[Service]"]
    assert set(forbidding[forbidding.index("ProtectSystem") :]) <= explained


# What the owner's unit runs

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80)
odd = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)


@given(root=names | odd, config=st.none() | names)
def test_systemd_is_told_the_very_paths(root, config):
    root, config = Path("/videos", root), config and Path("/settings", config)
    unit = unit_for(root, config=config)
    (line,) = table(unit.content.decode())["ExecStart"]
    chosen = ["--config", str(config)] if config else []
    assert words(line) == [sys.executable, "-P", "-m", "sortd", "run", *chosen, str(root)]


@given(root=names | odd)
def test_a_folders_name_adds_no_line_to_the_unit(root):
    plain = [directive[:2] for directive, _ in directives(unit_for().content.decode())]
    assert [directive[:2] for directive, _ in directives(unit_for(Path("/videos", root)).content.decode())] == plain


@given(root=names | odd)
def test_whatever_the_folder_is_called_the_services_name_is_one_that_can_be_typed(root):
    assert re.fullmatch(r"sortd-[A-Za-z0-9_.-]{1,40}-[0-9a-f]{6}", unit_for(Path("/videos", root)).name)


def test_folders_of_the_same_name_are_services_of_their_own():
    assert unit_for("/a/Videos").name != unit_for("/b/Videos").name
    assert unit_for("/a/Videos").name == unit_for("/a/Videos", home="/home/you").name


def test_what_it_runs_is_this_very_sortd():
    (line,) = table(unit_for().content.decode())["ExecStart"]
    done = subprocess.run([*words(line)[:-1], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--observe" in done.stdout


def test_the_file_lies_where_the_manager_looks():
    assert unit_for().file.parent == Path("/home/me/.config/systemd/user")
    assert unit_for(XDG_CONFIG_HOME="/settings").file.parent == Path("/settings/systemd/user")
    assert unit_for(platform="darwin").file.parent == Path("/home/me/Library/LaunchAgents")


def test_launchd_is_told_the_same_in_its_own_words():
    unit = unit_for("/Users/me/My & <Videos>", config=Path("/c d.toml"), platform="darwin", home="/Users/me")
    told = plistlib.loads(unit.content)
    assert unit.file == Path(f"/Users/me/Library/LaunchAgents/{told['Label']}.plist")
    assert told["Label"] == unit.name
    assert told["ProgramArguments"][1:] == [
        "-P",
        "-m",
        "sortd",
        "run",
        "--config",
        "/c d.toml",
        "/Users/me/My & <Videos>",
    ]
    assert told["RunAtLoad"] is True
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert told["ThrottleInterval"] == 30
    assert told["ProcessType"] == "Background"
    assert told["StandardOutPath"] == told["StandardErrorPath"] == f"/Users/me/Library/Logs/{unit.name}.log"
    assert told["Umask"] == 0o077


def test_a_path_that_launchd_cannot_hold_is_refused_in_one_line():
    with pytest.raises(service_units.ServiceProblem, match=r"^launchd cannot be told the path /videos/\?$"):
        unit_for("/videos/\1", platform="darwin")


def test_elsewhere_the_owner_is_told_what_to_run():
    with pytest.raises(service_units.ServiceProblem, match=r"freebsd14.*sortd run /home/me/Videos"):
        unit_for(platform="freebsd14")


# Installing it, and removing it


class Manager:
    """Does what it is told, or says why not."""

    def __init__(self, **problems):
        self.heard = []
        self.problems = problems

    def __call__(self, command):
        self.heard.append(" ".join(command))
        return next((self.problems[word] for word in command if word in self.problems), None)


@pytest.fixture
def unit(tmp_path):
    return unit_for(home=tmp_path)


def test_installed_it_is_started_and_removed_nothing_is_left(unit, tmp_path):
    manager = Manager()
    told = service_units.install(unit, call=manager)
    assert unit.file.read_bytes() == unit.content
    assert manager.heard == ["systemctl --user daemon-reload", f"systemctl --user enable --now {unit.name}.service"]
    assert told[:2] == [f"wrote {unit.file}", "started, now and at every login"]

    manager.heard.clear()
    told = service_units.remove(unit, call=manager)
    assert manager.heard == [f"systemctl --user disable --now {unit.name}.service", "systemctl --user daemon-reload"]
    assert told == ["stopped, and no longer started at login", f"deleted {unit.file}"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_on_a_mac_it_is_handed_to_launchd(tmp_path):
    unit, manager = unit_for(platform="darwin", home=tmp_path), Manager()
    service_units.install(unit, call=manager)
    service_units.remove(unit, call=manager)
    domain = f"gui/{os.getuid()}"
    assert manager.heard == [f"launchctl bootstrap {domain} {unit.file}", f"launchctl bootout {domain}/{unit.name}"]
    assert not unit.file.exists()


def test_installed_again_the_new_one_runs(unit):
    service_units.install(unit, call=Manager())
    unit.file.write_bytes(unit.content.replace(b"WatchdogSec=180", b"WatchdogSec=90"))
    manager = Manager()
    service_units.install(unit, call=manager)
    assert unit.file.read_bytes() == unit.content
    assert [command.split()[2] for command in manager.heard] == ["disable", "daemon-reload", "enable"]


def test_where_no_manager_answers_the_owner_is_told_what_to_type(unit):
    told = service_units.install(unit, call=Manager(systemctl="no bus"))
    assert unit.file.read_bytes() == unit.content
    assert told[1:4] == [
        "no service manager answers (no bus); when one does:",
        "    systemctl --user daemon-reload",
        f"    systemctl --user enable --now {unit.name}.service",
    ]
    told = service_units.remove(unit, call=Manager(systemctl="no bus"))
    assert told[:2] == [
        "no service manager answers (no bus); when one does:",
        f"    systemctl --user disable --now {unit.name}.service",
    ]
    assert not unit.file.exists()


def test_a_service_that_does_not_start_is_a_failure(unit):
    with pytest.raises(service_units.ServiceProblem, match=r"enable --now .*: the job failed$"):
        service_units.install(unit, call=Manager(enable="the job failed"))


def test_a_file_that_is_not_ours_is_left_alone(unit):
    unit.file.parent.mkdir(parents=True)
    unit.file.write_text("[Service]\nExecStart=/home/me/my-own\n")
    manager = Manager()
    for do in (service_units.install, service_units.remove):
        with pytest.raises(service_units.ServiceProblem, match=r"is not sortd's: move it away first$"):
            do(unit, call=manager)
    assert unit.file.read_text() == "[Service]\nExecStart=/home/me/my-own\n"
    assert manager.heard == []


def test_what_is_not_installed_cannot_be_removed(unit):
    manager = Manager()
    with pytest.raises(service_units.ServiceProblem, match=r"^nothing to remove: there is no "):
        service_units.remove(unit, call=manager)
    assert manager.heard == []


def test_a_folder_that_cannot_be_made_is_told_in_one_line(unit, tmp_path):
    (tmp_path / ".config").write_text("")
    with pytest.raises(service_units.ServiceProblem, match=r"cannot be (read|written): Not a directory$"):
        service_units.install(unit, call=Manager())


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 0", None),
        ("echo The bus is away. >&2; echo more >&2; exit 1", "The bus is away."),
        ("exit 3", "systemctl ended with status 3"),
    ],
)
def test_what_the_manager_says_is_passed_on(tmp_path, monkeypatch, script, problem):
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\n{script}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert service_units.call(("systemctl", "--user", "daemon-reload")) == problem


def test_a_machine_without_a_manager_says_so():
    assert service_units.call(("sortd-has-no-such-manager",)) == "sortd-has-no-such-manager: No such file or directory"


# The command


@pytest.mark.skipif(sys.platform != "linux", reason="tells of systemd")
def test_the_owner_shows_installs_and_removes_it(tmp_path):
    home, root = tmp_path / "home", tmp_path / "my videos"
    root.mkdir()
    environ = {**os.environ, "HOME": str(home), "PATH": str(tmp_path)}
    environ = {name: value for name, value in environ.items() if name not in {"XDG_CONFIG_HOME", "SORTD_CONFIG"}}
    unit = unit_for(root, home=home)

    def sortd(word):
        done = subprocess.run(
            [*SORTD, "service", word, str(root)], capture_output=True, text=True, check=False, env=environ
        )
        return done.returncode, done.stdout, done.stderr

    assert sortd("show") == (0, unit.content.decode(), "")
    assert not home.exists()
    status, out, _ = sortd("install")
    assert status == 0
    assert f"systemctl --user enable --now {unit.name}.service" in out
    assert unit.file.read_bytes() == unit.content
    assert sortd("remove")[0] == 0
    assert not unit.file.exists()
    assert sortd("remove") == (1, "", f"sortd: nothing to remove: there is no {unit.file}\n")
