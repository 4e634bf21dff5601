"""A server keeps its limits of size, time, memory and patience, and takes no nonsense."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from dataclasses import replace

import numpy as np
import pytest
import requests
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import (
    QUICK,
    HeldEngines,
    application,
    bright,
    headers,
    noise,
    running_server,
    wait_until,
)
from mednext.errors import EngineProcessError, ServerBusyError, UnsupportedImageError
from mednext.inference.options import Options
from mednext.remote import wire
from mednext.remote.segment import segment
from mednext.server.jobs import Limits

QUICKLY = Options(mirroring=False)
IMAGE_BYTES = 18 * 34 * 36 * 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def engines():
    return HeldEngines()


def serving(tmp_path, bundle, engines, **limits):
    return running_server(tmp_path, [bundle], engines, Limits(**limits))


def post(server, document, path="", access=None):
    """The answer to a request below `/v1/jobs`."""
    sent = headers(access or server.access())
    return requests.post(f"{server.address}/v1/jobs{path}", json=document, headers=sent, timeout=60)


def test_an_image_beyond_the_limit_is_refused_before_it_is_sent(tmp_path, bundle, engines):
    with (
        serving(tmp_path, bundle, engines, largest_bytes=IMAGE_BYTES - 1) as server,
        pytest.raises(UnsupportedImageError, match="this server takes at most"),
    ):
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)


def test_a_run_beyond_the_time_limit_is_ended(tmp_path, bundle, engines):
    with serving(tmp_path, bundle, engines, longest_s=0.3) as server:
        with pytest.raises(EngineProcessError, match=r"took longer than the 0\.005 min"):
            segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)
        assert engines.closed == 1


def test_a_silent_client_loses_its_run(tmp_path, bundle, engines):
    with serving(tmp_path, bundle, engines, silence_s=0.5) as server:
        assert post(server, application(bundle)).status_code == 201
        wait_until(lambda: not server.jobs())


def test_a_full_server_is_waited_for(tmp_path, bundle, engines):
    told, results = [], []
    with serving(tmp_path, bundle, engines, memory_bytes=1) as server:

        def run(number, progress):
            volume = noise(number)
            results.append(
                (
                    number,
                    segment(
                        volume, bundle.model, server.access(), QUICKLY, progress=progress, patience=QUICK
                    ),
                )
            )

        server.access()
        first = threading.Thread(target=run, args=(0, None))
        first.start()
        wait_until(lambda: bool(engines.begun))
        second = threading.Thread(target=run, args=(1, told.append))
        second.start()
        wait_until(lambda: any(step.stage == "queued" for step in told))
        engines.release.set()
        first.join()
        second.join()
    for number, result in results:
        assert np.array_equal(result.labelmap, bright(noise(number).array))
    assert len(results) == 2


def test_a_key_has_only_so_many_runs_and_others_are_not_hindered(tmp_path, bundle, engines):
    with serving(tmp_path, bundle, engines, jobs_per_owner=2) as server:
        jane, carl = server.access("jane"), server.access("carl")
        codes = [
            post(server, application(bundle), access=who).status_code for who in (jane, jane, jane, carl)
        ]
        assert codes == [201, 201, 503, 201]
        with pytest.raises(ServerBusyError, match="has 2 runs"):
            segment(noise(), bundle.model, jane, QUICKLY, patience=replace(QUICK, busy_s=0))


def test_position_and_remaining_time_are_told(tmp_path, bundle, engines):
    told, threads = [], []
    with serving(tmp_path, bundle, engines) as server:
        server.service.dispatcher._seconds_per_unit = 1e-3
        server.access()
        for number in range(3):
            progress = told.append if number == 2 else None
            thread = threading.Thread(
                target=segment,
                args=(noise(number), bundle.model, server.access(), QUICKLY),
                kwargs={"progress": progress, "patience": QUICK},
            )
            thread.start()
            threads.append(thread)
            wait_until(
                lambda number=number: (
                    bool(engines.begun) if number == 0 else len(server.service.dispatcher.waiting) == number
                )
            )
        wait_until(lambda: any(step.stage == "queued" for step in told))
        engines.release.set()
        for thread in threads:
            thread.join()
    waiting = next(step for step in told if step.stage == "queued")
    assert waiting.total == 2
    assert waiting.remaining_s == pytest.approx(1.5 * 18 * 34 * 36 * 1e-3)


def put(server, job, piece, *, offset=0, size=None, sha256=None):
    sent = {
        wire.BYTES_HEADER: str(len(piece) if size is None else size),
        wire.SHA256_HEADER: wire.sha256_of(piece) if sha256 is None else sha256,
    }
    return requests.put(
        f"{server.address}/v1/jobs/{job}/images/0?offset={offset}",
        data=wire.pack(memoryview(piece)),
        headers=headers(server.access(), **sent),
        timeout=60,
    )


@pytest.fixture
def opened(tmp_path, bundle, engines):
    with serving(tmp_path, bundle, engines) as server:
        yield server, post(server, application(bundle)).json()["job"]


def test_pieces_are_taken_in_their_order_and_once(opened):
    server, job = opened
    first, second = bytes(1000), bytes(range(250)) * 4
    assert (put(server, job, first).status_code, put(server, job, first).status_code) == (200, 409)
    gap = put(server, job, second, offset=5000)
    assert (gap.status_code, gap.json()) == (409, {"received": 1000})
    assert put(server, job, second, offset=1000).json() == {"received": 2000}


def test_a_damaged_piece_is_asked_for_again(opened):
    server, job = opened
    answer = put(server, job, bytes(1000), sha256="0" * 64)
    assert (answer.status_code, answer.json()) == (409, {"received": 0})


def test_a_piece_that_unpacks_to_more_is_not_unpacked(opened):
    server, job = opened
    bomb = zlib.compress(bytes(50 * 2**20), 9)
    sent = {wire.BYTES_HEADER: "1000", wire.SHA256_HEADER: "0" * 64}
    answer = requests.put(
        f"{server.address}/v1/jobs/{job}/images/0?offset=0",
        data=bomb,
        headers=headers(server.access(), **sent),
        timeout=60,
    )
    assert answer.status_code in (400, 409)
    assert server.jobs() == 1


def test_more_voxels_than_announced_are_refused(opened):
    server, job = opened
    for offset in range(0, IMAGE_BYTES + 2**20, 2**16):
        put(server, job, bytes(2**16), offset=offset)
    (known,) = server.service.table
    assert known.received[0] <= IMAGE_BYTES


def test_a_run_does_not_begin_with_missing_or_other_voxels(opened):
    server, job = opened
    for sums in (["0" * 64], [], ["x"], "0"):
        assert post(server, {"sha256": sums}, f"/{job}/start").status_code == 400
    assert not server.service.dispatcher._engines.begun


def changed(document, path, value):
    document = json.loads(json.dumps(document))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model",), "../../etc"),
        (("model",), None),
        (("model_sha256",), "f" * 64),
        (("options",), []),
        (("options", "step"), 1e-9),
        (("options", "device"), "cuda:99; rm"),
        (("options", "folds"), [7]),
        (("options", "roi"), {"lower": "x"}),
        (("options", "more"), 1),
        (("images",), []),
        (("images", 0, "size"), [0, 1, 1]),
        (("images", 0, "size"), [2**40, 1, 1]),
        (("images", 0, "size"), [30000, 30000, 30000]),
        (("images", 0, "spacing"), [0, 1, 1]),
        (("images", 0, "direction"), [0] * 9),
        (("images", 0, "type"), "object"),
        (("images", 0, "type"), "float64"),
        (("images", 0, "channels"), 10**9),
        (("images", 0, "more"), 1),
        (("more",), 1),
    ],
)
def test_nonsense_is_refused_in_a_sentence(opened, bundle, path, value):
    server, _ = opened
    answer = post(server, changed(application(bundle), path, value))
    assert answer.status_code in (400, 413, 422)
    assert answer.json()["message"].endswith(".")
    assert server.jobs() == 1  # that of the fixture


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"a": NaN}', b"x" * 2**21])
def test_a_body_that_is_no_request_is_refused(opened, body):
    server, _ = opened
    answer = requests.post(
        f"{server.address}/v1/jobs", data=body, headers=headers(server.access()), timeout=60
    )
    assert answer.status_code == 400


def test_a_client_that_sends_no_whole_request_is_cut_off(tmp_path, bundle, engines, monkeypatch):
    monkeypatch.setattr("mednext.server.listening.HEAD_S", 0.2)
    with serving(tmp_path, bundle, engines) as server:
        host, port = server.address.split("//")[1].split(":")
        with socket.create_connection((host, int(port)), timeout=20) as stalling:
            stalling.sendall(b"GET /v1/hello HT")
            assert stalling.recv(1000) == b""


def test_a_client_that_never_reads_is_cut_off(tmp_path, bundle, engines, monkeypatch):
    monkeypatch.setattr("mednext.server.app.SLOWEST_REQUEST_S", 0.5)
    monkeypatch.setattr("mednext.server.listening.HEAD_S", 0.3)
    monkeypatch.setattr("mednext.server.app._WRITTEN_AT_ONCE", 2**16)
    with serving(tmp_path, bundle, engines) as server:
        access = server.access()
        voxels = np.random.default_rng(0).integers(0, 2**16, (1, 64, 256, 256)).astype(np.uint16)
        post(server, application(bundle))
        (job,) = server.service.table
        job.finish({"labels": voxels[0]}, {})
        host, port = server.address.split("//")[1].split(":")
        with socket.socket() as reading:
            reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reading.connect((host, int(port)))
            lines = [f"{key}: {value}" for key, value in headers(access).items()]
            request = [f"GET /v1/jobs/{job.id}/labels?offset=0&size={2**22} HTTP/1.1", "Host: x", *lines]
            reading.sendall("\r\n".join([*request, "", ""]).encode())
            wait_until(lambda: server.connections() > 0)
            wait_until(lambda: server.connections() == 0)
