"""No server fills the memory of its client, by the body of a redirect or by packing, or drips for ever."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.downloads.fetched_file import CONTENT, DROP, assert_only_the_file, fetch
from fixtures.downloads.http_server import Answer, Handler, Server, drip, serve
from mednext.dicomweb.archive import Archive, Credentials
from mednext.errors import ArchiveError, DownloadError, MedNeXtError, ServerError
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
    download([url], folder / "m.zip", sha256="0" * 64, size=len(CONTENT), patience=SHORT)


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


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mednext.library.download.guarded_session.WINDOW_S", 0.2)
    monkeypatch.setattr("mednext.dicomweb.archive._PAUSES_S", ())


def dripping(begin: bytes = b"", **headers: str) -> Answer:
    """A head, the beginning of the content, and then the rest byte by byte."""

    def answer(handler: Handler) -> None:
        handler.head(200, None, **headers)
        handler.wfile.write(begin)
        for value in CONTENT[len(begin) :]:
            handler.wfile.write(b"1\r\n%c\r\n" % value if "Transfer_Encoding" in headers else b"%c" % value)
            if handler.server.stopped.wait(0.05):
                break

    return answer


@pytest.mark.usefixtures("short_window")
@pytest.mark.parametrize("headers", [{"Content_Length": str(len(CONTENT))}, {"Transfer_Encoding": "chunked"}])
@pytest.mark.parametrize("client", [by_download, by_segmenting, by_archive])
def test_a_body_that_drips_is_given_up(
    client: Callable[[str, Path], None],
    headers: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{__name__}.SHORT", replace(SHORT, attempts=2))
    with Server() as server:
        monkeypatch.setattr(server, "answers", _Everywhere(dripping(**headers)))
        with pytest.raises(MedNeXtError, match=r"it sent only|did not answer in time, or too slowly"):
            client(f"{server.address}/m.zip", tmp_path)
        assert len(server.requests) == (2 if client is by_download else 1)


@pytest.mark.usefixtures("short_window")
def test_a_download_that_drips_keeps_its_part_for_the_next(tmp_path: Path) -> None:
    target = tmp_path / "models" / "model.zip"
    answer = dripping(CONTENT[:DROP], Content_Length=str(len(CONTENT)), ETag='"v1"')
    with Server() as server:
        with pytest.raises(DownloadError, match="it sent only"):
            fetch(server.answer("/m.zip", answer), target, patience=replace(SHORT, attempts=1))
        kept = target.with_name("model.zip.part").stat().st_size
        fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert kept >= DROP
    assert server.requests[-1].headers["Range"] == f"bytes={kept}-"
    assert_only_the_file(target)


def test_a_server_that_hangs_up_after_each_byte_is_given_up(tmp_path: Path) -> None:
    with Server() as server, pytest.raises(DownloadError, match="2 times in a row"):
        answer = serve(CONTENT, hang_up_after=1)
        fetch(server.answer("/m.zip", answer), tmp_path / "m.zip", patience=replace(SHORT, attempts=2))


def test_a_service_that_never_comes_to_the_end_of_its_head_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SILENCES", 0.05)
    patience = connection.Patience(connect_s=5, read_s=5, lost_s=0)
    with Server() as server, pytest.raises(ServerError, match="no answer in time"):
        server.answer("/v1/hello", drip(b"H"))
        Connection(Service(server.address, "key"), patience=patience).ask("GET", "/hello")


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
