"""A batch that reads images in a process of its own, and segments them in this one or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..batch.case import Case
from ..batch.run import Alive, Batch
from ..dicomweb.archives import Archives
from ..images.volume import Volume
from ..inference.options import Options
from ..inference.progress import Progress
from ..remote.segmenter import Segmenter
from ..segmentation.result import Segmentation
from .reading_process import ReadingProcess

Show = Callable[[Progress], None]


@contextmanager
def segmenting_batch(
    output: Path,
    runs: Segmenter,
    options: Options,
    archives: Archives = Archives(),  # noqa: B008 - frozen
    *,
    showing: Callable[[], AbstractContextManager[Show | None]] = nullcontext,
    wanted: Callable[[Case], list[Volume]] | None = None,
    **rest: Any,
) -> Iterator[Batch]:
    """A batch of image files that keeps the networks loaded.

    Args:
        archives: those that images come from and results go to.
        showing: is entered for each case, and yields a function that shows its progress.
        wanted: returns the images of a case without files.
        rest: attributes of `Batch`.
    """

    def carry_out(_case: Case, volumes: list[Volume], alive: Alive) -> Segmentation:
        with showing() as show:

            def progress(step: Progress) -> None:
                alive()
                if show:
                    show(step)

            return runs.segment(volumes, options, progress, rest.get("cancelled"))

    def read(case: Case) -> list[Volume]:
        return reading.read(case.images, options.insist) if case.images or not wanted else wanted(case)

    with ReadingProcess() as reading:
        yield Batch.of(
            output,
            runs.model,
            options,
            read,
            carry_out,
            stop_reading=reading.stop,
            fetch=archives.fetch(output),
            segs=archives.segs(),
            **rest,
        )
