"""The environment check: a child process looks at Slicer's Python, since a broken PyTorch may crash it."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from dataclasses import dataclass, field

from mednext.environment_facts import Facts
from mednext.errors import EngineProcessError

from ..engine.worker_process import engine_process_options, find_python, kill_with_launcher

PATIENCE_S = 180.0  # a first import of PyTorch from a cold disk, with an antivirus program looking
KEPT_LINES = 100


@dataclass(frozen=True)
class CheckResult:
    """What a check came to.

    Attributes:
        facts: as far as the child came: `facts.step` says how far.
        exit_code: of the child; None when it was ended because it hung.
        start_error: why the child could not even be started.
        lines: the last lines that it said besides: tracebacks, and what libraries print.
    """

    facts: Facts = field(default_factory=Facts)
    exit_code: int | None = 0
    start_error: str = ""
    lines: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the child came to its end."""
        return self.facts.step == "done"


class EnvironmentCheck:
    """One check on its way; its threads touch no Qt.

        check = EnvironmentCheck()
        check.finished  # for a timer
        check.result()  # waits

    Args:
        python: the Python to look at; by default the one that segments.
        patience_s: a child that takes longer has hung, and is killed.
    """

    def __init__(self, python: str | None = None, patience_s: float = PATIENCE_S) -> None:
        self._python = python
        self._patience_s = patience_s
        self._facts = Facts()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._result = CheckResult()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether `result` returns at once."""
        return not self._thread.is_alive()

    def result(self) -> CheckResult:
        """What was found; nothing raises, all that can go wrong is a result."""
        self._thread.join()
        return self._result

    def _look(self) -> None:
        try:
            process = subprocess.Popen(
                [self._python or find_python(), "-m", "mednext.environment_check"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                **engine_process_options(),
            )
        except (OSError, EngineProcessError) as error:
            self._result = CheckResult(exit_code=None, start_error=str(error))
            return
        reader = threading.Thread(target=self._read, args=[process], daemon=True)
        reader.start()
        exit_code: int | None
        try:
            exit_code = process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            exit_code = None
            kill_with_launcher(process, self._facts.pid)
        reader.join(1.0)  # a grandchild may hold the pipe open
        self._result = CheckResult(self._facts, exit_code, lines=tuple(self._lines))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            try:
                self._facts = Facts.from_line(line)
            except ValueError:
                if line.strip():
                    self._lines.append(line.rstrip())
