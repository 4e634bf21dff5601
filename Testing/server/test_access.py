"""Nobody gets in without a valid key and certificate, and nobody sees the runs of others."""

from __future__ import annotations

import pytest
import requests
from fixtures.downloads.http_server import expired_certificate, make_certificates
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import (
    QUICK,
    HeldEngines,
    application,
    headers,
    noise,
    running_server,
    wait_until,
)
from mednext.errors import OptionError, ServerAccessError, ServerError
from mednext.inference.options import Options
from mednext.remote import wire
from mednext.remote.address import Server
from mednext.remote.segment import segment
from mednext.remote.served_models import greet
from mednext.server.certificate import days_left
from mednext.server.listening import Place

QUICKLY = Options(mirroring=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def server(tmp_path, bundle):
    with running_server(tmp_path, [bundle], HeldEngines()) as server:
        yield server


def opened(server, access, bundle):
    """The answer to a request for a run."""
    return requests.post(
        f"{server.address}/v1/jobs", json=application(bundle), headers=headers(access), timeout=60
    )


PATHS = [
    ("GET", "/hello"),
    ("GET", "/models/tiny"),
    ("POST", "/jobs"),
    ("GET", "/jobs/x"),
    ("DELETE", "/jobs/x"),
    ("PUT", "/jobs/x/images/0"),
    ("POST", "/jobs/x/start"),
    ("GET", "/jobs/x/labels"),
]


@pytest.mark.parametrize("told", [None, "", "Bearer", "Bearer wrong", "Basic amFuZTp4", "Bearer \u00e9"])
def test_every_request_needs_a_key(server, told):
    server.access()
    sent = {wire.PROTOCOL_HEADER: str(wire.PROTOCOL)}
    if told is not None:
        sent["Authorization"] = told.encode("latin-1")
    for method, path in PATHS:
        answer = requests.request(method, f"{server.address}/v1{path}", headers=sent, timeout=60)
        refused = (answer.status_code, answer.json()["error"])
        assert refused == (401, "ServerAccessError"), (method, path)


def test_a_wrong_key_is_explained(server):
    with pytest.raises(ServerAccessError, match="not one of this server, or was revoked"):
        greet(Server(server.address, server.access().key[:-1] + "X"))


def test_no_proxy_gets_what_is_for_this_computer(server, monkeypatch):
    """Plain http is allowed here alone, and a proxy would receive the images and the key unencrypted."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert greet(server.access()).models


def test_a_proxy_that_refuses_is_explained_with_its_remedy(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServerError, match=r"the proxy .* with gpu\.example in NO_PROXY"):
        greet(Server("https://gpu.example:8443", "key"))


def test_another_version_of_the_protocol_is_explained(server, monkeypatch):
    monkeypatch.setattr("mednext.server.app.wire.PROTOCOL", 2)
    access = server.access()
    told = requests.get(f"{server.address}/v1/hello", headers=headers(access, **{wire.PROTOCOL_HEADER: "1"}))
    assert told.status_code == 426
    assert "speaks version 2 of the protocol, the client version 1" in told.json()["message"]


def test_a_revoked_key_loses_its_runs_at_once(server, bundle):
    access, other = server.access("jane"), server.access("carl")
    for each in (access, other):
        assert opened(server, each, bundle).status_code == 201
    server.keys.revoke("jane")
    with pytest.raises(ServerAccessError):
        greet(access)
    wait_until(lambda: server.jobs() == 1)
    greet(other)


def test_a_run_ends_when_its_key_is_revoked(server, bundle):
    def revoke(progress):
        if progress.stage == "network":
            server.keys.revoke("jane")

    with pytest.raises(ServerAccessError):
        segment(noise(), bundle.model, server.access(), QUICKLY, progress=revoke, patience=QUICK)
    wait_until(lambda: not server.jobs() and server.service.dispatcher._engines.closed == 1)


def test_the_job_of_another_is_as_unknown_as_one_that_never_was(server, bundle):
    jane, carl = server.access("jane"), server.access("carl")
    job = opened(server, jane, bundle).json()["job"]
    assert len(job) == 64
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("PUT", "/images/0?offset=0"),
        ("POST", "/start"),
        ("GET", "/labels?offset=0&size=1"),
    ):
        told = [
            requests.request(
                method, f"{server.address}/v1/jobs/{name}{path}", headers=headers(carl), timeout=60
            )
            for name in (job, "0" * 64)
        ]
        assert [answer.status_code for answer in told] == [404, 404]
        assert told[0].content == told[1].content
    assert server.jobs() == 1


def test_two_clients_with_the_same_request_get_a_run_each(server, bundle):
    jobs = {opened(server, server.access(), bundle).json()["job"] for _ in range(2)}
    assert len(jobs) == 2


def test_a_result_is_gone_when_it_has_been_fetched(server, bundle):
    server.service.dispatcher._engines.release.set()
    jobs = []
    open_job = server.service.table.open
    server.service.table.open = lambda *told: jobs.append(open_job(*told)) or jobs[-1]
    segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)
    wait_until(lambda: not server.jobs())
    answer = requests.get(
        f"{server.address}/v1/jobs/{jobs[0].id}/labels?offset=0&size=1",
        headers=headers(server.access()),
        timeout=60,
    )
    assert answer.status_code == 404
    assert not jobs[0].arrays
    assert not jobs[0].images


def test_a_key_file_that_others_may_write_lets_nobody_in(server):
    access = server.access()
    greet(access)
    server.keys.path.chmod(0o666)
    with pytest.raises(ServerAccessError):
        greet(access)


def test_a_damaged_or_missing_key_file_lets_nobody_in(server):
    access = server.access()
    text = server.keys.path.read_text()
    server.keys.path.write_text(text[:-20])
    with pytest.raises(ServerAccessError):
        greet(access)
    server.keys.path.unlink()
    with pytest.raises(ServerAccessError):
        greet(access)
    server.keys.path.write_text(text)
    greet(access)


@pytest.fixture
def certified(tmp_path):
    made = make_certificates(tmp_path)
    if made is None:
        pytest.skip("there is no openssl command")
    return str(made[0]), tmp_path / "server.pem", tmp_path / "server.key"


def test_https_with_an_own_authority_is_trusted_only_with_its_file(tmp_path, bundle, certified):
    authority, certificate, key = certified
    assert 1 < days_left(certificate, key) < 3
    with running_server(
        tmp_path, [bundle], HeldEngines(), place=Place(port=0, certificate=certificate, key=key)
    ) as server:
        access = server.access()
        assert access.address.startswith("https://")
        with pytest.raises(ServerAccessError, match=r"certificate of 127\.0\.0\.1:\d+ is refused"):
            greet(access)
        greet(Server(access.address, access.key, authority))
        with pytest.raises(ServerAccessError, match="refused"):  # nothing was sent, so no key was lost
            greet(Server(access.address.replace("127.0.0.1", "localhost"), access.key, authority))


@pytest.fixture
def expired(tmp_path):
    made = expired_certificate(tmp_path)
    if made is None:
        pytest.skip("there is no openssl command")
    return made


def test_an_expired_certificate_is_refused_before_the_server_starts(expired):
    with pytest.raises(OptionError, match="certificate has expired"):
        Place(certificate=expired[0], key=expired[1])


def test_an_expired_certificate_is_refused_by_the_client(tmp_path, bundle, expired, monkeypatch):
    monkeypatch.setattr("mednext.server.listening.days_left", lambda *_: 99.0)  # it expired meanwhile
    place = Place(port=0, certificate=expired[0], key=expired[1])
    with running_server(tmp_path, [bundle], HeldEngines(), place=place) as server:
        access = server.access()
        with pytest.raises(ServerAccessError, match=r"certificate has expired.*nothing was sent"):
            greet(Server(access.address, access.key, str(expired[0])))


def test_a_certificate_with_another_key_is_refused(certified, expired):
    with pytest.raises(OptionError, match="are not a certificate and its key"):
        days_left(certified[1], expired[1])


def test_a_server_that_breaks_off_tls_is_no_certificate_fault(tmp_path, bundle):
    with running_server(tmp_path, [bundle], HeldEngines()) as server:  # speaks no TLS at all
        access = server.access()
        with pytest.raises(ServerError, match="cannot be reached") as raised:
            greet(Server(access.address.replace("http:", "https:"), access.key))
    assert not isinstance(raised.value, ServerAccessError)
