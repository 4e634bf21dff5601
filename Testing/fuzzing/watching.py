"""Run a target's executions in child processes, and watch over them."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .child import kept_at
from .targets import Finding, Outcome, Target

BATCH = 20_000  # executions in one child
START_S = 120.0  # the longest time of a child for its imports and the seeds


def fuzz(
    target: Target, folder: Path, executions: int, seed: str = "0", first: int = 0, seconds: float = 1e9
) -> Outcome:
    """Carry out the executions `first`, `first + 1`, ... of a target, for at most `seconds`.

    The time of the child's imports does not count.

    The child works in `folder`, and the files that led to findings are kept there.
    """
    outcome = Outcome()
    number, end = first, first + executions
    while number < end and outcome.seconds < seconds:
        number = _batch(target, folder, seed, range(number, min(end, number + BATCH)), seconds, outcome)
    return outcome


def _batch(target: Target, folder: Path, seed: str, numbers: range, seconds: float, outcome: Outcome) -> int:
    """Watch one child's executions; return the number of the next one."""
    number, file, since = numbers.start, None, time.monotonic()
    with _child(target, folder, seed, numbers) as (child, lines):
        while True:
            line = _next(lines, target.seconds if file else START_S)
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
            elif child.wait() == 0:
                return numbers.stop
            else:
                how = _cause(child.returncode)
                break
            if word != "begin" and outcome.seconds > seconds:
                return number + 1
    if file is None:
        raise RuntimeError(f"The target {target.name!r} cannot read its own seeds: {how}.")
    outcome.executions += 1
    outcome.findings.append(Finding(number, how, kept_at(folder, number, file)))
    shutil.copyfile(file, kept_at(folder, number, file))
    return number + 1


@contextmanager
def _child(
    target: Target, folder: Path, seed: str, numbers: range
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str]]]:
    """A child and the lines that it prints, followed by "gone"."""
    command = [sys.executable, "-m", "fuzzing.child", target.module, target.name, str(folder), seed]
    child = subprocess.Popen(
        [*command, str(numbers.start), str(len(numbers))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in child.stdout or ():
            lines.put(line.strip())
        lines.put("gone")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield child, lines
    finally:
        child.kill()
        child.wait()
        listener.join()


def _next(lines: queue.Queue[str], seconds: float) -> str | None:
    try:
        return lines.get(timeout=seconds)
    except queue.Empty:
        return None


def _cause(code: int) -> str:
    if code >= 0:
        return f"the process ended with code {code}"
    return f"signal {-code} ({signal.Signals(-code).name})"
