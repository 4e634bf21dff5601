"""Malformed addresses, answers and leftovers of downloads lead to the file, or to an explained error."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.downloads.fetched_file import CONTENT, DROP, SHA256, SHORT, assert_only_the_file, fetch
from fixtures.downloads.http_server import Server, drip, raw, redirect, serve, status, unsized
from mednext.errors import DiskSpaceError, DownloadError, DownloadIntegrityError, OutputError
from mednext.library.download import download, resumable
from mednext.library.download.http_stream import CHUNK_BYTES


@pytest.mark.parametrize(
    "url",
    [
        "http://[x",
        "http://[::1",
        "https://a:b/",
        "https://a:99999/m.zip",
        "https://a:0/",
        "https://",
        "https://:80/",
        "https://a b/",
        "https://a\n.example/",
        "https://good.example\\@bad.example/",
        "https://\u2100.example/",
        "https://\ud800.example/",
        "https://a.example/" + "x" * 10_000,
        "",
    ],
)
def test_a_malformed_address_is_refused_in_one_line(url: str, target: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
        fetch(url, target)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "url", ["https://a..example/m.zip", f"https://{'x' * 70}.invalid/", "http://%/m.zip"]
)
def test_a_server_that_no_name_server_can_know_is_an_error(url: str, target: Path) -> None:
    with pytest.raises(DownloadError):
        fetch(url, target, patience=replace(SHORT, attempts=1))


@pytest.mark.parametrize("piece", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_never_comes_to_the_end_of_its_head_is_given_up(
    piece: bytes, server: Server, target: Path
) -> None:
    patience = replace(SHORT, connect_s=0.2, read_s=0.3, attempts=1)
    with pytest.raises(DownloadError, match="end of its answer's head"):
        fetch(server.answer("/m.zip", drip(piece)), target, patience=patience)


@pytest.mark.parametrize("location", ["http://[x", "http://a:b/", "http://\xff\xfe:99999/", "https://[::1"])
def test_a_redirect_to_a_malformed_address_is_an_error_at_once(
    location: str, server: Server, target: Path
) -> None:
    with pytest.raises(DownloadError):
        fetch(server.answer("/here", redirect(location)), target, patience=replace(SHORT, attempts=1))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "address", ["https://me:secret@\u2100.example/", "https://me:secret@a:b/", "http://me:secret@[x"]
)
def test_the_password_of_a_malformed_address_is_not_shown(address: str, target: Path) -> None:
    with pytest.raises(DownloadError, match="not written as one") as caught:
        fetch(address, target)
    assert "secret" not in str(caught.value)


def test_a_password_of_an_address_is_sent_and_never_shown(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.answer("/m.zip", status(503)).replace("http://", "http://me:secret@")
    with caplog.at_level("DEBUG", "mednext"), pytest.raises(DownloadError, match=r"http://\*\*\*@") as caught:
        fetch(url, target)
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    assert "secret" not in str(caught.value) + caplog.text


LIES = {
    "no HTTP": b"\x00\xffgarbage",
    "no status": b"HTTP/1.1\r\n\r\n",
    "an impossible status": b"HTTP/1.1 99999999999 OK\r\n\r\n",
    "a million headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    "a reason that steers the terminal": b"HTTP/1.1 404 \x1b[2J\x9b31m\r\n\r\n",
    "a wrong compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip",
    "malformed chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk of 5,000 digits": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"9" * 5000
    + b"\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
    "a location in another encoding": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\n\r\n",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_whatever_a_server_says_the_error_is_one_visible_line(
    lie: str, size: int | None, server: Server, target: Path, recwarn: pytest.WarningsRecorder
) -> None:
    url = server.answer("/m.zip", raw(LIES[lie]))
    with pytest.raises(DownloadError) as caught:
        fetch(url, target, size=size, patience=replace(SHORT, attempts=2, read_s=5))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert not [warning for warning in recwarn if "Thread" in warning.category.__name__]


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "", "5e3", "\xb2", "nan", "0x10"])
def test_a_malformed_length_counts_as_unknown(length: str, server: Server, target: Path) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
    fetch(server.answer("/m.zip", raw(head + CONTENT)), target, size=None)
    assert_only_the_file(target)


@pytest.mark.parametrize(
    "span",
    [
        f"bytes {DROP}-{DROP + 1}/{'9' * 5000}",
        f"bytes {'9' * 5000}-1/2",
        f"bytes {DROP}-5/*",
        "bytes -5-1/2",
        "pages 1-2/3",
        "",
        "bytes */*",
    ],
)
def test_a_wrong_range_costs_one_attempt_only(span: str, server: Server, target: Path) -> None:
    def lie(handler: Any) -> None:
        handler.head(206, 2, Content_Range=span)
        handler.wfile.write(b"xx")

    fetch(server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), lie, serve(CONTENT)), target, size=None)
    assert_only_the_file(target)


@pytest.mark.parametrize(
    "later",
    [
        "Fri, 31 Dec 99999999999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 0000 00:00:00 GMT",
        "Mon, 99 Foo 2026 99:99:99 +9999999",
        "9" * 5000,
        "-5",
        "nan",
        "inf",
        "1e99",
        "\xb2",
        ", , ,",
    ],
)
def test_retry_after_may_have_any_text(later: str, server: Server, target: Path) -> None:
    busy = server.answer("/busy", status(503, Retry_After=later), serve(CONTENT))
    good = server.answer("/good", serve(CONTENT))
    download([busy, good], target, sha256=SHA256, patience=SHORT)
    assert_only_the_file(target)


@pytest.mark.parametrize(
    "note",
    [
        b"[" * 100_000,
        b'{"sha256":' * 50_000,
        b"",
        b"null",
        b"7",
        b"[]",
        b'{"sha256": 7, "url": [], "validator": {}}',
        b"9" * 5000,
        b"\xff\xfe\0",
        b'{"a": 1, "a": 2}',
        b" " * (17 * 2**20),
    ],
)
def test_a_note_of_any_content_beside_a_part_is_no_error(note: bytes, server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("model.zip.part").write_bytes(b"x" * 100)
    target.with_name("model.zip.part.json").write_bytes(note)
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)


@pytest.mark.parametrize("validator", [7, [], "a\nX: y", "\u20ac", "\ud800", " ", "x" * 100_000, '"v1"'])
def test_a_part_is_resumed_whatever_version_its_note_has(
    validator: object, server: Server, target: Path
) -> None:
    url = server.answer("/m.zip", serve(CONTENT))
    target.parent.mkdir()
    target.with_name("model.zip.part").write_bytes(CONTENT[:DROP])
    note = {"sha256": SHA256, "url": url, "validator": validator}
    target.with_name("model.zip.part.json").write_text(json.dumps(note))
    fetch(url, target)
    assert_only_the_file(target)
    assert server.requests[0].headers["Range"] == f"bytes={DROP}-"
    assert server.requests[0].headers["If-Range"] == ('"v1"' if validator == '"v1"' else None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["model.zip.part", "model.zip.part.json"])
@pytest.mark.parametrize("kind", ["pipe", "link to itself", "link to another file"])
def test_a_pipe_or_a_link_in_the_place_of_a_part_is_replaced(
    kind: str, name: str, server: Server, target: Path
) -> None:
    target.parent.mkdir()
    path, other = target.with_name(name), target.parent.parent / "precious"
    other.write_text("precious")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "link to itself" else other)
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)
    assert other.read_text() == "precious"


def test_a_folder_in_the_place_of_a_part_is_an_error_that_names_the_file(
    server: Server, target: Path
) -> None:
    target.with_name("model.zip.part").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"model\.zip cannot be written"):
        fetch(server.answer("/m.zip", serve(CONTENT)), target)


def test_a_part_that_is_longer_than_the_file_is_not_read(server: Server, target: Path) -> None:
    target.parent.mkdir()
    with target.with_name("model.zip.part").open("wb") as file:
        file.truncate(2**40)  # which would take hours
    target.with_name("model.zip.part.json").write_text(json.dumps({"sha256": SHA256}))
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)


def test_the_next_mirror_is_tried_if_one_offers_more_than_a_model_can_have(
    server: Server, target: Path
) -> None:
    def huge(handler: Any) -> None:
        handler.head(200, 10**17)

    urls = [server.answer("/huge", huge), server.answer("/good", serve(CONTENT))]
    download(urls, target, sha256=SHA256, patience=SHORT)
    assert_only_the_file(target)


def test_an_endless_file_of_unknown_size_is_cut_off(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "LARGEST_BYTES", 2 * len(CONTENT))
    with pytest.raises(DownloadIntegrityError, match="more than 1024000 bytes"):
        fetch(server.answer("/m.zip", unsized(CONTENT * 3)), target, size=None)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_disk_that_fills_up_meanwhile_ends_the_download_before_it_is_full(
    size: int | None, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "LOOK_BYTES", CHUNK_BYTES)
    part = target.with_name("model.zip.part")

    def usage(_: Path) -> object:
        arrived = part.stat().st_size if part.exists() else 0
        return type("Usage", (), {"free": 2**40 if arrived < DROP else 1000})

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(DiskSpaceError, match="has 0 MiB free"):
        fetch(server.answer("/m.zip", unsized(CONTENT)), target, size=size)
    assert not target.exists()
    assert part.exists() == (size is not None)  # a part that may never end is not kept
