"""The process of the worker: its requests, its events, its log, and the reason of its end."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress

from mednext.errors import EngineProcessError
from mednext.system.devices import Accelerator
from mednext.worker import protocol

from .child_process import ChildProcess

KILLED = (-9, 137)  # exit codes, directly and through a launcher, after Linux ran out of memory


class WorkerProcess:
    """A worker and its output.

    Attributes:
        accelerators: the devices beside the CPU, once the worker has reported them.
        pid: the process ID of the worker, once it has said hello; the child process is its launcher.
        greeted: whether the worker has said hello in this version of the protocol; set by the client.
    """

    def __init__(self, python: str, *, engine: bool = True) -> None:
        """Start the worker. Raises EngineProcessError when that is impossible.

        engine: whether it imports torch; runs on a server need none.
        """
        options = () if engine else ("--without-engine",)
        self._child = ChildProcess(python, "-m", "mednext.worker", "--parent", str(os.getpid()), *options)
        self._events: deque[protocol.Message] = deque()
        self._killed = False
        self.greeted = False
        self.pid: int | None = None
        self.accelerators: tuple[Accelerator, ...] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs, still writes, and was not killed."""
        self.hear()
        return not self._killed and self._child.exit_code is None and not self._child.silent

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._child.exit_code is not None

    @property
    def ended(self) -> bool:
        """Whether its output has ended, and all events were taken."""
        return self._child.silent and not self._events

    @property
    def complete(self) -> bool:
        """Whether it has ended, and its log was read to the end."""
        return self._child.complete

    @property
    def log(self) -> deque[str]:
        """The last lines that were not events: standard error, and prints of libraries."""
        return self._child.log

    def hear(self) -> None:
        """Read its output since the last call."""
        for line in self._child.lines():
            try:
                event = protocol.parse_event(line)
            except ValueError:
                self._child.note(line)
                continue
            if event["event"] == "devices":
                self.accelerators = _accelerators(event)
                continue
            if event["event"] == "hello":
                self.pid = event.get("pid")
            self._events.append(event)

    def events(self) -> deque[protocol.Message]:
        """The events that were not taken yet, in order; the caller removes those that it takes."""
        self.hear()
        return self._events

    def send(self, request: protocol.Request) -> None:
        """Send a request. For a dead worker `ended` becomes true."""
        try:
            self._child.send(protocol.format_request(request))
        except OSError:
            self._child.note("The request could not be sent: the worker had closed its input.")

    def kill(self) -> None:
        """Kill the process; returns at once."""
        self._killed = True
        self._child.kill()

    def wait_for_end(self) -> None:
        """Wait for the end of a killed process, but not for ever."""
        self._child.wait_for_end()

    def explain_end(self) -> EngineProcessError:
        """The error for a process that ended without an answer, with its last lines as a note."""
        exit_code = self._child.exit_code
        if exit_code is None:  # it has only closed its output
            exit_code = 0
            self.kill()
        lines = [line for line in self.log if line.strip()]
        reason = lines[-1] if lines else "it said nothing"
        if exit_code in KILLED:
            reason = "killed, probably for lack of memory: close other programs or choose a smaller region"
        error = EngineProcessError(
            f"The engine's process ended without an answer (exit code {exit_code}): {reason}. "
            "Slicer's scene is unchanged; the next run starts a new process. Details are in Slicer's log."
        )
        error.add_note("\n".join(lines))
        return error


def _accelerators(event: protocol.Message) -> tuple[Accelerator, ...]:
    with suppress(KeyError, TypeError):  # another version of the worker; the run will say so
        return tuple(Accelerator(**device) for device in event["devices"])
    return ()
