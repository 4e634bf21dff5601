"""A command of `mednext` in a process of its own: what takes long or imports torch stays out of Slicer."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mednext.errors import EngineProcessError
from mednext.protocol import error_from_event

from .run import POLL_S, Run
from .worker_process import engine_process_options, find_python, kill_with_launcher

CANCEL_ANSWER_S = 1.2
CLOSING_S = 0.3  # from its last word to its end
_KEPT_LINES = 100


def start_command(*arguments: str) -> Run[dict[str, Any]]:
    """Begin `mednext ARGUMENTS`; its events have `done` and `total`, its result is what `--json` prints.

    run = start_command("models", "install", "btcv-s")

    Cancelling asks the process to stop as Ctrl+C does, and ends it 1.2 s later. It ends with Slicer, too.
    """
    return Run(lambda run: _Command(arguments).carry_out(run))


class _Command:
    """The process and the threads that read what it says."""

    def __init__(self, arguments: Sequence[str]) -> None:
        python = find_python()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            self._process = subprocess.Popen(
                [python, "-m", "mednext", *arguments, "--events"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **engine_process_options(),
            )
        except OSError as error:
            raise EngineProcessError(f"{python} could not be started ({error}): reinstall Slicer.") from error
        threading.Thread(target=self._hear, daemon=True).start()
        self._logging = threading.Thread(target=self._keep_log, daemon=True)
        self._logging.start()

    def carry_out(self, run: Run[dict[str, Any]]) -> dict[str, Any]:
        """Report what the process says until its last word. Raises the error that it tells of."""
        document: dict[str, Any] = {}
        give_up = None
        try:
            while True:
                if run.cancelled and give_up is None:
                    give_up = time.monotonic() + CANCEL_ANSWER_S
                    self._close_input()
                if give_up is not None and time.monotonic() > give_up:
                    run.check_cancelled()
                try:
                    line = self._lines.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if line is None:
                    break
                document = self._take(line, document, run)
        finally:
            self._end()
        return self._judge(document, run)

    def _take(self, line: str, document: dict[str, Any], run: Run[dict[str, Any]]) -> dict[str, Any]:
        """Hand on an event, or return the result; what is neither is for the log."""
        try:
            heard = json.loads(line)
        except ValueError:
            self._log.append(line.rstrip())
            return document
        if isinstance(heard, dict) and "ok" in heard:
            return heard
        if isinstance(heard, dict) and "stage" in heard:
            run.report(heard)
        return document

    def _judge(self, document: dict[str, Any], run: Run[dict[str, Any]]) -> dict[str, Any]:
        if document.get("ok"):
            return document
        run.check_cancelled()
        self._logging.join(1.0)
        lines = [line for line in self._log if line.strip()]
        if document:
            error = error_from_event(document)
        else:
            reason = lines[-1] if lines else "it said nothing"
            error = EngineProcessError(
                f"The process ended without an answer (exit code {self._process.returncode}): {reason}. "
                "Details are in Slicer's log."
            )
        error.add_note("\n".join(lines))
        raise error

    def _close_input(self) -> None:
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def _end(self) -> None:
        """Leave no process behind, whether or not it listened."""
        self._close_input()
        try:
            self._process.wait(CLOSING_S)
        except subprocess.TimeoutExpired:
            kill_with_launcher(self._process, None)

    def _hear(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _keep_log(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._log.append(line.rstrip())
