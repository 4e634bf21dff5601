"""A worker that is disturbed at a random moment: an explained error or the right result, and nothing is left.

`MEDNEXT_FAULTS` is the number of injections of each kind; `make faults` takes many, the suite a few. The
moments are spread over a run with a new worker (start, import of torch, hand-over, network, result) and its
idle time.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from fault_table import Tally
from mednext.errors import Cancelled, MedNeXtError
from mednext.inference.options import Options
from mednext.system.running_processes import is_running
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient
from worker_dialogue import channel

resource = pytest.importorskip("resource", reason="Windows limits no processes")

INJECTIONS = int(os.environ.get("MEDNEXT_FAULTS", "1"))
PATIENCE_S = 240
USER_WAITS_S = 8  # for a worker that was stopped; the others end by themselves
SHAPE = (32, 40, 32)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits and shows other processes"),
    pytest.mark.timeout(300 + 60 * INJECTIONS),
]


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    return Order(str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path), Options("cpu"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The parent of run folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def client():
    client = WorkerClient()
    yield client
    client.shutdown()


@pytest.fixture(scope="module")
def expected(order):
    """Of an undisturbed run with a new worker: the labels, the time in s, and the number of processes."""
    client = WorkerClient()
    begin = time.monotonic()
    labels = client.start([channel(SHAPE)], order).wait().labelmap
    duration, processes = time.monotonic() - begin, len(pids())
    client.shutdown()
    return labels, duration, processes


def pids(of: int | None = None) -> list[int]:
    """The worker and its launcher: all processes below this one that run."""
    children = Path(f"/proc/{of or os.getpid()}/task/{of or os.getpid()}/children")
    direct = [int(word) for word in children.read_text().split()] if children.exists() else []
    found = [pid for child in direct for pid in (child, *pids(child))]
    return [pid for pid in found if is_running(pid)]


def kill(_folder: Path) -> None:
    for pid in pids():
        os.kill(pid, signal.SIGKILL)


def stop(_folder: Path) -> None:
    for pid in pids():
        os.kill(pid, signal.SIGSTOP)


def exhaust_memory(_folder: Path) -> None:
    limit(resource.RLIMIT_AS, 2**20)  # no allocation succeeds from now on


def fill_disk(_folder: Path) -> None:
    limit(resource.RLIMIT_FSIZE, 0)  # no write into a file succeeds from now on


def limit(what: int, soft: int) -> None:
    for pid in pids():
        _, hard = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (soft, hard))


def undo() -> None:
    """Free disk and memory again."""
    for what in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
        limit(what, resource.RLIM_INFINITY)


def delete_folder(folder: Path) -> None:
    for path in folder.glob("mednext_*"):
        shutil.rmtree(path, ignore_errors=True)


def write_garbage(_folder: Path) -> None:
    for pid in pids():
        with open(f"/proc/{pid}/fd/1", "wb", buffering=0) as pipe:  # noqa: PTH123 - a pipe of another process
            pipe.write(b'\n\xff\x00{"event": "done"}\n[[[[\n{"event": "progress", "run": -1, "done": "x"}\n')


FAULTS: dict[str, Callable[[Path], None]] = {
    "killed": kill,
    "stopped": stop,
    "out of memory": exhaust_memory,
    "full disk": fill_disk,
    "its folder deleted": delete_folder,
    "garbage on its pipe": write_garbage,
}


def assert_soon(condition: Callable[[], bool], message: str) -> None:
    """A killed process may take a moment to end."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, message
        time.sleep(0.05)


def disturbed(
    client: WorkerClient,
    order: Order,
    labels: np.ndarray,
    moment_s: float,
    inject: Callable[[], None],
    patient_s: float | None,
) -> str:
    """Run with a fault at a moment, or before the run if that is zero; return how it ended.

    After `patient_s` without an end the user cancels the run.
    """
    if not moment_s:
        inject()
    begin = time.monotonic()
    injected = None if moment_s else begin
    run = client.start([channel(SHAPE)], order)
    while not run.finished:
        run.advance()
        now = time.monotonic()
        if injected is None and now - begin >= moment_s:
            inject()
            injected = now
        if patient_s is not None and injected is not None and now - injected > patient_s:
            run.cancel()
        assert now - begin < PATIENCE_S, "the run never ended"
        time.sleep(0.002)
    if injected is None:  # the run was faster: the fault meets the idle worker
        return disturbed(client, order, labels, 0, inject, patient_s)
    try:
        result = run.result()
    except Cancelled:
        return "cancelled by the user"
    except MedNeXtError as error:
        assert len(str(error)) > 20, error
        return "explained error"
    np.testing.assert_array_equal(result.labelmap, labels)
    return "right result"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_explained_error_or_the_right_result_and_the_next_run_works(
    fault, client, order, folder, expected
):
    labels, duration, most = expected
    patient_s = USER_WAITS_S if fault == "stopped" else None
    dice, tally = random.Random(fault), Tally("the worker", fault)
    for number in range(INJECTIONS):
        is_warm = bool(pids())
        moment = dice.uniform(0.01, duration * (0.5 if is_warm else 1.1))
        tally.add(disturbed(client, order, labels, moment, lambda: FAULTS[fault](folder), patient_s))
        undo()
        # The next run works at once, in this worker or in a new one.
        np.testing.assert_array_equal(client.start([channel(SHAPE)], order).wait().labelmap, labels)
        assert not list(folder.glob("mednext_*"))
        assert_soon(lambda: len(pids()) <= most, "a process of before still runs")
        if number % 2:  # half of the injections meet a new worker, the others a warm one
            client.shutdown()
    client.shutdown()
    assert_soon(lambda: not pids(), "a process was left")
    assert not list(folder.iterdir())
    tally.keep()
