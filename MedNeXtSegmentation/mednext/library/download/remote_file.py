"""Read parts of a file on a server, as of a file on the disk, by HTTP range requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import requests

from ...errors import DownloadError, DownloadIntegrityError
from ..web_address import check_address, is_private, shown_address
from .http_stream import HttpStream
from .resumable import Span
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

T = TypeVar("T")

_BEGIN_BYTES = 4  # of the first request, which only asks for the size
_BLOCK_BYTES = 64 * 2**10  # least size of a request: the end of a zip, or the head of a member
MOST_BYTES = 64 * 2**20  # read at once: the list of 100,000 members has 10 MiB
_GB = 10**9


class WholeFileOnlyError(MirrorError):
    """The server sends whole files only."""


@dataclass
class RemoteFile:
    """A file on a server that sends parts of files; made by `RemoteFile.at`.

    Attributes:
        url: its address, by https or on this computer.
        size: bytes.
        validator: its version as the server tells it, or "".
    """

    url: str
    size: int
    validator: str
    patience: Patience
    _block: tuple[int, bytes] = field(default=(0, b""), repr=False)

    @classmethod
    def at(cls, url: str, *, patience: Patience | None = None) -> RemoteFile:
        """Ask the server for the size and the version of a file.

        Raises:
            DownloadError: the address is none of https, the server does not answer, or it sends whole files
                only; the message has the size of the whole file.
        """
        try:
            check_address(url)
        except ValueError as error:
            raise DownloadError(f"{shown_address(url)} cannot be downloaded: {error}.") from error
        if not is_private(url):
            raise DownloadError(
                f"{shown_address(url)} is an address of http: anybody on the way can change the file, whose "
                "SHA-256 is not published. Give its address of https."
            )
        remote = cls(url, _BEGIN_BYTES, "", patience or Patience())
        remote._persist(remote._ask)
        return remote

    def span(self, first: int, size: int) -> Span:
        """Some bytes of this version of the file.

        Raises `DownloadIntegrityError` if they are beyond its end.
        """
        if not 0 <= first <= first + size <= self.size:
            raise DownloadIntegrityError(
                f"{shown_address(self.url)} is damaged: it has {self.size} bytes, but lists "
                f"{size} at position {first}. Report this to its publisher."
            )
        return Span(first, size, self.size, self.validator)

    def read(self, first: int, size: int) -> bytes:
        """Some bytes; neighbouring ones come with the same request.

        Raises:
            DownloadError: the server did not deliver them.
            DownloadIntegrityError: they are beyond the end, or the file has changed since `at`.
        """
        self.span(first, size)
        if size > MOST_BYTES:
            raise DownloadIntegrityError(
                f"{shown_address(self.url)} has a list of members of {size / 2**20:.0f} MiB, which no "
                "sound zip file has. Report this to its publisher."
            )
        begin, block = self._block
        if not begin <= first <= first + size <= begin + len(block):
            begin = min(first, max(0, self.size - _BLOCK_BYTES))
            end = max(first + size, min(begin + _BLOCK_BYTES, self.size))
            block = self._persist(lambda: self._receive(begin, end - begin))
            self._block = begin, block
        return block[first - begin : first - begin + size]

    def _persist(self, attempt: Callable[[], T]) -> T:
        try:
            return persist(attempt, lambda: 0, self.url, self.patience)
        except MirrorError as error:
            kind = DownloadIntegrityError if isinstance(error, WrongContentError) else DownloadError
            remedy = (
                ""
                if isinstance(error, WholeFileOnlyError | WrongContentError)
                else " Check the network connection and, where your organisation has them, the proxy "
                "(HTTPS_PROXY) and its certificate (REQUESTS_CA_BUNDLE)."
            )
            raise kind(f"{shown_address(self.url)} cannot be read: {error}.{remedy}") from error

    @contextmanager
    def _request(self, first: int, size: int, headers: Mapping[str, str]) -> Iterator[HttpStream]:
        connect_s, read_s = self.patience.connect_s, self.patience.read_s
        asked = {"Range": f"bytes={first}-{first + size - 1}", **headers}
        with (
            judging_requests(),
            HttpStream(self.url, headers=asked, connect_s=connect_s, read_s=read_s) as stream,
        ):
            check_private(stream.response)
            check_status(stream.response)
            yield stream

    def _ask(self) -> None:
        """Request the first bytes, and take size and version from the head of the answer."""
        with self._request(0, _BEGIN_BYTES, {}) as stream:
            first, size = extent(stream.response)
            if stream.response.status_code == requests.codes.ok:
                told = f"of {size / _GB:.1f} GB" if size else "of unknown size"
                raise WholeFileOnlyError(
                    f"its server sends no parts of files, and the whole one {told} would have to be "
                    "downloaded. Download and unpack it yourself, and import the unpacked folder"
                )
            if first != 0 or size is None:
                raise MirrorError("its server answers a request for a part of it wrongly")
            self.size = size
            self.validator = validator_of(stream.response)

    def _receive(self, first: int, size: int) -> bytes:
        headers = {"If-Range": self.validator} if self.validator else {}
        with self._request(first, size, headers) as stream:
            theirs = validator_of(stream.response)
            start, whole = extent(stream.response)
            is_changed = whole != self.size or (theirs and self.validator not in ("", theirs))
            if stream.response.status_code == requests.codes.ok or is_changed:
                raise WrongContentError("it has changed while it was read, so begin again")
            if start != first:
                raise TransientError("the server sent another range than asked for", retry_after_s=0)
            content = bytearray()
            for chunk in stream.chunks():
                content += chunk
                if len(content) > size:
                    raise WrongContentError(f"it sends more than the {size} bytes asked for")
        if len(content) < size:
            raise TransientError(f"the connection closed after {len(content)} of {size} bytes")
        return bytes(content)


class RemoteReader(io.RawIOBase):
    """A `RemoteFile` as a file to seek and to read in, for `zipfile`."""

    def __init__(self, remote: RemoteFile) -> None:
        self._remote = remote
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._remote.size}
        position = begins[whence] + offset
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._remote.size - self._position)
        count = left if size is None or size < 0 else min(size, left)
        content = self._remote.read(self._position, count) if count else b""
        self._position += count
        return content
