"""Download a file, or a part of one: resumed, from several mirrors, verified, put in place by rename."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from ...errors import DiskSpaceError, DownloadError, DownloadIntegrityError
from ...system.atomic import check_space, explaining
from ...system.locks import locked
from ..web_address import check_address, shown_address
from .http_stream import HttpStream
from .partial import PartialFile, sha256_of
from .retrying import (
    MirrorError,
    Patience,
    TransientError,
    WrongContentError,
    check_private,
    check_status,
    extent,
    judging_requests,
    persist,
    validator_of,
)

logger = logging.getLogger(__name__)

MIB = 2**20
DownloadProgress = Callable[[int, int | None], None]  # bytes done, bytes in all (None: unknown)

_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
LARGEST_BYTES = 16 * 2**30  # of a file of unknown size: the limit of an unpacked model
RESERVE_BYTES = 256 * 2**20  # of the disk, left free by such a file
LOOK_BYTES = 32 * 2**20  # between two checks of the free space


@dataclass(frozen=True)
class Span:
    """The place of some bytes in a larger file on a server.

    Attributes:
        first: position of the first byte.
        size: number of bytes.
        whole: bytes of the file.
        validator: the file's version as the server tells it, or "".
    """

    first: int
    size: int
    whole: int
    validator: str = ""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    span: Span | None = None,
    progress: DownloadProgress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download a file from the first of `urls` that delivers it, and return `target`.

    An interrupted download is kept in `<target>.part`, and the next call resumes it. `target`
    itself appears only complete and verified. Of several processes that download the same target one does the
    work and the others wait for it. Proxies and certificates: see `HttpStream`.

    Args:
        urls: mirrors of the same file, http or https, tried in order.
        sha256: hexadecimal digest of the file; None if it is not published. The file then comes by https (or
            from this computer) and from a server that tells its size, and the caller verifies it.
        size: bytes, if known: wrong files are then refused before they are downloaded.
        span: the bytes to download, instead of the whole file; its size is then `size`.
        progress: called with the bytes done and in all, from the caller's thread.

    Raises:
        DownloadError: no mirror delivered; the message names every URL with its reason, and the folder.
        DownloadIntegrityError: likewise, and the last mirror had another file than the expected one.
        DiskSpaceError: the folder's disk has too little space.
        OutputError: the folder cannot be made or written to.
    """
    for url in urls:
        try:
            check_address(url)
        except ValueError as error:
            raise DownloadError(f"{shown_address(url)} cannot be downloaded: {error}.") from error
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock")):
            if sha256 and target.is_file() and sha256_of(target) == sha256.lower():
                return target
            size = span.size if span else size
            content = sha256.lower() if sha256 else f"{urls[0]} {span}"
            with PartialFile(target, content, size or LARGEST_BYTES) as partial:
                _Download(partial, sha256, size, span, progress, patience or Patience()).run(urls)
                partial.finish()
    return target


