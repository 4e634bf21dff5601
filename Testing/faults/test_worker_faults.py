"""A worker that is disturbed at a random moment: an explained error or the right result, and nothing is left.

The moments are spread over the import of torch, the hand-over of the image, the run, the hand-over of the
result, and idle times.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.faults.fault_table import Tally, injections
from fixtures.models.bundles import tiny_order
from fixtures.worker.dialogue import channel
from mednext.errors import Cancelled, MedNeXtError
from mednext.system.running_processes import is_running
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient

resource = pytest.importorskip("resource", reason="Windows limits no processes")

PATIENCE_S = 240
USER_WAITS_S = 0.5  # before a cancel, for a worker that does not answer
SILENCE_S = 4.0  # after which the client gives up, where nobody cancels
SHAPE = (32, 40, 32)
MOMENTS = ("import of torch", "hand-over of the image", "run", "hand-over of the result", "idle")
GARBAGE = """\n\0{"event": "done"}
[[[[
{"event": "done"}
{"event": "error"}
{"event": "devices", "devices": [{}]}
{"event": "progress", "run": RUN}
{"event": "progress", "run": RUN, "stage": 7, "done": "x", "total": null, "remaining_s": "soon"}
"""
TOO_EARLY = '\n{"event": "done", "run": RUN}\n'

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits and shows other processes"),
    pytest.mark.timeout(3000),
]


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    return tiny_order(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The parent of run folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def client():
    client = WorkerClient()
    yield client
    client.shutdown()


@dataclass
class Undisturbed:
    """A run without faults: its labels, the processes, and the time in s that each stage takes at most."""

    labels: np.ndarray
    processes: int
    import_s: float
    run_s: float


@pytest.fixture(scope="module")
def expected(order, client):
    begin = time.monotonic()
    labels = client.start([channel(SHAPE)], order).wait().labelmap
    imported, processes = time.monotonic(), len(pids())
    client.start([channel(SHAPE)], order).wait()
    return Undisturbed(labels, processes, imported - begin, time.monotonic() - imported)


def pids(of: int | None = None) -> list[int]:
    """The worker and its launcher: all processes below this one that run."""
    try:
        children = Path(f"/proc/{of or os.getpid()}/task/{of or os.getpid()}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return []
    direct = [int(word) for word in children.split()]
    found = [pid for child in direct for pid in (child, *pids(child))]
    return [pid for pid in found if is_running(pid)]


class Faults:
    """The faults; each is injected at the present moment.

    Attributes:
        blocks: the blocks of shared memory that the worker had when it was disturbed.
    """

    def __init__(self, client: WorkerClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.blocks: set[str] = set()
        self._undo: list[Callable[[], None]] = []

    def inject(self, fault: str) -> None:
        self.blocks |= blocks_of(pids())
        FAULTS[fault](self)

    def undo(self) -> None:
        """Free disk, memory and files again."""
        while self._undo:
            self._undo.pop()()

    def killed(self) -> None:
        self._send(signal.SIGKILL)

    def stopped(self) -> None:
        self._send(signal.SIGSTOP)

    def stopped_then_killed(self) -> None:
        self.stopped()
        self.killed()

    def out_of_memory(self) -> None:
        self._limit(resource.RLIMIT_AS, 2**20)  # no allocation succeeds from now on

    def full_disk(self) -> None:
        self._limit(resource.RLIMIT_FSIZE, 0)  # no write into a file succeeds from now on

    def no_more_files(self) -> None:
        self._limit(resource.RLIMIT_NOFILE, 0)  # nothing can be opened from now on

    def no_more_files_in_slicer(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        self._undo.append(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))

    def folder_deleted(self) -> None:
        for path in self.folder.glob("mednext_*"):
            shutil.rmtree(path, ignore_errors=True)

    def files_truncated(self) -> None:
        for path in self.folder.glob("mednext_*/request.json"):
            os.truncate(path, 10)

    def say(self, told: str) -> None:
        """Write lines into the pipe of the worker's events, as if it had said them of the present run."""
        if self.client.process:
            run = int(re.findall(r"\d+", repr(self.client._numbers))[0]) - 1
            pipe = self.client.process._child._process.stdout.fileno()
            Path(f"/proc/self/fd/{pipe}").write_text(told.replace("RUN", str(run)), encoding="utf-8")

    def input_closed(self) -> None:
        if self.client.process:
            self.client.process._child.close_input()

    def slicers_disk_full(self) -> None:
        """The temporary folder of Slicer's own process has no room; the worker's is the same in truth."""
        self.full_disk()
        real = Path.open

        def refuse(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if "w" in mode and self.folder in path.parents:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, mode, *arguments, **named)

        Path.open = refuse  # type: ignore[method-assign]
        self._undo.append(lambda: setattr(Path, "open", real))

    def _send(self, what: int) -> None:
        for pid in pids():
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, what)

    def _limit(self, what: int, soft: int) -> None:
        for pid in pids():
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, what)
                resource.prlimit(pid, what, (soft, hard))
                self._undo.append(lambda pid=pid, hard=hard: _unlimit(pid, what, hard))


def _unlimit(pid: int, what: int, hard: int) -> None:
    with suppress(ProcessLookupError):
        resource.prlimit(pid, what, (hard, hard))


FAULTS: dict[str, Callable[[Faults], None]] = {
    "killed": Faults.killed,
    "stopped, then killed": Faults.stopped_then_killed,
    "stopped, and the user cancels": Faults.stopped,
    "stopped, and nobody cancels": Faults.stopped,
    "out of memory": Faults.out_of_memory,
    "full disk": Faults.full_disk,
    "full disk, for Slicer too": Faults.slicers_disk_full,
    "no more open files": Faults.no_more_files,
    "no more open files, for Slicer": Faults.no_more_files_in_slicer,
    "its folder deleted": Faults.folder_deleted,
    "its request truncated": Faults.files_truncated,
    "garbage on its pipe": lambda faults: faults.say(GARBAGE),
    "its end told too early": lambda faults: faults.say(TOO_EARLY),
    "its input closed": Faults.input_closed,
    "nothing, but the user cancels": lambda _faults: None,
}
SHORT = ("killed", "garbage on its pipe")
CANCELLING = {"stopped, and the user cancels": USER_WAITS_S, "nothing, but the user cancels": 0.0}


def blocks_of(processes: Iterable[int]) -> set[str]:
    """The files of the blocks of shared memory that these processes have mapped."""
    maps = ""
    for pid in processes:
        with suppress(OSError):  # it has just ended
            maps += Path(f"/proc/{pid}/maps").read_text(errors="replace")
    return {path for path in re.findall(r"/dev/shm/\S+", maps) if Path(path).exists()}


def assert_soon(condition: Callable[[], bool], message: str) -> None:
    """A killed process may take a moment to end."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, message
        time.sleep(0.05)


@contextmanager
def patience(client: WorkerClient, fault: str) -> Any:
    before, client.silence_s = client.silence_s, SILENCE_S if "nobody cancels" in fault else client.silence_s
    yield
    client.silence_s = before


def stage_of(event: dict[str, Any]) -> str:
    """The moment of `MOMENTS` that begins with an event."""
    return {"starting": "import of torch", "postprocessing": "hand-over of the result"}.get(
        event["stage"], "" if event["stage"] == "sending" else "run"
    )


def disturbed(
    client: WorkerClient,
    order: Order,
    right: Undisturbed,
    moment: str,
    dice: random.Random,
    inject: Callable[[], None],
    user_waits_s: float | None,
) -> str:
    """Run with a fault at a moment; return how it ended. The user cancels the run after `user_waits_s`."""
    if moment == "idle":
        inject()
    delay = dice.uniform(0, {"import of torch": right.import_s, "run": right.run_s}.get(moment, 0.02))
    begin = time.monotonic()
    injected = begin if moment == "idle" else None
    due = begin + delay if moment in ("import of torch", "hand-over of the image") else None
    run = client.start([channel(SHAPE)], order)
    while not run.finished:
        for event in run.poll():
            stage = stage_of(event)  # of each, as the panel reads it
            if due is None and stage == moment:
                due = time.monotonic() + delay
        now = time.monotonic()
        if injected is None and due is not None and now >= due:
            inject()
            injected = now
        if user_waits_s is not None and injected is not None and now - injected >= user_waits_s:
            run.cancel()
        assert now - begin < PATIENCE_S, "the run never ended"
        time.sleep(0.002)
    if injected is None:  # the run was faster: the fault meets the idle worker
        return disturbed(client, order, right, "idle", dice, inject, user_waits_s)
    try:
        result = run.result()
    except Cancelled:
        return "cancelled by the user"
    except MedNeXtError as error:
        assert len(str(error)) > 20 and "fault of this program" not in str(error), error
        return "explained error"
    np.testing.assert_array_equal(result.labelmap, right.labels)
    return "right result"


@pytest.mark.parametrize("fault", FAULTS if injections(1, 0) else SHORT)
def test_a_fault_is_an_explained_error_or_the_right_result_and_the_next_run_works(
    fault, client, order, folder, expected
):
    dice = random.Random(None if injections(1, 0) else fault)
    tally, faults = Tally("the worker", fault), Faults(client, folder)
    for number in range(injections(25, 1)):
        moment = MOMENTS[number % len(MOMENTS)] if injections(1, 0) else "run"
        if moment == "import of torch":
            client.shutdown()
        with patience(client, fault):
            outcome = disturbed(
                client, order, expected, moment, dice, lambda: faults.inject(fault), CANCELLING.get(fault)
            )
        assert outcome != "cancelled by the user" or fault in CANCELLING
        tally.add(outcome)
        faults.undo()
        # The next run works at once, in this worker or in a new one.
        labels = client.start([channel(SHAPE)], order).wait().labelmap
        np.testing.assert_array_equal(labels, expected.labels)
        assert not list(folder.iterdir())
        assert_soon(lambda: len(pids()) <= expected.processes, "a process of before still runs")
    if injections(1, 0):
        client.shutdown()
        assert_soon(lambda: not pids(), "a process was left")
        assert_soon(lambda: not any(map(os.path.exists, faults.blocks)), "shared memory was left")
    tally.keep()


def test_the_blocks_of_shared_memory_of_a_process_are_found():
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(b"0")
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            assert blocks_of([os.getpid()]) == {file.name}
        assert not blocks_of([os.getpid()])
