"""Downloads go through the proxies of hospitals, and trust the certificates that the environment names."""

from __future__ import annotations

import hashlib
import ssl
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.downloads.http_server import ProxyHandler, Server, make_certificates, serve
from fixtures.downloads.remote_zips import Ranges
from mednext.errors import DownloadError
from mednext.library.download import Patience, download
from mednext.library.download.remote_file import RemoteFile
from mednext.library.download.remote_zip import fetch_member, list_members

CONTENT = bytes(range(256)) * 500


def fetch(url: str, target: Path) -> None:
    patience = Patience(connect_s=60, read_s=60, attempts=2, backoff_s=0.02)
    download([url], target, sha256=hashlib.sha256(CONTENT).hexdigest(), patience=patience)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(handler=ProxyHandler) as running:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, running.address)
            monkeypatch.setenv(name.lower(), running.address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        yield running


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    if certificates is None:
        pytest.skip("no openssl command to make certificates with")
    return certificates


def test_the_proxy_of_the_environment_is_used(proxy: Server, target: Path) -> None:
    url = "http://models.example/m.zip"
    proxy.answers[url] = [serve(CONTENT)]
    fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_members_of_a_zip_file_come_through_the_proxy_too(
    proxy: Server, hospital: tuple[Path, ssl.SSLContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = hospital
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.bin", CONTENT)
    with Server(tls=context) as server:
        url = server.answer("/z.zip", Ranges(tmp_path / "z.zip"))
        remote = RemoteFile.at(url)
        fetch_member(remote, *list_members(remote), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert all(request.path.startswith("127.0.0.1:") for request in proxy.requests) and proxy.requests


def test_a_proxy_that_is_not_there_is_named_as_the_reason(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as gone:
        pass
    for name, value in {"HTTP_PROXY": gone.address, "NO_PROXY": ""}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    with pytest.raises(DownloadError, match="the proxy cannot be reached"):
        fetch("http://models.example/m.zip", target)


def test_a_certificate_of_a_custom_authority_is_accepted_when_the_environment_names_it(
    hospital: tuple[Path, ssl.SSLContext], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = hospital
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with Server(tls) as server:
        fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert target.read_bytes() == CONTENT


def test_an_unknown_certificate_is_refused_without_asking_again(
    hospital: tuple[Path, ssl.SSLContext], target: Path
) -> None:
    with (
        Server(hospital[1]) as server,
        pytest.raises(DownloadError, match=r"certificate.*REQUESTS_CA_BUNDLE"),
    ):
        fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert not target.exists()


def test_a_secure_download_goes_through_the_proxys_tunnel(
    hospital: tuple[Path, ssl.SSLContext], proxy: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = hospital
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with Server(tls) as server:
        fetch(server.answer("/m.zip", serve(CONTENT)), target)
        assert [request.path for request in proxy.requests] == [f"127.0.0.1:{server.server_port}"]
    assert target.read_bytes() == CONTENT
