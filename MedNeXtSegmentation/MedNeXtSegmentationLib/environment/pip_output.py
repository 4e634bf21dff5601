"""Lines of pip's output as they come, with Slicer's windows alive while pip runs."""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer

logger = logging.getLogger(__name__)

_PAUSE_S = 0.02


@contextmanager
def liveOutput(onLine: Callable[[str], None]) -> Iterator[None]:
    """Within the block the event loop runs while `slicer.util` waits for a process.

    Without it `slicer.util.logProcessOutput`, which handles all of pip's output, blocks until the next line:
    for minutes while a large file is downloaded.

    onLine: gets every line of output.
    """
    original = slicer.util.logProcessOutput

    def follow(process: Any, logCallback: Callable[[str], None] | None = None) -> None:
        _follow(process, [onLine, *([logCallback] if logCallback else [])])

    slicer.util.logProcessOutput = follow
    try:
        yield
    finally:
        slicer.util.logProcessOutput = original


def _follow(process: Any, listeners: list[Callable[[str], None]]) -> None:
    """Wait for the end of a process. Raises CalledProcessError when it fails."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=[process, lines], daemon=True).start()
    last = ""
    while True:
        try:
            line = lines.get_nowait()
        except queue.Empty:
            slicer.app.processEvents()
            time.sleep(_PAUSE_S)
            continue
        if line is None:
            break
        last = line or last
        logger.info(line)
        for listen in listeners:
            listen(line)
    exit_code = process.wait()
    if exit_code:
        raise PipError(exit_code, process.args, last)


class PipError(subprocess.CalledProcessError):
    """The failure of a process, with its last line as the reason."""

    def __init__(self, exit_code: int, command: Any, last: str) -> None:
        super().__init__(exit_code, command)
        self.last = last

    def __str__(self) -> str:
        return self.last or super().__str__()


def _read(process: Any, lines: queue.SimpleQueue[str | None]) -> None:
    """Queue the lines of a process, in a thread that touches no Qt; undecodable bytes are replaced."""
    for line in process.stdout.buffer:
        lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)
