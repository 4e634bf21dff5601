"""Single members of a huge zip file on a server: only their bytes are fetched, and they are verified."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures.downloads.fetched_file import IMPATIENT, SHORT
from fixtures.downloads.http_server import Handler, Server, redirect, stall_before_head, status
from fixtures.downloads.remote_zips import GLIOMA, MENINGIOMA, Ranges, write_record
from fixtures.faults.ctrl_c import pressed_when
from mednext.errors import (
    DiskSpaceError,
    DownloadError,
    DownloadIntegrityError,
    UnsafePathError,
)
from mednext.library.download import remote_file, remote_zip
from mednext.library.download.remote_file import RemoteFile
from mednext.library.download.remote_zip import Member, fetch_member, find_members, list_members

CONTENT = os.urandom(300_000)
TEXT = b"plans " * 40_000


@pytest.fixture(scope="module", params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("record")
    (folder / "results" / "fold_0").mkdir(parents=True)
    (folder / "results" / "plans.pkl").write_bytes(TEXT)
    (folder / "results" / "fold_0" / "model_best.model").write_bytes(CONTENT)
    path = folder / "record.zip"
    write_record(path, {GLIOMA: folder / "results", MENINGIOMA: folder / "results"}, request.param)
    yield path
    path.unlink()


@pytest.fixture
def served(record: Path, server: Server) -> Ranges:
    answer = Ranges(record)
    server.answer("/record.zip", answer)
    return answer


@pytest.fixture
def remote(served: Ranges, server: Server) -> RemoteFile:
    return RemoteFile.at(f"{server.address}/record.zip", patience=SHORT)


def only(remote: RemoteFile, *names: str) -> Member:
    (member,) = find_members(list_members(remote), names)
    return member


def small_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_members_beyond_four_gigabytes_are_listed_with_their_sizes(remote: RemoteFile) -> None:
    members = {member.name: member for member in list_members(remote)}
    assert members[f"{GLIOMA}/fold_0/model_best.model"].size == len(CONTENT)
    assert members[f"{GLIOMA}/fold_0/model_best.model"].header > 2**32
    assert members["Synthesis/Task7/weights.pt"].size == 2**32 + 12345
    assert not any(name.endswith("/") for name in members)


def test_a_member_arrives_and_little_else(remote: RemoteFile, served: Ranges, tmp_path: Path) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    digest = fetch_member(remote, member, tmp_path / "new" / "m.model")
    assert (tmp_path / "new" / "m.model").read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.model"]
    assert served.sent < len(CONTENT) + 4 * 2**16


def test_a_member_is_found_by_the_last_parts_of_its_name(remote: RemoteFile) -> None:
    assert only(remote, "Task241_BraTS_2024_Real/" + GLIOMA.rpartition("/")[2] + "/plans.pkl").size == len(
        TEXT
    )
    assert only(remote, "README.md").name == "README.md"


def test_a_folder_stands_for_its_files(remote: RemoteFile) -> None:
    found = find_members(list_members(remote), [f"{MENINGIOMA}/fold_0/"])
    assert {member.name.rpartition("/")[2] for member in found} == {
        "model_best.model",
        "model_final_checkpoint.model",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plans.pkl", "fits 2 places .*give the whole name"),
        ("fold_0/nothing.model", "no member .*README.md"),
        ("lans.pkl", "no member"),
        ("", "no member"),
        ("../plans.pkl", "no member"),
    ],
)
def test_a_name_that_names_no_single_place_is_refused(name: str, message: str, remote: RemoteFile) -> None:
    with pytest.raises(DownloadError, match=message):
        find_members(list_members(remote), [name])


def test_progress_counts_the_bytes_of_the_member(remote: RemoteFile, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    fetch_member(remote, member, tmp_path / "m", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (member.packed, member.packed)


def test_a_dropped_connection_is_resumed_where_it_broke(
    remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    served.hang_up_after = 100_000
    fetch_member(remote, member, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    firsts = [first for first, last in served.asked if last - first > 2**16 or last == served.asked[-1][1]]
    assert len(set(firsts)) >= 3
    assert served.sent < len(CONTENT) + 6 * 2**16


def test_a_later_call_resumes_the_part_of_a_cancelled_one(
    remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")

    def cancel(arrived: int, total: int | None) -> None:
        if arrived > 65_536:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_member(remote, member, tmp_path / "m", progress=cancel)
    assert not (tmp_path / "m").exists()
    sent = served.sent
    fetch_member(RemoteFile.at(remote.url, patience=SHORT), member, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert served.sent - sent < len(CONTENT)


def test_a_verified_member_is_not_downloaded_again(
    remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/plans.pkl")
    fetch_member(remote, member, tmp_path / "m")
    sent = served.sent
    if member.is_stored:
        assert fetch_member(remote, member, tmp_path / "m") == hashlib.sha256(TEXT).hexdigest()
        assert served.sent == sent


def test_a_changed_byte_is_found_by_the_crc(remote: RemoteFile, served: Ranges, tmp_path: Path) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    served.change = lambda _number, body: body if len(body) < member.packed else body[:-9] + b"#" + body[-8:]
    with pytest.raises(DownloadIntegrityError, match=r"CRC-32|cannot be unpacked|less than"):
        fetch_member(remote, member, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_before_the_download(
    remote: RemoteFile, served: Ranges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    sent = served.sent
    with pytest.raises(DiskSpaceError):
        fetch_member(remote, member, tmp_path / "m")
    assert served.sent - sent < 2**17


def test_a_server_that_sends_whole_files_only_is_refused_with_their_size(
    record: Path, server: Server
) -> None:
    url = server.answer("/record.zip", Ranges(record, ignores_ranges=True))
    with pytest.raises(DownloadError, match=r"whole one of 8\.\d GB .* Download and unpack it yourself"):
        RemoteFile.at(url, patience=SHORT)


def test_a_server_without_a_size_is_refused(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.head(206, 4, Content_Range="bytes 0-3/*")
        handler.wfile.write(b"PK\3\4")

    with pytest.raises(DownloadError, match="answers a request for a part of it wrongly"):
        RemoteFile.at(server.answer("/m.zip", answer), patience=SHORT)


def test_a_missing_file_and_a_silent_server_are_errors(server: Server) -> None:
    with pytest.raises(DownloadError, match="HTTP 404"):
        RemoteFile.at(server.answer("/gone.zip", status(404)), patience=SHORT)
    url = server.answer("/silent.zip", stall_before_head())
    with pytest.raises(DownloadError, match="went silent, 2 times"):
        RemoteFile.at(url, patience=replace(IMPATIENT, attempts=2))


def test_a_server_in_trouble_is_asked_again(record: Path, server: Server) -> None:
    url = server.answer("/record.zip", status(503), Ranges(record))
    assert RemoteFile.at(url, patience=SHORT).size == record.stat().st_size


@pytest.mark.parametrize("address", ["http://records.example/a.zip", "ftp://a.example/a.zip", "https://"])
def test_only_addresses_of_https_or_of_this_computer_are_asked(address: str) -> None:
    with pytest.raises(DownloadError, match=r"https|only http|names no server"):
        RemoteFile.at(address)


def test_a_redirect_to_an_address_of_http_is_refused(
    record: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"http://other.localhost.example:{server.server_port}/record.zip"
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda host, port, *_a, **_k: [(2, 1, 6, "", ("127.0.0.1", int(port)))],
    )
    server.answer("/record.zip", Ranges(record))
    with pytest.raises(DownloadError, match=r"other\.localhost\.example.* is an address of http"):
        RemoteFile.at(server.answer("/from", redirect(other)), patience=SHORT)


def test_redirects_on_the_way_are_followed(record: Path, server: Server, tmp_path: Path) -> None:
    server.answer("/record.zip", Ranges(record))
    remote = RemoteFile.at(server.answer("/from", redirect("/record.zip")), patience=SHORT)
    fetch_member(remote, only(remote, f"{GLIOMA}/plans.pkl"), tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == TEXT


def _newer(served: Ranges) -> None:
    served.etag = '"v2"'


def _newer_but_ranges(served: Ranges) -> None:
    """A server that ignores If-Range."""
    served.etag = '"v2"'
    served.ignores_if_range = True


def _other_size(served: Ranges) -> None:
    served.etag = ""
    served.span = lambda first, last, total: f"bytes {first}-{last}/{total + 1}"


def _no_ranges(served: Ranges) -> None:
    served.ignores_ranges = True


@pytest.mark.parametrize("change", [_newer, _newer_but_ranges, _other_size, _no_ranges])
def test_a_file_that_changes_between_two_requests_is_refused(
    change: Callable[[Ranges], None], remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    change(served)
    with pytest.raises(DownloadIntegrityError, match="changed"):
        fetch_member(remote, member, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("span", ["bytes 0-1/{total}", "bytes 7-9/{total}", "nonsense", "bytes */{total}"])
def test_a_wrong_content_range_is_never_taken_for_the_bytes(
    span: str, remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    served.span = lambda first, last, total: span.format(total=total)
    with pytest.raises(DownloadError, match=r"another range|changed"):
        fetch_member(remote, member, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_answer_that_goes_on_beyond_the_range_is_refused(
    remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    member = only(remote, f"{GLIOMA}/fold_0/model_best.model")
    served.tells_length = False  # the client reads as long as bytes come
    served.change = lambda _number, body: body + b"more"
    with pytest.raises(DownloadIntegrityError, match="more than"):
        fetch_member(remote, member, tmp_path / "m")


def test_a_server_that_always_hangs_up_is_abandoned(
    remote: RemoteFile, served: Ranges, tmp_path: Path
) -> None:
    served.hang_up_after = 0
    with pytest.raises(DownloadError, match=r"closed after 0 of|3 times in a row"):
        list_members(remote)


def test_cancelling_ends_the_reading_of_the_list(record: Path, server: Server) -> None:
    url = server.answer("/record.zip", stall_before_head())
    with pressed_when(lambda: server.requests):
        RemoteFile.at(url)


def patched(path: Path, change: Callable[[bytearray, list[zipfile.ZipInfo]], None]) -> Path:
    """A zip file with changed bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    data = bytearray(path.read_bytes())
    change(data, entries)
    path.write_bytes(data)
    return path


