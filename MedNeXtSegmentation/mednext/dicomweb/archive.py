"""Talk to a DICOMweb service with dicomweb-client: credentials, repeated attempts, pages of answers.

Neither a log nor a message holds credentials, the terms of a query, or anything of a patient but UIDs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from ..errors import ArchiveError, MedNeXtError, MissingPackageError, OptionError
from ..library.download.guarded_session import guarded_session
from ..library.web_address import is_private, is_this_computer
from ..system.cancellation import wait

if TYPE_CHECKING:
    import pydicom

TOKEN, USER, PASSWORD = (f"MEDNEXT_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))

_TIMEOUT_S = (10.0, 120.0)  # to connect, and between two pieces of an answer
_PAUSES_S = (1.0, 3.0, 9.0)  # between the attempts
_PAGE = 200
_MOST_RESULTS = 100_000  # of one search
_MORE = "additional results"  # the standard's words in the header Warning of a page that others follow
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: compressed pixels stay compressed

Made = TypeVar("Made")
Item = Mapping[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """A bearer token, or a name and a password; both empty for a service that asks for none."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Credentials:
        """Those of the environment variables `MEDNEXT_DICOMWEB_TOKEN`, or `..._USER` and `..._PASSWORD`."""
        return cls(*(variables.get(name, "") for name in (TOKEN, USER, PASSWORD)))


