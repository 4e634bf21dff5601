"""The progress of a run, for its caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        stage: "loading", "preprocessing", "network" or "postprocessing".
        done, total: steps of this stage; in "network" tiles, counted once per fold.
        remaining_s: estimated time to the end of the stage in s, where it can be estimated.
        remark: news for the user, such as that memory ran out and the run continues more slowly.
    """

    stage: str
    done: int
    total: int
    remaining_s: float | None = None
    remark: str = ""


def counter(tell: Callable[[Progress], None], stage: str, total: int) -> Callable[[], None]:
    """Report the start of a stage now, and one more step with the remaining time at every call."""
    begin = time.monotonic()
    steps = count(1)
    tell(Progress(stage, 0, total))

    def step_done() -> None:
        done = next(steps)
        tell(Progress(stage, done, total, (time.monotonic() - begin) / done * (total - done)))

    return step_done
