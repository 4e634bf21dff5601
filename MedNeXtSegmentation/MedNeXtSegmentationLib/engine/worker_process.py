"""The worker's process as its client sees it: requests go in, events and log lines come out, it can die."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import mednext
from mednext import protocol
from mednext.allocator import tuned_environment
from mednext.devices import Accelerator
from mednext.errors import EngineProcessError
from mednext.resources import MODELS_VARIABLE, models_folder

KILLED = (-9, 137)  # what Linux does to a process when memory runs out, seen directly and through a launcher
KEPT_LINES = 500
CLOSING_S = 1.0
DYING_S = 0.5


class WorkerProcess:
    """A worker and the two threads that read what it says; they touch neither Qt nor MRML, and log nothing.

    Attributes:
        events: what the worker said, in order; None once it has ended.
        log: the last lines that were no events: standard error, and what libraries print.
        pid: of the worker itself, once it has said hello; PythonSlicer stands between it and this process.
        accelerators: the devices beside the CPU, once the worker has told them.
        greeted: whether the worker has said hello in this version of the protocol; set by the client.
    """

    def __init__(self, python: str) -> None:
        """Start the worker. Raises EngineProcessError when that is impossible."""
        self.events: queue.SimpleQueue[protocol.Message | None] = queue.SimpleQueue()
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self.greeted = False
        self._killed = False
        self.pid: int | None = None
        self.accelerators: tuple[Accelerator, ...] | None = None
        try:
            self._process = subprocess.Popen(
                [python, "-m", "mednext.worker", "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **engine_process_options(),
            )
        except OSError as error:
            raise EngineProcessError(f"{python} could not be started ({error}): reinstall Slicer.") from error
        self._logging = threading.Thread(target=self._keep_log, daemon=True)
        self._logging.start()
        threading.Thread(target=self._hear, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process runs, and was not told to end."""
        return not self._killed and self._process.poll() is None

    def send(self, request: protocol.Request) -> None:
        """Send a request; that a dead worker cannot hear it shows in `events`."""
        assert self._process.stdin
        try:
            self._process.stdin.write(protocol.format_request(request))
            self._process.stdin.flush()
        except OSError:
            self.log.append("The request could not be sent: the worker had closed its input.")

    def kill(self) -> None:
        """End the process whatever it is doing; see `kill_with_launcher`."""
        self._killed = True
        kill_with_launcher(self._process, self.pid)

    def explain_end(self) -> EngineProcessError:
        """Why the process ended without an answer, for people, with its last lines as a note."""
        try:
            exit_code = self._process.wait(timeout=CLOSING_S)
        except subprocess.TimeoutExpired:  # it only closed its output
            exit_code = 0
            self.kill()
        self._logging.join(CLOSING_S)
        lines = [line for line in self.log if line.strip()]
        reason = lines[-1] if lines else "it said nothing"
        if exit_code in KILLED:
            reason = "killed, probably for want of memory: close other programs or choose a smaller region"
        error = EngineProcessError(
            f"The engine's process ended without an answer (exit code {exit_code}): {reason}. "
            "Slicer's scene is unchanged; the next run starts a new process. Details are in Slicer's log."
        )
        error.add_note("\n".join(lines))
        return error

    def _hear(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            try:
                event = protocol.parse_event(line)
            except ValueError:
                self.log.append(line.rstrip())
                continue
            if event["event"] == "hello":
                self.pid = event.get("pid")
            elif event["event"] == "devices":
                self.accelerators = _accelerators(event)
                continue
            self.events.put(event)
        self.events.put(None)

    def _keep_log(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self.log.append(line.rstrip())


def _accelerators(event: protocol.Message) -> tuple[Accelerator, ...]:
    with suppress(KeyError, TypeError):  # another version of the worker; the run will say so
        return tuple(Accelerator(**device) for device in event["devices"])
    return ()


def find_python() -> str:
    """The Python that has torch: Slicer's own `PythonSlicer`, outside Slicer the present one."""
    python_slicer = shutil.which("PythonSlicer")
    if python_slicer:
        return python_slicer
    # In the application this may be SlicerApp itself: starting that would open another Slicer.
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    raise EngineProcessError(f"PythonSlicer was not found on the PATH of {sys.executable}: reinstall Slicer.")


def engine_environment() -> dict[str, str]:
    """The child finds this very `mednext`, whatever else is installed, and the same models folder."""
    package_folder = str(Path(mednext.__file__).parents[1])
    paths = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **tuned_environment(),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        MODELS_VARIABLE: str(models_folder()),
    }


def engine_process_options() -> dict[str, Any]:
    """How a process of the engine is started, so that `kill_with_launcher` can end it."""
    return {
        "env": engine_environment(),
        "encoding": "utf-8",
        "errors": "replace",
        "start_new_session": True,
        "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0),
    }


def kill_with_launcher(process: subprocess.Popen[str], pid: int | None) -> None:
    """End a process of the engine, and wait until it has ended.

    Not for ever: one that waits for a disk or a device ends when that answers.

    PythonSlicer is a launcher: killing it alone would leave Python running, whose number is `pid`.
    """
    if process.poll() is None:
        with suppress(OSError):  # it ended by itself at this moment
            if sys.platform != "win32":
                os.killpg(process.pid, signal.SIGKILL)
            elif pid:
                os.kill(pid, signal.SIGTERM)
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(DYING_S)