class Archive:
    """A DICOMweb service.

    Raises:
        OptionError: the address is none, holds credentials, or is without encryption outside this computer.
        MissingPackageError: dicomweb-client is not installed.
    """

    def __init__(self, url: str, credentials: Credentials, insecure: bool = False) -> None:
        self.url = checked_address(url, insecure)
        try:
            from dicomweb_client.api import DICOMwebClient
        except ImportError as error:
            raise MissingPackageError(
                "DICOMweb needs dicomweb-client: pip install 'slicer-mednext-segmentation[dicomweb]'."
            ) from error
        session = guarded_session()
        session.max_redirects = 0  # voxels and credentials go to this address alone
        session.trust_env = False  # else requests would send the credentials of ~/.netrc
        if not is_this_computer(self.url):
            session.proxies.update(get_environ_proxies(self.url))
        session.hooks["response"].append(self._note)
        self._warning = ""  # of the last answer
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        if credentials.token:
            session.headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.user:
            session.auth = HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())
        self._client: Any = DICOMwebClient(self.url, session=session, timeout=_TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # `call` repeats, also after a broken connection

    def call(self, doing: str, action: Callable[[Any], Made]) -> Made:
        """The answer to a request, repeated after a passing failure. Raises `ArchiveError`."""
        for pause in (*_PAUSES_S, None):
            try:
                with _quietly():
                    return action(self._client)
            except requests.RequestException as error:
                reason, is_passing = _explained(error)
                logger.debug("%s failed: %s", doing, reason)
                if not is_passing or pause is None:
                    raise ArchiveError(f"{doing} failed at {self.url}: {reason}.") from None
                wait(pause)
            except (MedNeXtError, OSError, MemoryError):  # of writing the answer to a file
                raise
            except Exception as error:  # noqa: BLE001  # boundary: libraries on the answer of a foreign server
                # Without the traceback: its message may quote a patient's data from the answer.
                raise ArchiveError(
                    f"{doing} failed at {self.url}: the answer is not DICOMweb ({type(error).__name__})."
                ) from None
        raise AssertionError

    def pages(self, doing: str, key: str, search: Callable[..., Any]) -> Listed:
        """All results of a search, which servers give in pages; each once, by its attribute `key`.

        `search` gets the client, and the arguments `limit` and `offset`. Raises `ArchiveError`.
        """
        found: dict[str, Item] = {}
        answered, is_whole, more = 0, True, False
        while True:
            page = self.call(
                doing,
                lambda client: checked_items(search(client, limit=_PAGE, offset=answered)),  # noqa: B023
            )
            fresh = {text(item, key): item for item in page if text(item, key) not in found}
            found |= fresh
            answered += len(page)
            if answered > _MOST_RESULTS:
                raise ArchiveError(
                    f"{doing} does not come to an end at {self.url}, which has listed {answered} results: "
                    "narrow the query, or name the studies with --study."
                )
            is_whole = is_whole and len(fresh) == len(page)
            if not fresh:
                return Listed(list(found.values()), is_whole and not more)
            more = _MORE in self._warning

    def instances(self, study: str, series: str) -> Listed:
        """The images of a series. Raises `ArchiveError`."""

        def search(client: Any, **page: int) -> Any:
            return client.search_for_instances(study, series, **page)

        return self.pages("Listing the images of a series", SOP_UID, search)

    def series_of_study(self, study: str) -> Listed:
        """The series of a study. Raises `ArchiveError`."""

        def search(client: Any, **page: int) -> Any:
            fields = ["SeriesDescription", "NumberOfSeriesRelatedInstances", "Modality"]
            return client.search_for_series(study, fields=fields, **page)

        return self.pages("Listing the series of a study", SERIES_UID, search)

    def studies(self, filters: Mapping[str, str]) -> Listed:
        """The studies that match, with their patient. Raises `ArchiveError`."""

        def search(client: Any, **page: int) -> Any:
            fields = ["PatientID", "PatientBirthDate", "PatientName", "NumberOfStudyRelatedSeries"]
            return client.search_for_studies(fields=fields, search_filters=dict(filters), **page)

        return self.pages("Searching studies", STUDY_UID, search)

    def _note(self, response: requests.Response, **_: Any) -> None:
        self._warning = response.headers.get("Warning", "")


@dataclass(frozen=True)
class Listed:
    """The results of a search.

    Attributes:
        items: each result once.
        is_whole: False where the server may have more: it repeated results, as a server that ignores the
            offset does, or announced more than it gave.
    """

    items: list[Item]
    is_whole: bool

    def check(self, things: str, count: str, remedy: str) -> None:
        """Raise `ArchiveError` where results are missing, by the archive's own `count` if there is one."""
        counted = int(count) if count.isdecimal() else None
        if counted is not None and counted != len(self.items):
            raise ArchiveError(
                f"The archive lists {len(self.items)} {things}, and counts {counted}: {remedy}."
            )
        if counted is None and not self.is_whole:
            raise ArchiveError(
                f"The archive lists {len(self.items)} {things}, but gives no further pages of its list, and "
                f"may have more: {remedy}."
            )


STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"


def checked_items(answer: Any) -> list[Item]:
    """The data sets of an answer. Raises TypeError where it has another shape."""
    attributes = [each for item in answer for each in item.values()]
    if not all(isinstance(each, dict) and isinstance(each.get("Value", []), list) for each in attributes):
        raise TypeError
    names = (value for each in attributes for value in each.get("Value", []) if isinstance(value, dict))
    if not all(isinstance(name.get("Alphabetic", ""), str) for name in names):
        raise TypeError
    return list(answer)


def text(item: Item, tag: str) -> str:
    """The value of an attribute in an answer; several are joined by a backslash, as in DICOM."""
    values = item.get(tag, {}).get("Value", [])
    words = [each.get("Alphabetic", "") if isinstance(each, dict) else str(each) for each in values]
    return "\\".join(words).strip()


def uids_of(instances: Listed) -> list[str]:
    """The SOPInstanceUIDs of images, sorted."""
    return sorted(text(item, SOP_UID) for item in instances.items)


def is_address(place: str) -> bool:
    """Whether an input is the address of a DICOMweb service."""
    return place.lower().startswith(("http://", "https://", "dicomweb://"))


def checked_address(url: str, insecure: bool = False) -> str:
    """The address of a service, without a slash at its end; `dicomweb://` stands for `https://`.

    Raises `OptionError`.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() == "dicomweb":
        parts = parts._replace(scheme="https")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise OptionError(
            "The address of a DICOMweb service begins with https:// (or dicomweb://) and a host."
        )
    if parts.username or parts.password:
        raise OptionError(
            "The address holds a name or a password, which logs would show: give them in the environment "
            f"variables {USER} and {PASSWORD}, or a token in {TOKEN}."
        )
    if parts.query or parts.fragment:
        raise OptionError("The address of a DICOMweb service has no '?' and no '#': select with --query.")
    if not is_private(parts.geturl()) and not insecure:
        raise OptionError(
            f"The connection to {parts.hostname} would not be encrypted, and anybody in between could read "
            "images and passwords: use https://, or add --plain-http in a network that you trust."
        )
    return parts.geturl().rstrip("/")


def _explained(error: requests.RequestException) -> tuple[str, bool]:
    """The failure in words without the request's address, and whether another attempt may succeed."""
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects to another address, to which nothing is sent", False
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted (set REQUESTS_CA_BUNDLE to that of your hospital)", False
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "its answer is too long, or packed in a way that was not asked for", False
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return "the answer is not DICOMweb", False
    if error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return f"it refuses the credentials ({status}); set {TOKEN}, or {USER} and {PASSWORD}", False
        return f"it answers {status} {error.response.reason}", status in _TRANSIENT
    if isinstance(error, requests.Timeout):
        return "it did not answer in time, or too slowly", True
    return f"the connection failed ({type(error).__name__})", True


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence dicomweb-client and its helpers, whose messages hold addresses with the terms of a query."""
    loggers = [logging.getLogger(name) for name in ("dicomweb_client", "retrying", "urllib3")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def attribute(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value of an attribute of a retrieved object as text, "" where it has none."""
    return str(dataset.get(keyword, "") or "").strip()
