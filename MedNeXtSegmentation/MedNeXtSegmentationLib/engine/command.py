"""A command of `mednext` as a run, in a process of its own."""

from __future__ import annotations

import json
import time
from typing import Any

from mednext.errors import EngineProcessError
from mednext.worker.protocol import error_from_event

from .child_process import ChildProcess, find_python
from .run import WAITING, Run, Steps

CANCEL_ANSWER_S = 1.2

CLOSING_S = 0.3  # from its last output to its end
_DYING_S = 0.5
_KEPT_LINES = 100


def start_command(*arguments: str) -> Run[dict[str, Any]]:
    """Begin `mednext ARGUMENTS`; its events have `done` and `total`, its result is the output of `--json`.

    run = start_command("models", "install", "btcv-s")

    Cancelling asks the process to stop as Ctrl+C does, and kills it 1.2 s later. It also ends with Slicer.
    """
    return Run(lambda run: carrying_out(run, *arguments))


def carrying_out(run: Run[Any], *arguments: str) -> Steps[dict[str, Any]]:
    """The steps of a command: report its events until its end.

    Raises the error that the command reports, or EngineProcessError.
    """
    child = ChildProcess(find_python(), "-m", "mednext", *arguments, "--events", kept_lines=_KEPT_LINES)
    document: dict[str, Any] = {}
    give_up = None
    try:
        while not child.silent:
            if run.cancelled and give_up is None:
                give_up = time.monotonic() + CANCEL_ANSWER_S
                child.close_input()
            if give_up is not None and time.monotonic() > give_up:
                child.kill()
                break
            for line in child.lines():
                document = _take(line, document, run, child)
            yield WAITING
        yield from _closing(child)
    finally:
        child.close_input()
        if not child.complete:
            child.kill()
    return _judged(document, run, child)


def _take(line: str, document: dict[str, Any], run: Run[Any], child: ChildProcess) -> dict[str, Any]:
    """Report an event, or return the result; add any other line to the log."""
    try:
        heard = json.loads(line)
    except (ValueError, RecursionError):
        heard = None
    if isinstance(heard, dict) and "ok" in heard:
        return heard
    if isinstance(heard, dict) and "stage" in heard:
        run.report(heard)
    else:
        child.note(line)
    return document


def _closing(child: ChildProcess) -> Steps[None]:
    """End the process, if need be by force."""
    child.close_input()
    until = time.monotonic() + CLOSING_S
    while not child.complete and time.monotonic() < until:
        yield WAITING
    if child.exit_code is None:
        child.kill()
    until = time.monotonic() + _DYING_S
    while not child.complete and time.monotonic() < until:
        yield WAITING


def _judged(document: dict[str, Any], run: Run[Any], child: ChildProcess) -> dict[str, Any]:
    if document.get("ok"):
        return document
    run.check_cancelled()
    lines = [line for line in child.log if line.strip()]
    if document:
        error = error_from_event(document)
    else:
        reason = lines[-1] if lines else "it said nothing"
        error = EngineProcessError(
            f"The process ended without an answer (exit code {child.exit_code}): {reason}. "
            "Details are in Slicer's log."
        )
    error.add_note("\n".join(lines))
    raise error
