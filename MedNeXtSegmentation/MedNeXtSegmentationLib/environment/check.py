"""The environment check: a child process examines Slicer's Python, since a broken PyTorch may crash it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from mednext.errors import EngineProcessError
from mednext.worker.environment_facts import Facts

from ..engine.child_process import ChildProcess, find_python

PATIENCE_S = 180.0  # a first import of PyTorch from a cold disk, with an antivirus program looking
KEPT_LINES = 100

_CLOSING_S = 1.0  # a grandchild may hold the pipes open
_PAUSE_S = 0.02


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        facts: the facts that the child reported before it ended; `facts.step` is its last step.
        exit_code: of the child; None when it hung and was killed.
        start_error: the reason why the child could not be started.
        lines: the last lines of its other output: tracebacks, and prints of libraries.
    """

    facts: Facts = field(default_factory=Facts)
    exit_code: int | None = 0
    start_error: str = ""
    lines: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the child went through all steps."""
        return self.facts.step == "done"


class EnvironmentCheck:
    """One running check, which advances each time `finished` or `result` is asked.

        check = EnvironmentCheck()
        check.finished  # for a timer
        check.result()  # waits

    Args:
        python: the Python to examine; by default the one that segments.
        patience_s: a child that takes longer hangs, and is killed.
    """

    def __init__(self, python: str | None = None, patience_s: float = PATIENCE_S) -> None:
        self._facts = Facts()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._result: CheckResult | None = None
        self._until = time.monotonic() + patience_s
        self._hung = False
        try:
            self._child = ChildProcess(python or find_python(), "-m", "mednext.worker.environment_check")
            self._child.close_input()
        except EngineProcessError as error:
            self._result = CheckResult(exit_code=None, start_error=str(error))

    @property
    def finished(self) -> bool:
        """Whether `result` returns at once."""
        if self._result is None:
            self._look()
        return self._result is not None

    def result(self) -> CheckResult:
        """Wait for the result. Raises nothing: every failure is a result."""
        while not self.finished:
            time.sleep(_PAUSE_S)
        assert self._result
        return self._result

    def _look(self) -> None:
        child = self._child
        for line in child.lines():
            try:
                self._facts = Facts.from_line(line)
            except ValueError:
                self._lines.append(line)
        self._lines += filter(str.strip, child.log)
        child.log.clear()
        if child.exit_code is None and time.monotonic() > self._until and not self._hung:
            self._hung = True
            child.kill()
        if child.exit_code is None:
            return
        self._until = min(self._until, time.monotonic() + _CLOSING_S)
        if (child.silent and child.complete) or time.monotonic() > self._until:
            exit_code = None if self._hung else child.exit_code
            lines = tuple(line for line in [*self._lines, *child.log] if line.strip())
            self._result = CheckResult(self._facts, exit_code, lines=lines)