@dataclass
class _Download:
    partial: PartialFile
    sha256: str | None
    size: int | None
    span: Span | None
    progress: DownloadProgress | None
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
                return persist(
                    lambda url=url: self._attempt(url),  # type: ignore[misc]
                    lambda: self.partial.size,
                    url,
                    self.patience,
                )
            except MirrorError as error:
                logger.warning("Download of %s from %s failed: %s", target.name, shown_address(url), error)
                reasons.append(f"{shown_address(url)}: {error}")
                wrong_content = isinstance(error, WrongContentError)
        kind = DownloadIntegrityError if wrong_content else DownloadError
        raise kind(
            f"Could not download {target.name} into the folder {target.parent} ({'; '.join(reasons)}). "
            "Check the network connection and, where your organisation has them, the proxy (HTTPS_PROXY) and "
            "its certificate (REQUESTS_CA_BUNDLE), or install the model from a zip file."
        )

    def _attempt(self, url: str) -> None:
        if self.size is None or self.partial.size < self.size:
            self._request(url)
        if self.sha256 is None or self.partial.is_right(self.sha256):
            return
        pieced_together = self.partial.answers > 1
        self.partial.restart()
        if pieced_together:
            raise TransientError("the new bytes do not fit those downloaded before", retry_after_s=0)
        raise WrongContentError("the file's SHA-256 is not the expected one")

    def _request(self, url: str) -> None:
        headers = self._range_headers(url)
        connect_s, read_s = self.patience.connect_s, self.patience.read_s
        with (
            judging_requests(),
            HttpStream(url, headers=headers, connect_s=connect_s, read_s=read_s) as stream,
        ):
            self._check_answer(stream.response)
            self._receive(stream, url)

    def _range_headers(self, url: str) -> dict[str, str]:
        """Request headers that ask for the missing bytes."""
        if self.span is not None:
            last = self.span.first + self.span.size - 1
            headers = {"Range": f"bytes={self.span.first + self.partial.size}-{last}"}
            return {**headers, "If-Range": self.span.validator} if self.span.validator else headers
        validator = self.partial.validator(url)
        if self.sha256 is None and not validator:
            self.partial.restart()  # nothing would tell if the new bytes were of another file
        if not self.partial.size:
            return {}
        # Another mirror has other ETags for the same file; there only the SHA-256 decides.
        headers = {"Range": f"bytes={self.partial.size}-"}
        return {**headers, "If-Range": validator} if validator else headers

    def _check_answer(self, response: requests.Response) -> None:
        if self.sha256 is None:
            check_private(response)
        code = response.status_code
        if self.span is not None and code in (
            requests.codes.ok,
            requests.codes.requested_range_not_satisfiable,
        ):
            raise WrongContentError(
                "the file there has changed meanwhile, or the server sends no parts of it any more"
            )
        if code == requests.codes.requested_range_not_satisfiable and self.partial.size:
            there = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if there:
                self._check_size(int(there[1]))
            self.partial.restart()
            raise TransientError("the server has less than was downloaded before", retry_after_s=0)
        check_status(response)

    def _receive(self, stream: HttpStream, url: str) -> None:
        """Append the body to the partial file, or replace it where the server starts from the beginning."""
        total = self._place(stream.response)
        most = self.size or LARGEST_BYTES
        self._watch_space(total)
        self.partial.begin_answer(url, validator_of(stream.response))
        self._report(total)
        watched = self.partial.size
        for chunk in stream.chunks():
            if self.partial.size - watched >= LOOK_BYTES:
                self._watch_space(total)
                watched = self.partial.size
            self.partial.append(chunk)
            if self.partial.size > (total or most):
                self.partial.restart()
                raise WrongContentError(f"it sends more than {total or most} bytes")
            self._report(total)
        if total is not None and self.partial.size < total:
            raise TransientError(f"the connection closed after {self.partial.size} of {total} bytes")

    def _place(self, response: requests.Response) -> int | None:
        """Bring the partial file to the place where this answer begins; return the bytes expected in all."""
        start, end = extent(response)
        first = 0
        if self.span is not None:
            first = self.span.first
            theirs = validator_of(response)
            if end != self.span.whole or (theirs and self.span.validator not in ("", theirs)):
                raise WrongContentError("the file there has changed meanwhile")
        else:
            self._check_size(end)
        if start != first + self.partial.size:
            self.partial.restart()
            if start != first:
                raise TransientError("the server sent another range than asked for", retry_after_s=0)
        total = self.size or end
        if total is None and self.sha256 is None:
            raise MirrorError("the server does not tell the size of the file, and its SHA-256 is not known")
        return total

    def _check_size(self, offered: int | None) -> None:
        """Refuse another file, such as a network's login page, before it replaces the part."""
        if offered is not None and self.size is not None and offered != self.size:
            raise WrongContentError(f"it offers {offered} bytes instead of {self.size}")
        if offered is not None and offered > LARGEST_BYTES and self.size is None:
            raise WrongContentError(f"it offers {offered} bytes, and no model has more than {LARGEST_BYTES}")

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
