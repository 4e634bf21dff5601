"""Claims: files that tell other machines which cases are being worked on, and that their owner lives.

A lock (`system.locks`) keeps the processes of one machine apart. Between machines that share a folder it
does so only where the file system passes locks on: some keep them on each machine, and some have none. A
claim needs nothing but that a file is made by one machine only.

The claim on `liver.seg.nrrd` is the file `.liver.seg.nrrd.claim-0.lock`, which its owner rewrites every few
seconds with a higher number. Other machines take over a claim that stands still, by making the file with
`claim-1`: only one of them succeeds, and the clocks of two machines are never compared.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..system.atomic import ABANDONED_S
from ..system.running_processes import has_ended, signature

BEAT_S = 10.0  # between two signs of life
STALE_S = 90.0  # without one, an owner on another machine counts as dead

_NAME = re.compile(r"\..+\.claim-\d{1,4}\.lock")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_MOST = 1000  # owners that died one after the other


@dataclass
class Claims:
    """The claims of this process, which a thread keeps alive, and the other claims that it met."""

    beat_s: float = BEAT_S
    stale_s: float = STALE_S
    _held: dict[Path, str] = field(default_factory=dict)
    _met: dict[Path, tuple[bytes, float]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _beating: threading.Thread | None = None
    _end: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def claimed_if_free(self, target: Path) -> Iterator[bool]:
        """Hold the claim on a file to be made while the block runs, if it is free; yield whether it was.

        Raises OSError where the folder cannot be written.
        """
        token = f"{signature()}-{secrets.token_hex(6)}"
        number = self._take(target, token)
        if number is None:
            yield False
            return
        path = claim_file(target, number)
        with self._guard:
            self._held[path] = token
            if self._beating is None:
                self._beating = threading.Thread(target=self._beat, name="mednext-claims", daemon=True)
                self._beating.start()
        try:
            yield True
        finally:
            with self._guard:
                del self._held[path]
                if not claim_file(target, number + 1).exists():  # else another process believed this one dead
                    for each in range(number, -1, -1):
                        claim_file(target, each).unlink(missing_ok=True)

    def close(self) -> None:
        """End the thread."""
        self._end.set()

    def _take(self, target: Path, token: str) -> int | None:
        """The number of the claim that was made; None if another process holds one."""
        for number in range(_MOST):
            path = claim_file(target, number)
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                if self._lives(path):
                    return None
                continue
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_content(token, 0))
            except OSError:  # a full disk keeps the file, but not its content
                path.unlink(missing_ok=True)
                raise
            if not claim_file(target, number + 1).exists():
                return number
        return None

    def _lives(self, path: Path) -> bool:
        """Whether the owner of a claim may still be at work."""
        try:
            content = path.read_bytes()
        except OSError:
            return True  # it has just ended: its result is there at the next look
        if has_ended(content.decode("ascii", "replace")):
            return False
        now = time.monotonic()
        known, since = self._met.get(path, (b"", now))
        if content != known:
            since = now
        self._met[path] = content, since
        # A claim without content is of an owner that was killed, or met a full disk, when it made the file.
        return now - since < (self.stale_s if content else self.beat_s)

    def _beat(self) -> None:
        count = 0
        while not self._end.wait(self.beat_s):
            count += 1
            with self._guard:
                for path, token in self._held.items():
                    # Never makes the file anew, and follows no link that another user may have laid.
                    with (
                        suppress(OSError),  # a folder that is away for a moment
                        os.fdopen(os.open(path, os.O_WRONLY | _NO_LINK), "wb") as file,
                    ):
                        file.write(_content(token, count))


def claim_file(target: Path, number: int) -> Path:
    """The file of the claim with this number on a result."""
    return target.with_name(f".{target.name}.claim-{number}.lock")


def remove_left_claims(folder: Path) -> None:
    """Remove the claims below a folder whose owners on this machine have ended, and those a day old."""
    for path in list(folder.rglob(".*.claim-*.lock")):
        with suppress(OSError):
            ended = has_ended(path.read_text("ascii", "replace"))
            if _NAME.fullmatch(path.name) and (ended or time.time() - path.lstat().st_mtime > ABANDONED_S):
                path.unlink()


def _content(token: str, count: int) -> bytes:
    return f"{token} {count:08d}\n".encode("ascii")
