from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from sortd.daemon.control_socket import ask, listen, socket_path
from sortd.domain.messages import RequestReceived
from tests.waiting import PATIENCE_SECONDS


def answering(inbox, count=1):
    def serve():
        for _ in range(count):
            message = inbox.get(timeout=PATIENCE_SECONDS)
            assert isinstance(message, RequestReceived)
            message.reply({"you": dict(message.request)})

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("depth", [0, 12])
def test_a_command_is_answered_by_the_loop_however_long_the_path(tmp_path, depth):
    state = tmp_path.joinpath(*["a-long-folder-name"] * depth)
    state.mkdir(parents=True, exist_ok=True)
    inbox = SimpleQueue()
    with listen(state, inbox):
        loop = answering(inbox)
        assert ask(state, {"do": "undo", "path": "w\udce9.mp4"}) == {"you": {"do": "undo", "path": "w\udce9.mp4"}}
        loop.join()
    assert not socket_path(state).exists()


def test_where_no_service_runs_there_is_no_answer(tmp_path):
    assert ask(tmp_path, {"do": "status"}) is None


def test_a_socket_left_by_a_kill_is_no_service(tmp_path):
    inbox = SimpleQueue()
    with listen(tmp_path, inbox):
        left = tmp_path / "left"
        left.hardlink_to(socket_path(tmp_path))
    left.rename(socket_path(tmp_path))
    assert ask(tmp_path, {"do": "status"}) is None
    with listen(tmp_path, inbox):
        loop = answering(inbox)
        assert ask(tmp_path, {"do": "status"}) == {"you": {"do": "status"}}
        loop.join()
