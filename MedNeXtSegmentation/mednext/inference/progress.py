"""How far a run is, for whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: "loading", "preprocessing", "network" or "postprocessing".
        done, total: steps of this stage; in "network" tiles, counted once per fold.
        remaining_s: estimated time to the end of the stage in s, where it can be estimated.
        remark: what the user should know from now on, such as that memory ran out and it goes on slower.
    """

    stage: str
    done: int
    total: int
    remaining_s: float | None = None
    remark: str = ""


def counter(tell: Callable[[Progress], None], stage: str, total: int) -> Callable[[], None]:
    """Tell the start of a stage now, and one step more, with the time that is left, at every call."""
    begin = time.monotonic()
    steps = count(1)
    tell(Progress(stage, 0, total))

    def step_done() -> None:
        done = next(steps)
        tell(Progress(stage, done, total, (time.monotonic() - begin) / done * (total - done)))

    return step_done
