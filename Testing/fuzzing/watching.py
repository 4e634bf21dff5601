"""Run a target's executions in child processes, and watch over them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .child import kept_at
from .targets import Finding, Outcome, Target

BATCH = 20_000  # executions in one child
START_S = 120.0  # the longest time for the imports, and for a child's seeds

IN_MEMORY = Path("/dev/shm")  # on a disk each execution waits for two writes

_Lines = Callable[[float], str | None]  # the next line, or None if there is none within these seconds


def fuzz(
    target: Target, folder: Path, executions: int, seed: str = "0", first: int = 0, seconds: float = 1e9
) -> Outcome:
    """Carry out the executions `first`, `first + 1`, ... of a target, for at most `seconds`.

    The time of the child's imports does not count. Files that led to findings are kept in `folder`.
    """
    outcome = Outcome()
    folder.mkdir(parents=True, exist_ok=True)
    number, end = first, first + executions
    while number < end and outcome.seconds < seconds:
        numbers = range(number, min(end, number + BATCH))
        with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as scratch:
            number = _batch(target, scratch, folder, seed, numbers, seconds, outcome)
    return outcome


def _batch(
    target: Target,
    scratch: str,
    folder: Path,
    seed: str,
    numbers: range,
    seconds: float,
    outcome: Outcome,
) -> int:
    """Watch one child's executions; return the number of the next one."""
    number, file, since = numbers.start, None, time.monotonic()
    with _child(target, scratch, folder, seed, numbers) as next_line:
        while True:
            line = next_line(target.seconds if file else START_S)
            if line is None:
                how = f"more than {target.seconds if file else START_S:g} s"
                break
            word, _, rest = line.partition(" ")
            told, _, text = rest.partition(" ")
            now = time.monotonic()
            outcome.seconds += now - since if file else 0
            since = now
            if word == "begin":
                number, file = int(told), Path(text)
            elif word == "end":
                outcome.executions += 1
                outcome.ends[text] += 1
            elif word == "bad":
                assert file
                outcome.executions += 1
                outcome.findings.append(Finding(number, text, kept_at(folder, number, file)))
            else:
                how = _cause(int(told))
                break
            if word != "begin" and (number + 1 == numbers.stop or outcome.seconds > seconds):
                return number + 1
    if file is None:
        raise RuntimeError(f"The target {target.name!r} cannot read its own seeds: {how}.")
    outcome.executions += 1
    outcome.findings.append(Finding(number, how, kept_at(folder, number, file)))
    shutil.copyfile(file, kept_at(folder, number, file))
    return number + 1


class _Parent:
    """The process that imports the targets once and forks the children, and the lines that they print."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.process.kill)

    def ask(self, *request: str | int) -> int:
        """Ask for executions by a new child; return its process."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.next_line(START_S) or "no line"
        if not line.startswith("process "):
            raise RuntimeError(f"The process that imports the targets does not start: {line}.")
        return int(line.removeprefix("process "))

    def next_line(self, seconds: float) -> str | None:
        """The next line of the child, or None if there is none within these seconds."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.strip())
        self._lines.put(f"gone {self.process.wait()}")


_parent = functools.cache(_Parent)


@contextmanager
def _child(target: Target, scratch: str, folder: Path, seed: str, numbers: range) -> Iterator[_Lines]:
    """Wait for the lines of a new child, of which the last one would be "gone CODE"; end it afterwards."""
    parent, last = _parent(), ""
    words = (target.module, target.name, scratch, str(folder), seed)
    child = parent.ask(*words, numbers.start, len(numbers))

    def next_line(seconds: float) -> str | None:
        nonlocal last
        since, line = _computed_s(child), None
        while line is None and (left := seconds - _computed_s(child) + since) > 0:
            line = parent.next_line(left)
        last = line or ""
        return line

    try:
        yield next_line
    finally:
        if not last.startswith("gone"):
            os.kill(child, getattr(signal, "SIGKILL", signal.SIGTERM))
        while not last.startswith("gone"):
            assert next_line(START_S)
        if parent.process.poll() is not None:
            _parent.cache_clear()


def _computed_s(process: int) -> float:
    """The time, less that in which a process waited for a processor, where Linux tells it."""
    try:
        waited_ns = int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        waited_ns = 0
    return time.monotonic() - waited_ns / 1e9


def _cause(code: int) -> str:
    if code >= 0:
        return f"the process ended with code {code}"
    return f"signal {-code} ({signal.Signals(-code).name})"