def _in_list(data: bytearray, number: int) -> int:
    """The position of an entry of the list of members."""
    position = -1
    for _ in range(number + 1):
        position = data.index(b"PK\1\2", position + 1)
    return position


def members_of(path: Path, server: Server) -> tuple[RemoteFile, list[Member]]:
    remote = RemoteFile.at(server.answer("/small.zip", Ranges(path)), patience=SHORT)
    return remote, list_members(remote)


def put(offset: int, value: bytes, number: int = 0) -> Callable[[bytearray, list[zipfile.ZipInfo]], None]:
    """Write bytes into an entry of the list."""

    def change(data: bytearray, entries: list[zipfile.ZipInfo]) -> None:
        at = _in_list(data, number) + offset
        data[at : at + len(value)] = value

    return change


LIES: dict[str, tuple[bytes, int, int, str]] = {  # new bytes, their place in the entry, method, the message
    "an encrypted member": (b"\1", 8, zipfile.ZIP_STORED, "encrypted"),
    "an unknown method": (b"\x0e\0", 10, zipfile.ZIP_STORED, "method 14"),
    "a stored size that differs": (b"\1\0\0\0", 24, zipfile.ZIP_STORED, "5000 in the zip file"),
    "a size of gigabytes": (b"\0\0\0\xf0", 24, zipfile.ZIP_DEFLATED, "claims to have"),
    "a smaller size": (b"\1\0\0\0", 24, zipfile.ZIP_DEFLATED, "more than its 1 bytes"),
    "a larger size": (b"\x88\x14\0\0", 24, zipfile.ZIP_DEFLATED, "less than its 5256 bytes"),
    "another CRC": (b"\1\2\3\4", 16, zipfile.ZIP_DEFLATED, "CRC-32"),
    "a link": (b"\0\0\xff\xa1", 38, zipfile.ZIP_STORED, "link"),
    "an offset into other bytes": (b"\7\0\0\0", 42, zipfile.ZIP_STORED, "no such member"),
    "an offset beyond the end": (b"\0\0\0\x70", 42, zipfile.ZIP_STORED, "damaged"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_list_that_lies_about_a_member_is_refused(lie: str, server: Server, tmp_path: Path) -> None:
    value, place, method, message = LIES[lie]
    path = small_zip(tmp_path / "z.zip", {"a.bin": b"abcde" * 1000}, method)
    remote, members = members_of(patched(path, put(place, value)), server)
    with pytest.raises((DownloadIntegrityError, UnsafePathError), match=message):
        fetch_member(remote, *find_members(members, ["a.bin"]), tmp_path / "out" / "a")
    assert not (tmp_path / "out" / "a").exists()


def test_a_member_that_is_there_twice_is_refused_and_others_are_not(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("a.bin", "b.bin", "a.bin"):
            archive.writestr(name, name)
    _, members = members_of(path, server)
    with pytest.raises(DownloadIntegrityError, match="there twice"):
        find_members(members, ["a.bin"])
    assert find_members(members, ["b.bin"])


@pytest.mark.parametrize("name", ["../a.bin", "/etc/a.bin", "C:/a.bin", "con/a.bin"])
def test_a_member_whose_name_leaves_the_folder_is_refused(name: str, server: Server, tmp_path: Path) -> None:
    _, members = members_of(small_zip(tmp_path / "z.zip", {name: b"abc"}), server)
    with pytest.raises(UnsafePathError):
        find_members(members, [name])


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "no zip file": lambda data: b"<html>" * 100,
    "a truncated one": lambda data: data[:-40],
    "one without its end": lambda data: data[: data.index(b"PK\5\6")],
    "a list of another size": lambda data: data.replace(b"PK\1\2", b"PK\7\7", 1),
    "an absurd number of members": lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:],
    "nothing but an end": lambda data: data[-22:],
    "an empty file": lambda data: b"x",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_list_is_an_error_of_one_sentence(case: str, server: Server, tmp_path: Path) -> None:
    path = small_zip(tmp_path / "z.zip", {"a.bin": b"abcde", "b.bin": b"abc"})
    path.write_bytes(BROKEN[case](path.read_bytes()))
    with pytest.raises(DownloadError, match=r"zip file|damaged|cannot be read|changed|no member"):
        _, members = members_of(path, server)
        find_members(members, ["a.bin"])


def test_a_list_of_absurd_size_is_not_downloaded(
    remote: RemoteFile, served: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "MOST_BYTES", 100)
    sent = served.sent
    with pytest.raises(DownloadIntegrityError, match="no sound zip file"):
        list_members(remote)
    assert served.sent - sent < 2**18


def test_too_many_members_are_refused(remote: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_zip, "MAX_MEMBERS", 3)
    with pytest.raises(DownloadIntegrityError, match="no published model has more than 3"):
        list_members(remote)


def test_a_member_without_a_name_is_left_out(server: Server, tmp_path: Path) -> None:
    path = small_zip(tmp_path / "z.zip", {"a": b"abc", "b.bin": b"abc"})
    _, members = members_of(patched(path, put(46, b"\0")), server)
    assert [member.name for member in members] == ["b.bin"]


def test_a_member_that_was_packed_into_a_stream_arrives(server: Server, tmp_path: Path) -> None:
    """Its own header has neither size nor CRC-32, which follow behind its bytes."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a pipe has no place")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/plans.pkl", TEXT)
    (tmp_path / "z.zip").write_bytes(pipe.getvalue())
    remote, members = members_of(tmp_path / "z.zip", server)
    fetch_member(remote, *find_members(members, ["plans.pkl"]), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == TEXT


def test_an_empty_member_arrives(server: Server, tmp_path: Path) -> None:
    remote, members = members_of(small_zip(tmp_path / "z.zip", {"a/empty": b""}), server)
    fetch_member(remote, *find_members(members, ["empty"]), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""
