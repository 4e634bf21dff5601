"""The trials of the proof: each is a function of the service that returns the outcome in words, or fails.

The words are "30 runs cancelled at random moments: all others right": count and fault, then the outcome.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import requests
from fixtures.downloads.http_server import Server as HttpServer
from fixtures.downloads.http_server import expired_certificate
from fixtures.servers.mednext_server import Line, application, headers, local_results, noise, random_cuts
from mednext.errors import Cancelled, MedNeXtError, ServerAccessError, ServerError, UnsupportedImageError
from mednext.images.volume import Volume
from mednext.inference.options import Options
from mednext.remote.connection import Patience
from mednext.remote.segment import segment
from mednext.remote.served_models import greet
from mednext.segmentation.result import Segmentation

from .service import Service

OPTIONS = Options(mirroring=False, uncertainty=True)
PATIENCE = Patience(connect_s=10, read_s=30, lost_s=120, busy_s=900, pause_s=0.05)
PLANTED = "Planted^Patient"
IMAGES = 6


def image(number: int) -> Volume:
    """One of a few images, named after a patient."""
    return noise(number % IMAGES, name=f"{PLANTED} {number}")


@cache
def expected(service: Service, number: int) -> dict[str, Segmentation]:
    """The results of local runs; see `local_results`."""
    return local_results(image(number), service.bundle, OPTIONS)


def run(
    service: Service,
    number: int,
    owner: str = "jane",
    address: str = "",
    patience: Patience = PATIENCE,
) -> None:
    """Segment an image on the server; fail unless the result is the local one, bit for bit."""
    result = segment(
        image(number), service.bundle.model, service.access(owner, address), OPTIONS, patience=patience
    )
    here = expected(service, number % IMAGES)[result.provenance["formulation"]]
    assert np.array_equal(result.labelmap, here.labelmap)
    assert result.uncertainty is not None
    assert here.uncertainty is not None
    assert np.array_equal(result.uncertainty, here.uncertainty)


def _at_once(count: int, work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def twenty_clients(service: Service) -> str:
    begun = time.monotonic()
    _at_once(20, lambda number: run(service, number, f"user{number % 5}"))
    seconds = time.monotonic() - begun
    return f"20 clients with 5 keys at once: 20 results equal to the local ones, {seconds:.0f} s"


def killed_engines(service: Service, kills: int = 10) -> str:
    numbers, stop, done = random.Random(1), threading.Event(), [0] * 3

    def client(worker: int) -> None:
        while not stop.is_set():
            run(service, worker + 3 * done[worker], f"user{worker}")
            done[worker] += 1

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(client, worker) for worker in range(3)]
        for _ in range(kills):
            before = sum(done)
            while sum(done) <= before + 1 and not any(each.done() for each in clients):
                time.sleep(0.05)  # until an engine works again
            time.sleep(numbers.uniform(0, 2))
            with suppress(OSError, IndexError):
                os.kill(numbers.choice(service.engines()), signal.SIGKILL)
        stop.set()
        for each in clients:
            each.result()
    return f"{kills} engines killed at random moments: {sum(done)} runs of 3 clients, all results right"


def cut_connections(service: Service, runs: int = 40) -> str:
    cuts = 0

    def one(number: int) -> int:
        with Line(service.address, random_cuts(number, 0.8, 120_000)) as line:
            run(service, number, f"user{number % 5}", line.address)
            return line.cuts

    with ThreadPoolExecutor(4) as pool:
        cuts = sum(pool.map(one, range(runs)))
    return f"{runs} runs over lines cut at random bytes of TLS: {cuts} cuts, all results right"


def slow_line(service: Service) -> str:
    with Line(service.address, bytes_per_s=16_000) as line:
        begun = time.monotonic()
        run(service, 0, address=line.address)
    return f"a line of 16 kB/s: result right after {time.monotonic() - begun:.0f} s"


def wrong_keys(service: Service, count: int = 200) -> str:
    right = service.access()
    numbers = random.Random(2)
    for _ in range(count):
        key = list(right.key)
        key[numbers.randrange(len(key))] = numbers.choice("abcXYZ019")
        wrong = replace(right, key="".join(key))
        if wrong.key == right.key:
            continue
        try:
            greet(wrong)
        except ServerAccessError:
            continue
        raise AssertionError("a wrong key was let in")
    return f"{count} keys with one wrong character: all refused"


def revoked_key(service: Service) -> str:
    refused = 0

    def client(number: int) -> None:
        nonlocal refused
        try:
            while True:
                run(service, number, "leaver")
        except ServerAccessError:
            refused += 1

    service.access("leaver")
    threads = [threading.Thread(target=client, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    service.keys.revoke("leaver")
    for thread in threads:
        thread.join()
    assert refused == 4
    run(service, 0)
    return "a key revoked during 4 runs: all 4 ended with a sentence, others went on"


def same_request(service: Service, count: int = 12) -> str:
    _at_once(count, lambda number: run(service, 0, f"user{number % 2}"))
    return f"{count} clients with the same image and options, 2 keys: each got its own right result"


def never_reading(service: Service, count: int = 20) -> str:
    host, port = service.address.split("//")[1].split(":")
    context = ssl.create_default_context(cafile=service.certificate)
    lines = [f"{key}: {value}" for key, value in headers(service.access()).items()]
    request = "\r\n".join(["GET /v1/hello HTTP/1.1", "Host: x", *lines, "", ""]).encode()
    with ExitStack() as open_ones:
        for _ in range(count):
            plain = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=5))
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf = open_ones.enter_context(context.wrap_socket(plain, server_hostname=host))
            with suppress(OSError):  # the server does not listen on either
                deaf.sendall(2000 * request)
        for number in range(4):
            run(service, number)
    return f"{count} clients that ask and never read: 4 runs beside them, all right"


def expired_certificate_refused(service: Service) -> str:
    with TemporaryDirectory() as folder:
        made = expired_certificate(Path(folder))
        assert made
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*made)
        with HttpServer(tls=context) as impostor, suppress(ServerAccessError):
            greet(replace(service.access(), address=impostor.address, certificate=str(made[0])))
            raise AssertionError("an expired certificate was trusted")
    assert not impostor.requests
    return "a certificate that has expired: refused by the client before anything was sent"


def wrong_version(service: Service) -> str:
    access = service.access()
    answer = requests.get(
        f"{service.address}/v1/hello",
        headers=headers(access, **{"X-MedNeXt-Protocol": "999"}),
        verify=service.certificate,
        timeout=30,
    )
    assert answer.status_code == 426, answer.text
    assert "update the older one" in answer.json()["message"]
    return "another version of the protocol: refused with both versions"


def untrusted_certificate(service: Service) -> str:
    try:
        greet(replace(service.access(), certificate=""))
    except ServerAccessError as error:
        assert "nothing was sent" in str(error)
        return "a certificate of an unknown authority: refused by the client before anything was sent"
    raise AssertionError("an unknown authority was trusted")


def oversized_image(service: Service) -> str:
    large = noise(shape=(150, 256, 256))
    try:
        segment(large, service.bundle.model, service.access(), OPTIONS, patience=PATIENCE)
    except UnsupportedImageError as error:
        assert "takes at most" in str(error)
        return "an image beyond the limit of 0.03 GiB: refused before it was sent"
    raise AssertionError("an oversized image was taken")


def stalling_clients(service: Service, count: int = 40) -> str:
    host, port = service.address.split("//")[1].split(":")
    context = ssl.create_default_context(cafile=service.certificate)
    with ExitStack() as open_ones:
        for number in range(count):
            plain = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=30))
            if number % 3 == 0:
                continue  # not even a handshake
            stalling = open_ones.enter_context(context.wrap_socket(plain, server_hostname=host))
            stalling.sendall(
                b"GET /v1/hello HTTP/1.1\r\nHost: x\r\n" if number % 3 == 1 else _half_a_piece(service)
            )
        for number in range(4):
            run(service, number)
    return f"{count} connections that say nothing, half a head or half a body: 4 runs beside them, all right"


def _half_a_piece(service: Service) -> bytes:
    lines = [f"{key}: {value}" for key, value in headers(service.access()).items()]
    return "\r\n".join(
        ["POST /v1/jobs HTTP/1.1", "Host: x", "Content-Length: 500", *lines, "", '{"model"']
    ).encode()


def cancelled_runs(service: Service, count: int = 30) -> str:
    numbers = random.Random(3)

    def one(number: int) -> bool:
        stop = threading.Event()
        timer = threading.Timer(numbers.uniform(0, 3), stop.set)
        timer.start()
        try:
            segment(
                image(number),
                service.bundle.model,
                service.access(f"user{number % 5}"),
                OPTIONS,
                cancelled=stop.is_set,
                patience=PATIENCE,
            )
        except Cancelled:
            return True
        finally:
            timer.cancel()
        return False

    with ThreadPoolExecutor(6) as pool:
        cancelled = sum(pool.map(one, range(count)))
    run(service, 0)
    return f"{count} runs cancelled at random moments: {cancelled} cancelled, all others right"


def garbage(service: Service, count: int = 500) -> str:
    numbers, session, access = random.Random(4), requests.Session(), service.access()
    template = json.dumps(application(service.bundle)).encode()
    paths = ["/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/start", "/../keys.json", "/v1/models/..%2fx"]
    codes: dict[int, int] = {}
    for _ in range(count):
        body = bytearray(template)
        for _ in range(numbers.randrange(1, 6)):
            body[numbers.randrange(len(body))] = numbers.randrange(256)
        answer = session.request(
            numbers.choice(["GET", "POST", "PUT", "DELETE"]),
            service.address + numbers.choice(paths),
            data=bytes(body),
            headers=headers(access),
            verify=service.certificate,
            timeout=30,
        )
        codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
    assert not any(code >= 500 and code != 503 for code in codes), codes
    told = ", ".join(f"{count} × {code}" for code, count in sorted(codes.items()))
    run(service, 0)
    return f"{count} requests of changed bytes: {told}; no fault"


def killed_server(service: Service) -> str:
    """Kill the server while clients upload, wait and compute, and start another one."""
    hasty = replace(PATIENCE, lost_s=2.0)
    large = noise(shape=(60, 100, 100))

    def giving_up() -> str:
        try:
            segment(large, service.bundle.model, service.access("user1"), Options(), patience=hasty)
        except ServerError as error:
            return str(error)
        return "done"

    patient = replace(PATIENCE, lost_s=600)
    with ThreadPoolExecutor(4) as pool:
        explained = pool.submit(giving_up)
        waiting = [pool.submit(run, service, number, "user2", "", patient) for number in range(3)]
        time.sleep(1)
        engines = service.engines()
        service.process.kill()
        service.process.wait()
        assert "cannot be reached" in explained.result()
        end = time.monotonic() + 30
        while any(Path(f"/proc/{engine}").exists() for engine in engines):
            assert time.monotonic() < end, "engines outlive their server"
            time.sleep(0.2)
        service.process = service.start()
        for each in waiting:
            each.result()
    return "the server killed during 4 runs and started again: 1 hasty client explained, 3 results right"


def nothing_of_a_patient(service: Service) -> str:
    """Search the log, the temporary files and shared memory for the planted name and for the voxels."""
    words = [PLANTED.encode(), image(0).array[0, 0, 0, :8].tobytes(), image(3).array[0, 9, 9, :8].tobytes()]
    files = [service.log, *(path for path in service.temporary.rglob("*") if path.is_file())]
    read = 0
    for file in files:
        with suppress(OSError):
            content = file.read_bytes()
            read += 1
            assert not any(word in content for word in words), file
    return f"{read} files of log and temporary folder: neither the planted name nor voxels"


def flat_memory(service: Service, runs: int = 60) -> str:
    for number in range(10):
        run(service, number)
    before = service.memory_mib()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: run(service, number, f"user{number % 5}"), range(runs)))
    after = service.memory_mib()
    assert after < 1.1 * before + 20, (before, after)
    return f"{runs} runs: the server's memory {before:.0f} MiB before, {after:.0f} MiB after"


def stopped(service: Service) -> str:
    engines = service.engines()
    seconds = service.stop()
    time.sleep(3)
    left = [pid for pid in engines if Path(f"/proc/{pid}").exists()]
    assert not left, left
    files = [path for path in service.temporary.rglob("*") if path.is_file() and path.name != "auth_token"]
    assert not files, files[:5]
    with suppress(MedNeXtError):
        greet(service.access())
        raise AssertionError("it answers after its end")
    return f"SIGTERM: ended in {seconds:.0f} s, no engine and no temporary file left"


TRIALS: tuple[Callable[[Service], str], ...] = (
    twenty_clients,
    killed_engines,
    cut_connections,
    slow_line,
    wrong_keys,
    revoked_key,
    same_request,
    never_reading,
    expired_certificate_refused,
    wrong_version,
    untrusted_certificate,
    oversized_image,
    stalling_clients,
    cancelled_runs,
    killed_server,
    garbage,
    flat_memory,
    nothing_of_a_patient,
    stopped,
)
