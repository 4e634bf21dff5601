"""Workers that are processes of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from ...errors import EngineProcessError
from ...system.child_processes import child_environment
from ...system.json_values import to_json
from ...system.memory_settings import tuned_environment
from .job import CrewJob, Message

PROGRAM = (sys.executable, "-m", "mednext.worker.crew.hand")


class ProcessWorker:
    """A process that runs `hand`; a thread passes its events on."""

    def __init__(
        self, job: CrewJob, tell: Callable[[Message], None], program: Sequence[str] = PROGRAM
    ) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and no shell
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(tuned_environment()),
                start_new_session=True,  # Ctrl+C is for the scheduler alone
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except (OSError, ValueError) as error:
            raise EngineProcessError(f"{program[0]} could not be started ({error}).") from error
        self.name = str(self._process.pid)
        self.send({"job": to_json(job)})
        threading.Thread(target=self._pass_on, args=[tell], daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; a process that has ended is reported by its last event."""
        assert self._process.stdin
        with suppress(OSError, ValueError):  # closed by either side
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _pass_on(self, tell: Callable[[Message], None]) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half a line of a process that was killed
            tell(message)
        self._process.stdout.close()
        tell({"event": "ended", "code": self._process.wait()})
        with suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()


class ProcessCrew:
    """Workers of this machine, which share its cards and its cores."""

    def __init__(self, jobs: Sequence[CrewJob], program: Sequence[str] = PROGRAM) -> None:
        self.size = len(jobs)
        self._jobs = jobs
        self._program = program

    def start(self, place: int, tell: Callable[[Message], None]) -> ProcessWorker:
        """Start the worker of a place. Raises `EngineProcessError`."""
        return ProcessWorker(self._jobs[place], tell, self._program)

    def close(self) -> None:
        """Do nothing: the workers have ended."""
