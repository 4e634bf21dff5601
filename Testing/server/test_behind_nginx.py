"""The server behind nginx, with the configuration that docs/server.md gives."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.downloads.http_server import make_certificates
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import QUICK, HeldEngines, bright, noise, running_server, wait_until
from mednext.errors import Cancelled, ServerError
from mednext.inference.options import Options
from mednext.remote.segment import segment
from mednext.remote.served_models import greet
from mednext.server.listening import Place

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
QUICKLY = Options(mirroring=False)
LARGE = (60, 160, 180)  # 6.6 MiB of noise, which does not shrink: two pieces

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


@pytest.fixture
def served(tmp_path):
    engines = HeldEngines()
    engines.release.set()
    bundle = tiny_bundle(tmp_path / "tiny")
    place = Place(port=0, behind_proxy=True)
    with running_server(tmp_path, [bundle], engines, place=place) as server:
        yield server


def documented(number: int = 0) -> str:
    """A block of nginx's configuration in the documentation."""
    blocks = re.findall(r"^    server \{\n.*?^    \}\n", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return blocks[number]


@contextmanager
def nginx(folder, server, configuration):
    """Run nginx in front of a server; yields the address with HTTPS and the file to trust."""
    certificate, _ = make_certificates(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/gpu.pem", folder / "server.pem"),
        ("/etc/ssl/gpu.key", folder / "server.key"),
        ("http://127.0.0.1:8080", server.address),
    ):
        assert old in configuration
        configuration = configuration.replace(old, str(new))
    here = folder / "nginx"
    here.mkdir()
    (here / "nginx.conf").write_text(
        f"daemon off; pid {here}/pid; error_log {here}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n"
        f"fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n{configuration}}}\n"
    )
    process = subprocess.Popen(["nginx", "-e", here / "error.log", "-p", here, "-c", here / "nginx.conf"])
    try:
        end = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < end, (here / "error.log").read_text()
            time.sleep(0.02)
        yield replace(server.access(), address=f"https://127.0.0.1:{port}", certificate=str(certificate))
    finally:
        process.terminate()
        process.wait(30)


def assert_segments(there, server, shape=LARGE):
    image = noise(shape=shape)
    told = []
    model = server.service.dispatcher.bundle("tiny").model
    result = segment(image, model, there, QUICKLY, progress=told.append, patience=QUICK)
    assert np.array_equal(result.labelmap, bright(image.array))
    return told


def test_large_images_progress_and_results_pass_through_the_documented_proxy(tmp_path, served):
    with nginx(tmp_path, served, documented()) as there:
        assert [model.name for model in greet(there).models] == ["tiny"]
        told = assert_segments(there, served)
    assert {"uploading", "downloading"} <= {each.stage for each in told}
    assert len({each.done for each in told if each.stage == "uploading"}) > 2


def test_progress_and_cancel_pass_through_while_the_engine_works(tmp_path, served):
    engines = served.service.dispatcher._engines
    engines.release.clear()
    stages = []
    model = served.service.dispatcher.bundle("tiny").model
    with nginx(tmp_path, served, documented()) as there, pytest.raises(Cancelled):
        segment(
            noise(),
            model,
            there,
            QUICKLY,
            progress=lambda each: stages.append(each.stage),
            cancelled=lambda: "network" in stages,
            patience=QUICK,
        )
    wait_until(lambda: engines.closed == 1 and not served.jobs())


def test_a_path_of_the_proxy_is_part_of_the_address(tmp_path, served):
    with nginx(tmp_path, served, documented(1)) as there:
        assert_segments(replace(there, address=f"{there.address}/mednext"), served, (18, 34, 36))
        with pytest.raises(ServerError, match="is it the address of a mednext server"):
            greet(there)


def test_a_proxy_that_takes_small_bodies_only_gets_smaller_pieces(tmp_path, served):
    """1 MiB is what nginx allows without `client_max_body_size`."""
    forgotten = documented().replace("client_max_body_size 8m;", "")
    with nginx(tmp_path, served, forgotten) as there:
        assert_segments(there, served)


def test_a_proxy_without_its_server_is_explained(tmp_path, served):
    with nginx(tmp_path, served, documented()) as there:
        served.web.should_exit = True
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", int(served.address.split(":")[2]))) != 0)
        hasty = replace(QUICK, lost_s=1.0)
        model = served.service.dispatcher.bundle("tiny").model
        with pytest.raises(ServerError, match="cannot be reached"):
            segment(noise(), model, there, QUICKLY, patience=hasty)
