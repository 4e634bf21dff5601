"""The output of the command line: text or one JSON document on stdout, errors and progress bars on stderr."""

from __future__ import annotations

import json as json_module
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import IncompleteBatchError, MedNeXtError, OutputError
from ..system.shown_text import encodable, shown
from ..system.terminal import ShownFormatter, forget_output, take_any_text

if TYPE_CHECKING:
    from ..inference.progress import Progress

FAULT = 1

_BETWEEN_EVENTS_S = 0.1
_WORTH_AN_EVENT = 0.01  # of the whole


class Console:
    """Prints for people, or for programs with `json` or `events`; with `quiet` prints only errors.

    With `events` every line is a JSON document: the progress (`done` and `total`), and at last the result.
    """

    def __init__(self, json: bool = False, quiet: bool = False, events: bool = False) -> None:
        self._json = json or events
        self._events = events
        self._quiet = quiet
        self._shown_at, self._shown_done = -math.inf, 0
        take_any_text()
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(ShownFormatter("mednext: %(levelname)s: %(message)s"))
        logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, handlers=[handler])

    def done(self, document: Mapping[str, Any], *lines: str) -> None:
        """Report a success: `document` with `--json`, else these lines."""
        if self._json:
            self._print_json({"ok": True, **document})
        elif not self._quiet:
            _print("\n".join(map(shown, lines)))

    def say(self, text: str) -> None:
        """Print the progress of a long command for people."""
        if not self._json and not self._quiet:
            with suppress(OutputError):  # the command continues
                _print(shown(text))

    def failed(self, error: MedNeXtError) -> int:
        """Report an error that a user can fix; return the exit code."""
        self._complain(error, str(error))
        return error.exit_code

    def crashed(self, error: Exception) -> int:
        """Report a fault of this program; return the exit code."""
        message = (
            f"This is a fault in mednext ({type(error).__name__}: {error}). Please report it, with the "
            "text above, to the project's issues."
        )
        self._complain(error, message)
        return FAULT

    def _complain(self, error: Exception, message: str) -> None:
        if self._json and not isinstance(error, _NoOutputError):
            with suppress(_NoOutputError, BrokenPipeError):
                known = error.document if isinstance(error, IncompleteBatchError) else {}
                self._print_json({"ok": False, "error": type(error).__name__, "message": message, **known})
                return
        print(f"mednext: {shown(message)}", file=sys.stderr)

    @contextmanager
    def segmentation_progress(self) -> Iterator[Callable[[Progress], None] | None]:
        """A progress bar per stage of a segmentation; None where none is to be shown."""
        with self._bars(unit="step", scale=False) as show:
            yield show and (lambda progress: show(progress.stage, progress.done, progress.total))

    @contextmanager
    def download_progress(self) -> Iterator[Callable[[int, int | None], None] | None]:
        """A progress bar for the bytes of a download; None where none is to be shown."""
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
        _print(json_module.dumps(_encodable(document), indent=None if self._events else 2))


class _NoOutputError(OutputError):
    """The standard output cannot be written."""


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_output()
        raise _NoOutputError(f"The standard output cannot be written ({error.strerror}).") from error


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value
