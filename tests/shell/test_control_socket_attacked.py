"""The control socket in bad company: other accounts, things in its place, clients that mean no good."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from sortd.daemon import control_socket
from sortd.daemon.control_socket import NoAnswer, ask, listen, socket_path
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.messages import Stop
from sortd.domain.requests import BadRequest, check
from tests.accounts import STRANGER, as_account, with_accounts
from tests.waiting import once_within

GENEROUS_SECONDS = 60.0

IMPOSTOR = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
print(connection.recv(65536).decode(), flush=True)
connection.sendall(b'{"paused": true}\\n')
"""


@contextlib.contextmanager
def served(state: Path):
    """A service that answers whatever reaches its loop; the requests that did."""
    inbox: SimpleQueue[object] = SimpleQueue()
    heard = []

    def loop() -> None:
        while not isinstance(message := inbox.get(), Stop):
            heard.append(dict(message.request))
            message.reply({"you": dict(message.request)})

    with listen(state, inbox):
        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield heard
        finally:
            inbox.put(Stop("the test is over"))
            thread.join()


def connected(state: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(GENEROUS_SECONDS)
    client.connect(str(socket_path(state)))
    return client


def say(state: Path, line: bytes) -> dict[str, object]:
    """What is answered to the very bytes."""
    with connected(state) as client:
        with contextlib.suppress(BrokenPipeError):  # cut off before the end
            client.sendall(line)
        with client.makefile("rb") as stream:
            answer = stream.readline()
    return json.loads(answer)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fault("S5")
def test_where_it_listens_follows_from_the_state_alone(tmp_path, monkeypatch):
    state = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    state.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "one"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "two"))
    with served(state):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
        assert ask(state, {"do": "status"}) == {"you": {"do": "status"}}
        assert stat.S_ISSOCK((state / "control.sock").lstat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"a-folder-with-a-long-name"}


@pytest.mark.fault("S5")
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_may_connect_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with served(tmp_path):
            assert stat.S_IMODE(socket_path(tmp_path).stat().st_mode) == 0o600
    finally:
        os.umask(before)


