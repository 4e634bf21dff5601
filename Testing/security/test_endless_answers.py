"""No server fills the memory of its client: neither by the body of a redirect, nor by layers of packing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.downloads.http_server import Answer, Handler, Server
from mednext.dicomweb.archive import Archive, Credentials
from mednext.errors import ArchiveError, MedNeXtError, ServerError
from mednext.library.catalog_source import load_catalog
from mednext.library.download import Patience, download
from mednext.library.download.remote_file import RemoteFile
from mednext.remote import connection
from mednext.remote.address import Server as Service
from mednext.remote.connection import Connection

SHORT = Patience(connect_s=5, read_s=5, attempts=1, backoff_s=0)
MOST_SENT = 4 * 2**20  # fits the buffers of both sides of a connection


def endless(sent: list[int], code: int, **headers: str) -> Answer:
    """A head, and a body without an end; `sent` gets the number of bytes that the client took."""

    def answer(handler: Handler) -> None:
        handler.head(code, None, **headers)
        piece = gzip.compress(gzip.compress(bytes(2**20)))
        try:
            while sum(sent) < 16 * MOST_SENT:
                handler.wfile.write(piece * 1000)
                sent.append(1000 * len(piece))
        except OSError:
            pass

    return answer


def by_download(url: str, folder: Path) -> None:
    download([url], folder / "m.zip", sha256="0" * 64, size=10, patience=SHORT)


def by_parts(url: str, folder: Path) -> None:
    RemoteFile.at(url, patience=SHORT)


def by_segmenting(url: str, folder: Path) -> None:
    patience = connection.Patience(connect_s=5, read_s=5, lost_s=0)
    Connection(Service(url.rpartition("/")[0], "key"), patience=patience).ask("GET", "/hello")


def by_archive(url: str, folder: Path) -> None:
    Archive(url.rpartition("/")[0], Credentials(token="token")).studies({"StudyDate": "20260101"})


CLIENTS = (by_download, by_parts, by_segmenting, by_archive)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_body_of_a_redirect_is_not_read(
    client: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    with Server() as server:
        answer = endless(sent, 302, Location="/nowhere")
        monkeypatch.setattr(server, "answers", _Everywhere(answer))
        with pytest.raises(MedNeXtError) as caught:
            client(f"{server.address}/m.zip", tmp_path)
    assert isinstance(caught.value, ArchiveError | ServerError) or "404" in str(caught.value)
    assert sum(sent) < MOST_SENT


@pytest.mark.parametrize("client", CLIENTS)
def test_layers_of_packing_are_not_unpacked(
    client: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mednext.dicomweb.archive._PAUSES_S", ())
    sent: list[int] = []
    with Server() as server:
        answer = endless(sent, 200, Content_Encoding="gzip, gzip", Content_Length=str(10**9))
        monkeypatch.setattr(server, "answers", _Everywhere(answer))
        with pytest.raises(MedNeXtError):
            client(f"{server.address}/m.zip", tmp_path)
    assert sum(sent) < MOST_SENT


def test_a_catalog_does_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    for code, headers in ((302, {"Location": "/nowhere"}), (200, {"Content_Encoding": "gzip, gzip"})):
        sent: list[int] = []
        remarks: list[str] = []
        with Server() as server:
            url = server.answer("/catalog.json", endless(sent, code, **headers))
            monkeypatch.setenv("MEDNEXT_CATALOG_URL", url)
            assert load_catalog(refresh=True, remarks=remarks).tasks
        assert "using the shipped one" in remarks[-1]
        assert sum(sent) < MOST_SENT


class _Everywhere(dict[str, list[Answer]]):
    """The same answer for each path, except for that of the redirect."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def get(self, path: str, default: list[Answer] | None = None) -> list[Answer]:  # type: ignore[override]
        return (default or []) if path == "/nowhere" else [self._answer]
