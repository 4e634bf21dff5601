"""The worker's process as its client sees it: requests go in, events come out, it can die."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress

from mednext.errors import EngineProcessError
from mednext.system.devices import Accelerator
from mednext.worker import protocol

from .child_process import ChildProcess

KILLED = (-9, 137)  # what Linux does to a process when memory runs out, seen directly and through a launcher


class WorkerProcess:
    """A worker, and what it has said.

    Attributes:
        accelerators: the devices beside the CPU, once the worker has told them.
        pid: the number of the worker itself, once it has said hello; the child is PythonSlicer, its launcher.
        greeted: whether the worker has said hello in this version of the protocol; set by the client.
    """

    def __init__(self, python: str) -> None:
        """Start the worker. Raises EngineProcessError when that is impossible."""
        self._child = ChildProcess(python, "-m", "mednext.worker", "--parent", str(os.getpid()))
        self._events: deque[protocol.Message] = deque()
        self._killed = False
        self.greeted = False
        self.pid: int | None = None
        self.accelerators: tuple[Accelerator, ...] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs and speaks, and was not told to end."""
        self.hear()
        return not self._killed and self._child.exit_code is None and not self._child.silent

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._child.exit_code is not None

    @property
    def ended(self) -> bool:
        """Whether all that it will ever say was taken."""
        return self._child.silent and not self._events

    @property
    def complete(self) -> bool:
        """Whether it has ended, and its log was heard to the end."""
        return self._child.complete

    @property
    def log(self) -> deque[str]:
        """The last lines that were no events: standard error, and what libraries print."""
        return self._child.log

    def hear(self) -> None:
        """Take in what it has said since the last call."""
        for line in self._child.lines():
            try:
                event = protocol.parse_event(line)
            except ValueError:
                self.log.append(line)
                continue
            if event["event"] == "devices":
                self.accelerators = _accelerators(event)
                continue
            if event["event"] == "hello":
                self.pid = event.get("pid")
            self._events.append(event)

    def events(self) -> deque[protocol.Message]:
        """What it said and nobody has taken yet, in order: who takes an event removes it."""
        self.hear()
        return self._events

    def send(self, request: protocol.Request) -> None:
        """Send a request; that a dead worker cannot hear it shows in `ended`."""
        try:
            self._child.send(protocol.format_request(request))
        except OSError:
            self.log.append("The request could not be sent: the worker had closed its input.")

    def kill(self) -> None:
        """End the process whatever it is doing; returns at once."""
        self._killed = True
        self._child.kill()

    def wait_for_end(self) -> None:
        """Wait until a process that was killed has ended, but not for ever."""
        self._child.wait_for_end()

    def explain_end(self) -> EngineProcessError:
        """Why the process ended without an answer, for people, with its last lines as a note."""
        exit_code = self._child.exit_code
        if exit_code is None:  # it only closed its output
            exit_code = 0
            self.kill()
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


def _accelerators(event: protocol.Message) -> tuple[Accelerator, ...]:
    with suppress(KeyError, TypeError):  # another version of the worker; the run will say so
        return tuple(Accelerator(**device) for device in event["devices"])
    return ()
