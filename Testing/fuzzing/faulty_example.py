"""A target with every fault that a reader can have, which the harness must notice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mednext.errors import UnreadableImageError

from .targets import Target


def _seeds(folder: Path) -> list[Path]:
    (folder / "seed").write_bytes(b"sound")
    return [folder / "seed"]


def _run(path: Path) -> object:
    kind = path.read_bytes()[:1]
    if kind == b"c":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == b"h":
        time.sleep(60)
    elif kind == b"m":
        return len(bytes(2**32))
    elif kind == b"e":
        raise KeyError("no such field")
    elif kind == b"r":
        raise UnreadableImageError("It is no image: copy it again.")
    return kind


TARGETS = (
    Target("faulty", _seeds, _run, lambda _content, chance: chance.choice("chmers").encode(), 1.0, 512),
)
