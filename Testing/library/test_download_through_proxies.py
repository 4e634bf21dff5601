"""Downloads go through the proxies of hospitals, and trust the certificates that the environment names."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import ProxyHandler, Server, make_certificates, serve
from mednext.errors import DownloadError
from mednext.library.download import Patience, download

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
