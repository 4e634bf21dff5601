"""The address of an archive, the selection of studies, and the credentials: refused early, shown never."""

from __future__ import annotations

import pytest
from mednext.cli import main
from mednext.dicomweb.archive import Archive, Credentials, checked_address
from mednext.dicomweb.archives import Archives
from mednext.dicomweb.search import Selection
from mednext.errors import OptionError
from mednext.system.json_values import from_json, to_json


def test_dicomweb_stands_for_https() -> None:
    assert checked_address("dicomweb://pacs.example/dicom-web/") == "https://pacs.example/dicom-web"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://me:secret@pacs.example/dicom-web", "environment variables"),
        ("http://pacs.example/dicom-web", "not be encrypted"),
        ("https://", "begins with https"),
        ("ftp://pacs.example/", "begins with https"),
        ("https://pacs.example/dicom-web?PatientID=1", "--query"),
    ],
)
def test_a_wrong_address_is_refused_without_showing_a_password(address: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as refused:
        checked_address(address)
    assert "secret" not in str(refused.value)


def test_a_connection_without_encryption_can_be_allowed() -> None:
    assert checked_address("http://pacs.example/d", insecure=True) == "http://pacs.example/d"
    assert checked_address("http://localhost:8042/d") == "http://localhost:8042/d"


def test_credentials_show_nowhere() -> None:
    credentials = Credentials("a token", "me", "a password")
    shown = repr(credentials) + repr(Archives(credentials=credentials))
    assert "token" not in shown.replace("Credentials", "") and "password" not in shown


def test_credentials_come_from_the_environment_and_reach_workers() -> None:
    given = {"MEDNEXT_DICOMWEB_TOKEN": "t", "MEDNEXT_DICOMWEB_USER": "u", "MEDNEXT_DICOMWEB_PASSWORD": "p"}
    archives = Archives("https://a", "https://b", True, False, Credentials.from_environment(given))
    assert from_json(Archives, to_json(archives)) == archives


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="--query"):
        Selection()


@pytest.mark.parametrize("uid", ["abc", "1.2/../3", "", "1.2?x", "1" * 65])
def test_a_wrong_uid_is_refused(uid: str) -> None:
    with pytest.raises(OptionError, match="no UID"):
        Selection(studies=(uid,))


@pytest.mark.parametrize("term", ["StudyDate", "=1", "Study Date=1", "StudyDate="])
def test_a_wrong_term_of_a_query_is_refused(term: str) -> None:
    with pytest.raises(OptionError, match="StudyDate=20260131"):
        Selection.of([], [], [term])


def test_a_selection_from_a_folder_is_refused(tmp_path, capsys) -> None:
    assert main(["segment-folder", str(tmp_path), str(tmp_path / "out"), "--study", "1.2"]) == 2
    assert "give its address as INPUT" in capsys.readouterr().err


def test_no_proxy_gets_what_is_for_an_archive_on_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    here, there = (
        Archive(f"http://{host}:8042/d", Credentials(), insecure=True)._client._session.proxies
        for host in ("localhost", "pacs.example")
    )
    assert (dict(here), "http" in there) == ({}, True)
