"""The engine outside Slicer's process: torch is never imported where the scene lives."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mednext
from mednext import protocol
from mednext.errors import EngineProcessError, OutputError
from mednext.segmentation import Segmentation

logger = logging.getLogger(__name__)

KILLED = (-9, 137)  # what Linux does to a process when memory runs out, seen directly and through a launcher

ProgressCallback = Callable[[dict[str, Any]], None]


class EngineProcess:
    """Runs the engine in a child process of Slicer's own Python.

        segmentation = EngineProcess().segment(channels, protocol.Options("hippocampus"))

    The temporary folder through which the voxels travel is removed and the child is ended however a run ends.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or find_python()

    def segment(
        self,
        channels: Sequence[protocol.Channel],
        options: protocol.Options,
        progress: ProgressCallback | None = None,
    ) -> Segmentation:
        """Segment and wait for it; `progress` gets the engine's progress events (see `protocol`).

        Raises the engine's own errors, and `EngineProcessError` when the process died without an answer.
        """
        with tempfile.TemporaryDirectory(prefix="mednext_") as name:
            folder = Path(name)
            try:
                protocol.write_request(folder, channels, options)
            except OSError as error:
                raise OutputError(
                    f"The voxels could not be written into {folder.parent} for the engine ({error}): "
                    "free space there, or choose another temporary folder."
                ) from error
            self._run(folder, progress)
            return protocol.read_result(folder)

    def _run(self, folder: Path, progress: ProgressCallback | None) -> None:
        log_file = folder / "engine.log"
        with log_file.open("wb") as log:
            process = self._start(folder, log)
        done = False
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = _parse(line)
                if event["event"] == "error":
                    raise protocol.error_from_event(event)
                if event["event"] == "progress" and progress:
                    progress(event)
                done = event["event"] == "done"
            exit_code = process.wait()
        finally:
            # After an error, in a callback or by Ctrl+C, nobody waits for the result any more. PythonSlicer
            # is a launcher, and killing it leaves Python running: Python ends when its input is closed.
            process.kill()
            process.communicate()
        if not done:
            raise _explain_end(exit_code, log_file.read_text(encoding="utf-8", errors="replace"))

    def _start(self, folder: Path, log: Any) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [self._python, "-m", "mednext.job", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                encoding="utf-8",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EngineProcessError(
                f"{self._python} could not be started ({error}): reinstall Slicer."
            ) from error


def find_python() -> str:
    """The Python that has torch: Slicer's own `PythonSlicer`, outside Slicer the present one."""
    python_slicer = shutil.which("PythonSlicer")
    if python_slicer:
        return python_slicer
    # In the application this may be SlicerApp itself: starting that would open another Slicer.
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    raise EngineProcessError(f"PythonSlicer was not found on the PATH of {sys.executable}: reinstall Slicer.")


def _environment() -> dict[str, str]:
    """The child finds this very `mednext`, whatever else is installed."""
    package_folder = str(Path(mednext.__file__).parents[1])
    paths = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}


def _parse(line: str) -> dict[str, Any]:
    try:
        return protocol.parse_event(line)
    except ValueError as error:
        raise EngineProcessError(
            f"The engine's process said {line.strip()[:200]!r}, which is not an answer: "
            "check which Python is called PythonSlicer."
        ) from error


def _explain_end(exit_code: int, log: str) -> EngineProcessError:
    logger.error("The engine's process ended with exit code %d:\n%s", exit_code, log)
    reason = log.strip().rpartition("\n")[2]
    if exit_code in KILLED:
        reason = "killed, most likely for want of memory: close other programs or choose a region of interest"
    return EngineProcessError(
        f"The engine's process ended without an answer (exit code {exit_code}): {reason}. "
        "Slicer's scene is unchanged; details are in Slicer's log."
    )
