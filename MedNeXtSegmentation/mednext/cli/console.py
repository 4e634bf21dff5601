"""What the command line shows: text or one JSON document on stdout, errors and a progress bar on stderr."""

from __future__ import annotations

import json as json_module
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import MedNeXtError

if TYPE_CHECKING:
    from ..progress import Progress

FAULT = 1

_BETWEEN_EVENTS_S = 0.1
_WORTH_AN_EVENT = 0.01  # of the whole


class Console:
    """Prints for people, or for programs with `json` or `events`; `quiet` leaves nothing but errors.

    With `events` every line is a JSON document: how far it is (`done` and `total`), and last the result.
    """

    def __init__(self, json: bool = False, quiet: bool = False, events: bool = False) -> None:
        self._json = json or events
        self._events = events
        self._quiet = quiet
        self._shown_at, self._shown_done = -math.inf, 0
        logging.basicConfig(
            level=logging.ERROR if quiet else logging.WARNING,
            format="mednext: %(levelname)s: %(message)s",
            stream=sys.stderr,
        )

    def done(self, document: Mapping[str, Any], text: str) -> None:
        """Report a success: `document` with `--json`, else `text`."""
        if self._json:
            self._print_json({"ok": True, **document})
        elif not self._quiet:
            print(text)
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """Tell people how far a long command is."""
        if not self._json and not self._quiet:
            print(text)
            sys.stdout.flush()

    def failed(self, error: MedNeXtError) -> int:
        """Report an error that a user can do something about; returns the exit code."""
        if self._json:
            self._print_json({"ok": False, "error": type(error).__name__, "message": str(error)})
        else:
            print(f"mednext: {error}", file=sys.stderr)
        return error.exit_code

    def crashed(self, error: Exception) -> int:
        """Report a fault of this program; returns the exit code."""
        message = (
            f"This is a fault in mednext ({type(error).__name__}: {error}). Please report it, with the "
            "text above, to the project's issues."
        )
        if self._json:
            self._print_json({"ok": False, "error": type(error).__name__, "message": message})
        else:
            print(f"mednext: {message}", file=sys.stderr)
        return FAULT

    def forget_output(self) -> None:
        """Stop writing to a stdout that nobody reads, so that Python does not complain on exit."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    @contextmanager
    def segmentation_progress(self) -> Iterator[Callable[[Progress], None] | None]:
        """A bar per stage of a segmentation; None where a bar would be noise."""
        with self._bars(unit="step", scale=False) as show:
            yield show and (lambda progress: show(progress.stage, progress.done, progress.total))

    @contextmanager
    def download_progress(self) -> Iterator[Callable[[int, int | None], None] | None]:
        """A bar for the bytes of a download; None where a bar would be noise."""
        with self._bars(unit="B", scale=True) as show:
            yield show and (lambda done, total: show("downloading", done, total))

    @contextmanager
    def _bars(self, unit: str, scale: bool) -> Iterator[Callable[[str, int, int | None], None] | None]:
        if self._events:
            yield self._print_progress
            return
        if self._json or self._quiet or not sys.stderr.isatty():
            yield None
            return
        from tqdm import tqdm

        with ExitStack() as bars:
            shown: dict[str, Any] = {}

            def show(stage: str, done: int, total: int | None) -> None:
                if stage not in shown:
                    bars.close()
                    bar = tqdm(desc=stage, total=total, unit=unit, unit_scale=scale, leave=False)
                    shown[stage] = bars.enter_context(bar)
                shown[stage].update(done - shown[stage].n)

            yield show

    def _print_progress(self, stage: str, done: int, total: int | None) -> None:
        now, grown = time.monotonic(), done - self._shown_done
        worth_it = done == total or grown > _WORTH_AN_EVENT * (total or math.inf)
        if worth_it or now - self._shown_at > _BETWEEN_EVENTS_S:
            self._shown_at, self._shown_done = now, done
            self._print_json({"stage": stage, "done": done, "total": total})

    def _print_json(self, document: Mapping[str, Any]) -> None:
        print(json_module.dumps(document, indent=None if self._events else 2))
        sys.stdout.flush()
