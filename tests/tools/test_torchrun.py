"""Several machines that do a chain: how those that are late hear of its end."""

import socket
import time
from threading import Thread

from tools import torchrun
from tools.torchrun import Crew


def test_a_machine_that_comes_when_all_is_done_is_told_so(tmp_path, monkeypatch, capsys):
    """As where a chain has nothing to do for it; else it would wait for ten minutes, and its job of Slurm fail."""
    monkeypatch.setattr(torchrun, "LEAVE_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    first, second = (Crew(tmp_path, 1, 2, endpoint) for _ in range(2))
    told = []

    def come_late() -> None:
        time.sleep(1.5)
        told.append(second.follow())

    (late := Thread(target=come_late)).start()
    with first.leading():
        pass
    late.join(10)
    assert told == [{}]
    assert "the machines that have not joined yet are waited for" in capsys.readouterr().out
