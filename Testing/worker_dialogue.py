"""A real worker spoken to by hand, and requests for it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mednext
import numpy as np
from mednext import protocol
from mednext.geometry import Geometry
from mednext.protocol import Channel, Options

PATIENCE_S = 120.0


def channel(shape: Sequence[int] = (20, 36, 24), seed: int = 0) -> Channel:
    """Noise `(Z, Y, X)` at 1 mm."""
    voxels = np.random.default_rng(seed).normal(500, 200, size=tuple(shape)).astype(np.float32)
    return Channel("T1 é 后", voxels, Geometry((shape[2], shape[1], shape[0]), (1.0, 1.0, 1.0)))


def environment(*folders: Path) -> dict[str, str]:
    """This process's environment, with the engine and these folders to import from."""
    paths = [*folders, Path(mednext.__file__).parents[1]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in paths)}


class Dialogue:
    """A worker and what it has said, all of it, as lines of standard output."""

    def __init__(self, parent: int | None = None, folders: Sequence[Path] = ()) -> None:
        command = [sys.executable, "-m", "mednext.worker", "--parent", str(parent or os.getpid())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(*folders),
            encoding="utf-8",
        )
        self.errors: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._errors_read = threading.Thread(target=self._read_errors, daemon=True)
        self._errors_read.start()

    def say(self, line: str) -> None:
        """Say any line."""
        assert self.process.stdin
        self.process.stdin.write(line.rstrip("\n") + "\n")
        self.process.stdin.flush()

    def segment(self, run: int, folder: Path, options: Options, shape: Sequence[int] = (20, 36, 24)) -> None:
        """Ask for a segmentation of noise, through a new folder."""
        folder.mkdir()
        protocol.write_request(folder, [channel(shape)], options)
        self.say(protocol.format_request(protocol.SegmentRequest(run, str(folder))))

    def hear(self) -> str:
        """The next line on standard output that is no heartbeat; "" at the end."""
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            if line is None:
                return ""
            if '"heartbeat"' not in line:
                return line

    def events_until(self, *kinds: str) -> list[dict[str, Any]]:
        """The events up to the first of one of these kinds."""
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] not in kinds:
            events.append(json.loads(self.hear()))
        return events

    def exit_code(self) -> int:
        """Wait for the end of the process, and of what it says."""
        code = self.process.wait(PATIENCE_S)
        self._errors_read.join(PATIENCE_S)
        return code

    def end(self) -> None:
        """End the worker, whatever it does."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)


def stages(events: Sequence[dict[str, Any]]) -> list[str]:
    """The stages that these events tell of, each once, in order."""
    return list(dict.fromkeys(event["stage"] for event in events if event["event"] == "progress"))
