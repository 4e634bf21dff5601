"""Download a file: resumed, from several mirrors, verified by SHA-256, put in place by rename."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from ...errors import DiskSpaceError, DownloadError, DownloadIntegrityError
from ...system.atomic import check_space, explaining
from ...system.cancellation import check_cancelled, wait
from ...system.locks import locked
from ..web_address import check_address, shown_address
from .http_stream import HttpStream, reason_of, status_of
from .partial import PartialFile, sha256_of

logger = logging.getLogger(__name__)

MIB = 2**20
DownloadProgress = Callable[[int, int | None], None]  # bytes done, bytes in all (None: unknown)

_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
_HOPELESS = (
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
)
_SIZE = r"(\d{1,18})"  # more digits are no size, and Python does not take thousands
_UNSATISFIED_RANGE = re.compile(rf"bytes \*/{_SIZE}", re.ASCII)
_CONTENT_RANGE = re.compile(rf"bytes {_SIZE}-{_SIZE}/(?:{_SIZE}|\*)", re.ASCII)
_CONTENT_LENGTH = re.compile(_SIZE, re.ASCII)
LARGEST_BYTES = 16 * 2**30  # of a file of unknown size: the limit of an unpacked model
RESERVE_BYTES = 256 * 2**20  # of the disk, left free by such a file
_LOOK_BYTES = 32 * 2**20  # between two checks of the free space


@dataclass(frozen=True)
class Patience:
    """The limits after which a download gives up on a mirror. Times are in seconds."""

    connect_s: float = 15.0
    read_s: float = 30.0  # of silence, after which the connection counts as stalled
    attempts: int = 5  # in a row without a single new byte
    backoff_s: float = 1.0  # pause after the first failed attempt; doubled after each further one
    longest_wait_s: float = 60.0  # if a server asks for a longer pause (Retry-After), the next one is tried


class _MirrorError(Exception):
    """This mirror cannot be used; the message is the reason for the user."""


class _WrongContentError(_MirrorError):
    """This mirror has another file than the expected one."""


class _TransientError(Exception):
    """This attempt failed, but another one may succeed."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str,
    size: int | None = None,
    progress: DownloadProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download a file from the first of `urls` that delivers it, and return `target`.

    An interrupted or cancelled download is kept in `<target>.part`, and the next call resumes it. `target`
    itself appears only complete and verified. Of several processes that download the same target one does the
    work and the others wait for it. Proxies and certificates: see `HttpStream`.

    Args:
        urls: mirrors of the same file, http or https, tried in order.
        sha256: hexadecimal digest of the file.
        size: bytes, if known: wrong files are then refused before they are downloaded.
        progress: called with the bytes done and in all, from the caller's thread.
        cancelled: asked about ten times a second, also while the server is silent.

    Raises:
        DownloadError: no mirror delivered; the message names every URL with its reason, and the folder.
        DownloadIntegrityError: likewise, and the last mirror had another file than the expected one.
        DiskSpaceError: the folder's disk has too little space.
        OutputError: the folder cannot be made or written to.
        Cancelled: `cancelled` answered True; the partial file is kept.
    """
    for url in urls:
        try:
            check_address(url)
        except ValueError as error:
            raise DownloadError(f"{shown_address(url)} cannot be downloaded: {error}.") from error
    check_cancelled(cancelled)
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock"), cancelled):
            if target.is_file() and sha256_of(target) == sha256.lower():
                return target
            most = size or LARGEST_BYTES
            with PartialFile(target, sha256, most, cancelled) as partial:
                _Download(partial, size, progress, cancelled, patience or Patience()).run(urls)
                partial.finish()
    return target


@dataclass
class _Download:
    partial: PartialFile
    size: int | None
    progress: DownloadProgress | None
    cancelled: Callable[[], bool] | None
    patience: Patience

    def run(self, urls: Sequence[str]) -> None:
        """Fill the partial file from the first mirror that delivers it."""
        target = self.partial.target
        if self.size is not None:
            self._check_space(self.size - self.partial.size)
        reasons = []
        wrong_content = False
        for url in urls:
            try:
                return self._run_mirror(url)
            except _MirrorError as error:
                logger.warning("Download of %s from %s failed: %s", target.name, shown_address(url), error)
                reasons.append(f"{shown_address(url)}: {error}")
                wrong_content = isinstance(error, _WrongContentError)
        kind = DownloadIntegrityError if wrong_content else DownloadError
        raise kind(
            f"Could not download {target.name} into the folder {target.parent} ({'; '.join(reasons)}). "
            "Check the network connection and, where your organisation has them, the proxy (HTTPS_PROXY) and "
            "its certificate (REQUESTS_CA_BUNDLE), or install the model from a zip file."
        )

    def _run_mirror(self, url: str) -> None:
        failures = 0
        most = self.partial.size
        while True:
            try:
                return self._attempt(url)
            except _TransientError as error:
                # Only a longer part than ever before is progress: a server may start over for ever.
                if self.partial.size > most:
                    most, failures = self.partial.size, 0
                failures += 1
                if failures >= self.patience.attempts:
                    raise _MirrorError(f"{error}, {failures} times in a row") from error
                pause = self.patience.backoff_s * 2 ** (failures - 1)
                if error.retry_after_s is not None:
                    pause = error.retry_after_s
                    if pause > self.patience.longest_wait_s:
                        raise _MirrorError(f"{error}, and asks to come back in {pause:.0f} s") from error
                pause = min(pause, self.patience.longest_wait_s)
                logger.info("Download of %s: %s; again in %.1f s.", shown_address(url), error, pause)
                wait(pause, self.cancelled)

    def _attempt(self, url: str) -> None:
        if self.size is None or self.partial.size < self.size:
            self._request(url)
        if self.partial.is_right():
            return
        pieced_together = self.partial.answers > 1
        self.partial.restart()
        if pieced_together:
            raise _TransientError("the new bytes do not fit those downloaded before", retry_after_s=0)
        raise _WrongContentError("the file's SHA-256 is not the expected one")

    def _request(self, url: str) -> None:
        headers = self.partial.range_headers(url)
        times = {"connect_s": self.patience.connect_s, "read_s": self.patience.read_s}
        try:
            with HttpStream(url, headers=headers, cancelled=self.cancelled, **times) as stream:
                self._check_status(stream.response)
                self._receive(stream, url)
        except _HOPELESS as error:
            raise _MirrorError(reason_of(error)) from error
        except requests.RequestException as error:
            raise _TransientError(reason_of(error)) from error

    def _check_status(self, response: requests.Response) -> None:
        code = response.status_code
        if code == requests.codes.requested_range_not_satisfiable and self.partial.size:
            there = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if there:
                self._check_size(int(there[1]))
            self.partial.restart()
            raise _TransientError("the server has less than was downloaded before", retry_after_s=0)
        if code in _WORTH_RETRYING:
            raise _TransientError(status_of(response), _retry_after_s(response))
        if code not in (requests.codes.ok, requests.codes.partial_content):
            raise _MirrorError(status_of(response))

    def _receive(self, stream: HttpStream, url: str) -> None:
        """Append the body to the partial file, or replace it where the server starts from the beginning."""
        start, end = _extent(stream.response)
        total = self.size or end
        most = self.size or LARGEST_BYTES
        self._check_size(end)
        if start != self.partial.size:
            self.partial.restart()
            if start != 0:
                raise _TransientError("the server sent another range than asked for", retry_after_s=0)
        self._watch_space(total)
        self.partial.begin_answer(url, stream.response)
        self._report(total)
        watched = self.partial.size
        for chunk in stream.chunks():
            if self.partial.size - watched >= _LOOK_BYTES:
                self._watch_space(total)
                watched = self.partial.size
            self.partial.append(chunk)
            if self.partial.size > (total or most):
                self.partial.restart()
                raise _WrongContentError(f"it sends more than {total or most} bytes")
            self._report(total)
        if total is not None and self.partial.size < total:
            raise _TransientError(f"the connection closed after {self.partial.size} of {total} bytes")

    def _check_size(self, offered: int | None) -> None:
        """Refuse another file, such as a network's login page, before it replaces the part."""
        if offered is not None and self.size is not None and offered != self.size:
            raise _WrongContentError(f"it offers {offered} bytes instead of {self.size}")
        if offered is not None and offered > LARGEST_BYTES and self.size is None:
            raise _WrongContentError(f"it offers {offered} bytes, and no model has more than {LARGEST_BYTES}")

    def _report(self, total: int | None) -> None:
        if self.progress is not None:
            self.progress(self.partial.size, total)

    def _watch_space(self, total: int | None) -> None:
        """Stop before the disk is full; discard the part of a file of unknown size, which may never end."""
        if total is not None:
            self._check_space(total - self.partial.size)
            return
        try:
            self._check_space(RESERVE_BYTES)
        except DiskSpaceError:
            self.partial.restart()
            raise

    def _check_space(self, needed: int) -> None:
        target = self.partial.target
        check_space(target.parent, needed, f"Downloading {target.name}")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First byte of this body in the file, and the size of the file if the server tells it."""
    if response.status_code == requests.codes.partial_content:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            return -1, None
        return int(match[1]), int(match[3]) if match[3] else None
    length = _CONTENT_LENGTH.fullmatch(response.headers.get("Content-Length", ""))
    if "Content-Encoding" in response.headers or not length:
        return 0, None
    return 0, int(length[1])


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3); None for anything else."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        return float(value) if value.isdecimal() else _seconds_until(parsedate_to_datetime(value))
    except Exception:  # boundary: the standard library parses any date of a server
        logger.debug("The server asks to come back at %.80r.", value, exc_info=True)
        return None


def _seconds_until(moment: datetime) -> float:
    return max(0.0, moment.timestamp() - time.time())
