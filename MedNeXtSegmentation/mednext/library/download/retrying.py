"""Ask a server again after faults that pass, with growing pauses, and judge the head of its answers."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests

from ...system.cancellation import wait
from ..web_address import is_private, shown_address
from .guarded_session import LEAST_BYTES
from .http_stream import reason_of, status_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
_HOPELESS = (
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
)
_SIZE = r"(\d{1,18})"  # more digits are no size, and Python does not take thousands
_CONTENT_RANGE = re.compile(rf"bytes {_SIZE}-{_SIZE}/(?:{_SIZE}|\*)", re.ASCII)
_CONTENT_LENGTH = re.compile(_SIZE, re.ASCII)


@dataclass(frozen=True)
class Patience:
    """The limits after which a download gives up on a mirror. Times are in seconds."""

    connect_s: float = 15.0
    read_s: float = 30.0  # of silence, after which the connection counts as stalled
    attempts: int = 5  # in a row that together bring less than `LEAST_BYTES`
    backoff_s: float = 1.0  # pause after the first failed attempt; doubled after each further one
    longest_wait_s: float = 60.0  # if a server asks for a longer pause (Retry-After), the next one is tried


class MirrorError(Exception):
    """This mirror cannot be used; the message is the reason for the user."""


class WrongContentError(MirrorError):
    """This mirror has another file than the expected one."""


class TransientError(Exception):
    """This attempt failed, but another one may succeed."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def persist(
    attempt: Callable[[], T],
    arrived: Callable[[], int],
    url: str,
    patience: Patience,
) -> T:
    """Call `attempt` until it ends without a `TransientError`, and return its result.

    Args:
        arrived: the number of bytes so far; `LEAST_BYTES` new ones restore the patience.

    Raises `MirrorError` once the patience is over.
    """
    failures, most = 0, arrived()
    while True:
        try:
            return attempt()
        except TransientError as error:
            # Only a longer part than ever before is progress: a server may start over, or drip, for ever.
            if arrived() >= most + LEAST_BYTES:
                most, failures = arrived(), 0
            failures += 1
            if failures >= patience.attempts:
                raise MirrorError(f"{error}, {failures} times in a row") from error
            pause = patience.backoff_s * 2 ** (failures - 1)
            if error.retry_after_s is not None:
                pause = error.retry_after_s
                if pause > patience.longest_wait_s:
                    raise MirrorError(f"{error}, and asks to come back in {pause:.0f} s") from error
            pause = min(pause, patience.longest_wait_s)
            logger.info("Download of %s: %s; again in %.1f s.", shown_address(url), error, pause)
            wait(pause)


@contextmanager
def judging_requests() -> Iterator[None]:
    """Turn the errors of `requests` into `MirrorError` and `TransientError`."""
    try:
        yield
    except _HOPELESS as error:
        raise MirrorError(reason_of(error)) from error
    except requests.RequestException as error:
        raise TransientError(reason_of(error)) from error


def check_status(response: requests.Response) -> None:
    """Refuse an answer that has no part of the file. Raises `MirrorError` and `TransientError`."""
    code = response.status_code
    if code in _WORTH_RETRYING:
        raise TransientError(status_of(response), _retry_after_s(response))
    if code in (requests.codes.not_found, requests.codes.gone):
        raise MirrorError(f"{status_of(response)}, so the file is not there, or not any more")
    if code not in (requests.codes.ok, requests.codes.partial_content):
        raise MirrorError(status_of(response))


def check_private(response: requests.Response) -> None:
    """Refuse an answer that anybody on the way could have changed, after redirects too.

    Raises `MirrorError`.
    """
    for answer in (*response.history, response):
        if not is_private(answer.url):
            raise MirrorError(
                f"{shown_address(answer.url)} is an address of http, where anybody on the way can change a "
                "file whose SHA-256 is not published"
            )


def extent(response: requests.Response) -> tuple[int, int | None]:
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


def validator_of(response: requests.Response) -> str:
    """The text by which the server tells versions of the file apart, or ""."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


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