@with_accounts
@pytest.mark.fault("S5")
def test_a_socket_of_another_account_is_not_asked(open_folder):
    state = open_folder / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    command = [*as_account(), sys.executable, "-c", IMPOSTOR, str(socket_path(state))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as impostor:
        assert impostor.stdout
        assert impostor.stdout.readline() == "listening\n"
        with pytest.raises(NoAnswer, match=rf"held by another account \(uid {STRANGER}\)"):
            ask(state, {"do": "pause"})
        assert "pause" not in impostor.stdout.read()


@with_accounts
@pytest.mark.fault("S5")
def test_another_account_is_not_heard(open_folder):
    with served(open_folder) as heard:
        socket_path(open_folder).chmod(0o777)
        script = (
            "import socket, sys; client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1]);"
            'client.settimeout(60); client.sendall(b\'{"do": "pause"}\\n\'); print(client.recv(100))'
        )
        command = [*as_account(), sys.executable, "-c", script, str(socket_path(open_folder))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GENEROUS_SECONDS)
        assert "you" not in done.stdout
        assert "Permission" not in done.stderr
        assert ask(open_folder, {"do": "status"}) == {"you": {"do": "status"}}
        assert heard == [{"do": "status"}]


@pytest.mark.fault("S5")
@pytest.mark.parametrize("what", ["file", "link", "dangling link", "folder", "pipe"])
def test_what_stands_in_its_place_is_somebodys_and_stays(tmp_path, what):
    kept = tmp_path / "kept"
    kept.write_text("precious")
    state = tmp_path / "state"
    state.mkdir()
    match what:
        case "file":
            shutil.copy(kept, socket_path(state))
        case "link":
            socket_path(state).symlink_to(kept)
        case "dangling link":
            socket_path(state).symlink_to(tmp_path / "nowhere")
        case "folder":
            socket_path(state).mkdir()
        case "pipe":
            os.mkfifo(socket_path(state))
    before = socket_path(state).lstat()
    assert ask(state, {"do": "status"}) is None
    with pytest.raises(LibraryUnavailable, match=r"control\.sock is in the way"), served(state):
        pass
    assert socket_path(state).lstat().st_ino == before.st_ino
    assert kept.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("S9")
def test_a_request_without_an_end_is_cut_off_and_takes_no_memory(tmp_path):
    with served(tmp_path) as heard:
        before = resident()
        most = before
        with connected(tmp_path) as client:
            for _ in range(300):
                try:
                    client.sendall(b"x" * (1 << 20))
                except OSError:
                    break
                most = max(most, resident())
            with client.makefile("rb") as stream:
                assert "longer than" in json.loads(stream.readline())["error"]
        assert most - before < 64 << 20
        assert ask(tmp_path, {"do": "status"}) is not None
        assert heard == [{"do": "status"}]


BAD = [
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b"null\n",
    b'"pause"\n',
    b"{}\n",
    b'{"do": null}\n',
    b'{"do": ["pause"]}\n',
    b'{"do": {"pause": 1}}\n',
    b'{"do": "pause", "more": 1}\n',
    b'{"do": "make coffee"}\n',
    b'{"do": "undo", "count": "three"}\n',
    b'{"do": "undo", "count": -1}\n',
    b'{"do": "undo", "count": true}\n',
    b'{"do": "undo", "count": 1.5}\n',
    b'{"do": "undo", "count": ' + b"9" * 400 + b"}\n",
    b'{"do": "undo", "count": ' + b"9" * 5000 + b"}\n",
    b'{"do": "undo", "since": NaN}\n',
    b'{"do": "undo", "since": Infinity}\n',
    b'{"do": "undo", "since": 1e999}\n',
    b'{"do": "undo", "since": ' + b"9" * 400 + b"}\n",
    b'{"do": "undo", "since": "yesterday"}\n',
    b'{"do": "undo", "path": 7}\n',
    b'{"do": "undo", "path": "\\ud800.mp4"}\n',
    b'{"do": "undo", "path": "a\\u0000b"}\n',
    b'{"do": "undo", "path": ["a"]}\n',
    b'{"do": "confirm"}\n',
    b'{"do": "confirm", "category": "a", "path": "b"}\n',
    b'{"do": "confirm", "category": {}}\n',
    b'{"do": "forget", "category": "a"}\n',
    b'{"do": "forget", "category": "a", "what": "everything"}\n',
    b'{"do": "forget", "category": "a", "what": []}\n',
    b'{"do": "accept"}\n',
    b'{"do": "accept", "category": "a", "videos": ["b"]}\n',
    b'{"do": "accept", "category": "a", "videos": {"b": 1}}\n',
    b'{"do": "resume", "vanished": "yes"}\n',
    b"[" * 100_000 + b"\n",
    b'{"do": ' + b'{"a": ' * 50_000 + b"\n",
    b"\xff\xfe\x00{}\n",
    b"\x00\n",
]


@pytest.mark.fault("S9")
def test_a_bad_request_costs_its_sender_an_error_and_nobody_else_anything(tmp_path):
    with served(tmp_path) as heard:
        for line in BAD:
            answer = say(tmp_path, line)
            assert list(answer) == ["error"], line[:80]
            assert len(str(answer["error"])) < 300
        assert heard == []
        assert ask(tmp_path, {"do": "status"}) is not None


@pytest.mark.fault("S9")
def test_what_commands_ask_passes():
    for request in (
        {"do": "undo", "count": 3, "category": "cats"},
        {"do": "undo", "since": 1.5},
        {"do": "undo", "path": "w\udce9.mp4"},
        {"do": "undo"},
        {"do": "forget", "what": "labels", "path": "a/b.mp4"},
        {"do": "accept", "category": "cats", "videos": {"a.mp4": "00ff"}},
        {"do": "resume", "vanished": True},
    ):
        assert check(request) == request
    with pytest.raises(BadRequest, match="unknown request"):
        check({"do": 5})


@pytest.mark.fault("S9")
def test_clients_that_say_nothing_keep_no_command_waiting(tmp_path):
    with served(tmp_path), contextlib.ExitStack() as stack:
        threads = threading.active_count()
        for number in range(500):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.enter_context(client)
            while True:
                try:
                    client.connect(str(socket_path(tmp_path)))
                    break
                except BlockingIOError:
                    time.sleep(0.01)
            with contextlib.suppress(OSError):
                client.send(b'{"do"' if number % 2 else b"")
        told = once_within(control_socket.CONNECT_SECONDS, lambda: ask(tmp_path, {"do": "status"}))
        assert told == {"you": {"do": "status"}}
        assert threading.active_count() == threads


@pytest.mark.fault("S9")
def test_a_client_that_does_not_read_its_answer_holds_nobody_up(tmp_path):
    long = {"do": "accept", "category": "c", "videos": {f"{number}.mp4": "x" * 100 for number in range(20_000)}}
    with served(tmp_path), contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(connected(tmp_path))
            client.sendall(json.dumps(long).encode() + b"\n")
        assert ask(tmp_path, {"do": "status"}) == {"you": {"do": "status"}}
        assert ask(tmp_path, long) == {"you": long}
