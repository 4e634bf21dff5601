"""One run of the engine in a process of its own: `python -m mednext.job FOLDER`, with the request in FOLDER.

Slicer's own process never imports torch (a crash of torch would take Slicer and the unsaved work with it), so
it starts this program with Slicer's Python and reads the events of `protocol.py` from its standard output.
The run lives as long as its standard input is open: it ends when Slicer closes it, and when Slicer crashes.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import protocol
from .errors import Cancelled, MedNeXtError


def main(arguments: list[str]) -> int:
    """Answer the request in the folder `arguments[0]`; the exit code is that of the error's class, or 0."""
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    with take_standard_output() as events:
        try:
            run(Path(arguments[0]), events)
        except MedNeXtError as error:
            emit(events, protocol.error_event(error))
            return error.exit_code
        emit(events, {"event": "done"})
    return 0


def end_with_standard_input() -> None:
    """Exit at once, whatever torch is doing, when nobody is there any more to answer to."""
    sys.stdin.buffer.read()
    os._exit(Cancelled.exit_code)


def take_standard_output() -> TextIO:
    """Standard output for the events alone: what libraries print, also those in C, goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def run(folder: Path, events: TextIO) -> None:
    """Segment what the folder asks for, and write the result beside it."""
    from .pipeline import Progress, segment
    from .volume import Volume

    channels, options = protocol.read_request(folder)
    volumes = [
        Volume(np.asarray(channel.array, dtype=np.float32)[np.newaxis], channel.geometry, (channel.name,))
        for channel in channels
    ]

    def report(progress: Progress) -> None:
        emit(events, {"event": "progress", **asdict(progress)})

    segmentation = segment(
        volumes,
        options.model,
        folds=options.folds,
        mirroring=options.mirroring,
        device=options.device,
        roi=options.roi,
        uncertainty=options.uncertainty,
        progress=report,
    )
    protocol.write_result(folder, segmentation)


def emit(events: TextIO, event: dict[str, Any]) -> None:
    """Say one event, at once."""
    events.write(protocol.format_event(event))
    events.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
