"""A process of the engine, whose output is read without blocking and without a thread; see `run.py`."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from mednext.errors import EngineProcessError
from mednext.library.folder_locations import MODELS_VARIABLE, models_folder
from mednext.system.child_processes import child_environment
from mednext.system.memory_settings import tuned_environment

KEPT_LINES = 500

_DYING_S = 0.5
_PIECE_BYTES = 2**16
_MOST_PIECES = 16  # read at once, so that endless output blocks nothing
_LONGEST_LINE = 2**24  # bytes, more than any event of ours; the rest counts as another line
_LONGEST_KEPT = 2000  # characters of a line in the log


class ChildProcess:
    """A running `python ARGUMENTS`, of Slicer's own Python, that ends together with its launcher.

    Attributes:
        log: the last lines of its standard error, and others that the caller notes.
    """

    def __init__(self, python: str, *arguments: str, kept_lines: int = KEPT_LINES) -> None:
        """Start it. Raises EngineProcessError when that is impossible."""
        self.log: deque[str] = deque(maxlen=kept_lines)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - Slicer's own Python, and no shell
                [python, *arguments],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **engine_process_options(),
            )
        except OSError as error:
            is_broken = isinstance(error, FileNotFoundError | PermissionError)
            remedy = "reinstall Slicer" if is_broken else "close other programs, or restart Slicer"
            raise EngineProcessError(f"{python} could not be started ({error}): {remedy}.") from error
        self._said = _Lines(self._process.stdout)
        self._logged = _Lines(self._process.stderr)

    def lines(self) -> list[str]:
        """The lines of standard output since the last call; reads standard error into the log, too."""
        lines = self._said.new()
        self.note(*self._logged.new())
        return lines

    def note(self, *lines: str) -> None:
        """Add lines to the log."""
        self.log += (line[:_LONGEST_KEPT] for line in lines)

    @property
    def silent(self) -> bool:
        """Whether its standard output has ended and was read completely."""
        return self._said.ended

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def complete(self) -> bool:
        """Whether it has ended, and its standard error was read."""
        self.note(*self._logged.new())
        return self.exit_code is not None and self._logged.ended

    def send(self, line: str) -> None:
        """Write to its standard input. Raises OSError when that is closed."""
        assert self._process.stdin
        if self._process.stdin.closed:
            raise BrokenPipeError(errno.EPIPE, "its input is closed")
        self._process.stdin.write(line.encode())

    def close_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Kill it at once, with the Python that the launcher PythonSlicer has started."""
        if self._process.poll() is not None:
            return
        if sys.platform == "win32":
            end_tree(self._process)
            return
        with suppress(OSError):  # it ended by itself at this moment
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def wait_for_end(self, timeout_s: float = _DYING_S) -> None:
        """Wait for its end, but not for ever: a process that waits for a disk ends later."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Let Windows end a process together with its children, which cannot be found after its end."""
    program = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
    try:
        subprocess.Popen(  # noqa: S603 - a program of Windows by its whole path
            [str(program), "/PID", str(process.pid), "/T", "/F"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError:
        process.kill()


class _Lines:
    """The lines of a pipe, read without waiting."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._rest = bytearray()  # which grows without being copied
        self.ended = False
        os.set_blocking(pipe.fileno(), False)

    def new(self) -> list[str]:
        """The new lines. At the end of the pipe the last line may lack its line break."""
        lines: list[bytearray] = []
        for _ in range(_MOST_PIECES):
            if self.ended:
                break
            try:
                piece = os.read(self._pipe.fileno(), _PIECE_BYTES)
            except BlockingIOError:
                break
            self.ended = not piece
            first, *others = piece.split(b"\n")
            self._rest += first
            for other in others:
                lines.append(self._rest)
                self._rest = bytearray(other)
            if self._rest and (self.ended or len(self._rest) > _LONGEST_LINE):
                lines.append(self._rest)
                self._rest = bytearray()
        return [line.decode("utf-8", "replace").rstrip() for line in lines]


def find_python() -> str:
    """The Python with torch: Slicer's own `PythonSlicer`, outside of Slicer the present one."""
    python_slicer = shutil.which("PythonSlicer")
    if python_slicer:
        return python_slicer
    # In the application this may be SlicerApp itself: starting that would open another Slicer.
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    raise EngineProcessError(f"PythonSlicer was not found on the PATH of {sys.executable}: reinstall Slicer.")


def engine_environment() -> dict[str, str]:
    """The child's environment, which makes it import this `mednext` and use the same models folder."""
    return {
        **child_environment(tuned_environment()),
        "PYTHONUTF8": "1",
        MODELS_VARIABLE: str(models_folder()),
    }


def engine_process_options() -> dict[str, Any]:
    """The arguments of `Popen` for a process that `kill` can end."""
    return {
        "env": engine_environment(),
        "start_new_session": True,
        "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0),
    }
