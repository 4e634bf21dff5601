"""A stranger's zip file is unpacked inside its folder, or refused."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fixtures.downloads.zip_files import zipped
from mednext.errors import BundleError, BundleFormatError, DiskSpaceError, UnsafePathError
from mednext.library import archive
from mednext.library.archive import pack, unpack

CONTENT = {"model.json": b"{}" * 500, "fold_0.safetensors": bytes(range(256)) * 20}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_packed_folder_is_unpacked_unchanged(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, data in CONTENT.items():
        (source / name).write_bytes(data)
    pack(source, tmp_path / "packed.zip")
    unpack(tmp_path / "packed.zip", folder)
    assert content(folder) == CONTENT


def test_folders_inside_are_kept_and_a_macs_clutter_is_not(tmp_path: Path, folder: Path) -> None:
    clutter = {"__MACOSX/m/._a": b"x", "m/.DS_Store": b"x"}
    unpack(zipped(tmp_path, {"m/a": b"1", "m/n/b": b"2", **clutter}), folder)
    assert content(folder) == {"m/a": b"1", "m/n/b": b"2"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/tmp/evil",
        "C:\\evil",
        "C:evil",
        "a\\..\\evil",
        "\\\\host\\evil",
        "model.json:x",
        "a./b",
        "a\nb",
        "NUL",
        "m/com1.txt",
        ".",
    ],
)
def test_a_name_that_leads_out_or_that_some_platform_cannot_have_is_refused(
    name: str, tmp_path: Path, folder: Path
) -> None:
    with pytest.raises(UnsafePathError):
        unpack(zipped(tmp_path, {**CONTENT, name: b"evil"}), folder)
    assert content(folder) == {}
    assert not list(tmp_path.glob("**/evil"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_a_device_is_refused(kind: int, tmp_path: Path, folder: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafePathError, match="'link' is a link or a device"):
        unpack(tmp_path / "made.zip", folder)


def test_a_name_that_occurs_twice_in_any_case_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"'model\.json' twice"):
        unpack(zipped(tmp_path, {**CONTENT, "MODEL.json": b"{}"}), folder)
    assert content(folder) == {}


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match="'a/b' below a file"):
        unpack(zipped(tmp_path, {"a/b": b"2", "A": b"1"}), folder)
    assert content(folder) == {}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("model.json", bytes(archive.SMALL_BYTES + 1))
    with pytest.raises(BundleFormatError, match="claims to hold 64 MiB"):
        unpack(tmp_path / "bomb.zip", folder)
    assert content(folder) == {}


def test_a_wrong_size_is_found(tmp_path: Path, folder: Path) -> None:
    path = zipped(tmp_path, {"model.json": b"{}" * 1000})
    raw = path.read_bytes()
    assert raw.count(struct.pack("<L", 2000)) == 4  # packed and unpacked size, in both headers
    path.write_bytes(raw.replace(struct.pack("<L", 2000), struct.pack("<L", 20)))
    with pytest.raises(BundleFormatError, match="damaged"):
        unpack(path, folder)


def test_too_many_files_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match="1001 files"):
        unpack(zipped(tmp_path, {str(i): b"" for i in range(archive.MAX_FILES + 1)}), folder)


def test_more_than_the_free_space_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with pytest.raises(DiskSpaceError, match="MiB free"):
        unpack(zipped(tmp_path, CONTENT), folder)
    assert content(folder) == {}


@pytest.mark.parametrize("damage", ["not a zip", "truncated", "encrypted", "flipped", "empty", "missing"])
def test_a_damaged_file_is_refused_by_name(damage: str, tmp_path: Path, folder: Path) -> None:
    data = bytearray(zipped(tmp_path, CONTENT).read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    if damage == "encrypted":
        data[data.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "damaged.zip"
    if damage != "missing":
        path.write_bytes({"not a zip": b"hello", "truncated": data[:-100], "empty": b""}.get(damage, data))
    with pytest.raises(BundleFormatError, match=r"damaged\.zip"):
        unpack(path, folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damage_is_reported_whatever_the_compression(method: int, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("model.json", bytes(range(256)) * 40)
    data = bytearray(path.read_bytes())
    data[60:100] = bytes(0xFF ^ byte for byte in data[60:100])
    path.write_bytes(data)
    with pytest.raises(BundleFormatError, match=r"damaged\.zip"):
        unpack(path, folder)


def test_a_name_that_is_too_long_for_the_disk_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match="cannot be unpacked: File name too long"):
        unpack(zipped(tmp_path, {"x" * 300: b""}), folder)


def raw_zip(path: Path, *names: bytes, offset: int = 0, method: int = 0, flags: int = 0) -> Path:
    """A zip file of empty files with any list of names; `offset` is a wrong begin of each file."""
    body, listed = bytearray(), bytearray()
    for name in names:
        fields = struct.pack("<5H3L2H", 20, flags, method, 0, 33, 0, 0, 0, len(name), 0)
        start = struct.pack("<L", (len(body) + offset) % 2**32)
        listed += b"PK\1\2\x14\0" + fields + bytes(10) + start + name
        body += b"PK\3\4" + fields + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(listed), len(body), 0)
    path.write_bytes(body + listed + end)
    return path


@pytest.mark.parametrize("offset", [1, 1000, 2**31, 2**32 - 30, -1])
def test_an_impossible_offset_is_refused_as_damage(offset: int, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"made\.zip"):
        unpack(raw_zip(tmp_path / "made.zip", b"model.json", offset=offset), folder)


@pytest.mark.parametrize("value", [1, 10**6, 2**31, 2**32 - 1])
@pytest.mark.parametrize("position", [12, 16])
def test_a_list_in_another_place_than_the_file_says_is_refused_as_damage(
    position: int, value: int, tmp_path: Path, folder: Path
) -> None:
    path = zipped(tmp_path, CONTENT)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, len(data) - 22 + position, value)
    path.write_bytes(data)
    with pytest.raises(BundleFormatError, match=r"made\.zip"):
        unpack(path, folder)


@pytest.mark.parametrize("name", [b"", b"\0", b"\0model.json", b"/", b"//"])
def test_a_member_without_a_name_is_refused_or_skipped(name: bytes, tmp_path: Path, folder: Path) -> None:
    path = raw_zip(tmp_path / "made.zip", b"model.json", name)
    if name.strip(b"/"):
        with pytest.raises(BundleError):
            unpack(path, folder)


def test_a_name_that_is_not_text_is_refused_as_damage(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"made\.zip"):
        unpack(raw_zip(tmp_path / "made.zip", b"\xff\xfe", flags=0x800), folder)


def test_names_of_64_kilobytes_are_refused_by_a_short_sentence(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match="too long") as caught:
        unpack(raw_zip(tmp_path / "made.zip", b"x" * 65000), folder)
    assert len(str(caught.value)) < 400


def test_deep_folders_are_refused_before_one_is_made(tmp_path: Path, folder: Path) -> None:
    deep = {f"{'a/' * 1000}{number}": b"" for number in range(archive.MAX_FILES)}
    with pytest.raises(BundleFormatError, match="deeper than in 8 folders"):
        unpack(zipped(tmp_path, deep), folder)
    assert list(folder.iterdir()) == []


def test_empty_folders_are_not_made_and_a_million_of_them_is_refused(tmp_path: Path, folder: Path) -> None:
    unpack(raw_zip(tmp_path / "some.zip", *[b"a/" * 500] * 100), folder)
    assert list(folder.iterdir()) == []
    with pytest.raises(BundleFormatError, match="0 files and 20000 folders"):
        unpack(raw_zip(tmp_path / "many.zip", *[b"a/"] * 20_000), folder)
    with pytest.raises(BundleFormatError, match="a list of files of 9 MiB"):
        unpack(raw_zip(tmp_path / "more.zip", *[b"a/"] * 200_000), folder)


def test_names_that_differ_in_form_alone_are_one_name(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleFormatError, match="twice"):
        unpack(zipped(tmp_path, {"./a": b"1", "a": b"2"}), folder)
    with pytest.raises(BundleFormatError, match="twice"):
        unpack(zipped(tmp_path, {"\u00e9": b"1", "e\u0301": b"2"}), folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_a_device_and_a_link_to_itself_are_refused(tmp_path: Path, folder: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "link.zip").symlink_to(tmp_path / "link.zip")
    for path in (tmp_path / "pipe.zip", tmp_path / "link.zip", Path("/dev/zero"), tmp_path):
        with pytest.raises(BundleFormatError, match="There is no file"):
            unpack(path, folder)


def test_a_disk_that_fills_up_meanwhile_is_reported(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    true_open = Path.open

    def opened(path: Path, mode: str = "r", *others: Any, **named: Any) -> Any:
        return Full() if mode == "xb" else true_open(path, mode, *others, **named)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DiskSpaceError, match="full"):
        unpack(zipped(tmp_path, CONTENT), folder)
