"""A report of a failure for developers, as text for the clipboard, without data of patients."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import mednext
import slicer

from .check import CheckResult
from .findings import findingsOf
from .redaction import privateWordsOfScene, redacted

_MOST_LINES = 60


class Diagnostics:
    """Remembers the last run and the last error, and composes the report."""

    def __init__(self) -> None:
        self._words: set[str] = set()  # also of images that are gone when the text is written
        self._options: dict[str, str] = {}
        self._error: list[str] = []

    def noteRun(self, options: Mapping[str, object]) -> None:
        """Note that a run begins with these options."""
        self._words |= privateWordsOfScene()
        self._options = {name: str(value) for name, value in options.items()}
        self._error = []

    def noteError(self, error: Exception) -> None:
        """Note an error, with its notes and traceback."""
        self._words |= privateWordsOfScene()
        self._error = "".join(traceback.format_exception(error)).splitlines()

    def text(
        self,
        check: CheckResult | None,
        provenance: Mapping[str, str],
        workerLines: Sequence[str],
        installerLines: Sequence[str],
    ) -> str:
        """Return the whole report.

        provenance: of the last result.
        workerLines, installerLines: the last lines of the worker's and of pip's output.
        """
        parts = [
            _part("Program", _program()),
            _part("Environment check", _check(check)),
            _part("Options of the last run", _pairs(self._options)),
            _part("Last result", _pairs(provenance)),
            _part("Last error", self._error),
            _part("Engine's log", workerLines),
            _part("Installer's log", installerLines),
        ]
        return redacted("\n".join(part for part in parts if part), self._words | privateWordsOfScene())


def _part(title: str, lines: Iterable[str]) -> str:
    kept = list(lines)[-_MOST_LINES:]
    return "\n".join([f"== {title}", *kept, ""]) if kept else ""


def _pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name}: {value}" for name, value in values.items()]


def _program() -> list[str]:
    app = slicer.app
    return [
        f"MedNeXtSegmentation {mednext.__version__}",
        f"Slicer {app.applicationVersion} (revision {app.revision}, {app.platform})",
    ]


def _check(result: CheckResult | None) -> list[str]:
    if result is None:
        return ["not done"]
    findings = [f"[{finding.level.value}] {finding.text}" for finding in findingsOf(result)]
    return [*findings, f"exit code: {result.exit_code}", *_pairs(asdict(result.facts)), *result.lines]
