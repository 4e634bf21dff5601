"""The worker of Slicer as a client of a server: without torch, with the events of a local run."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import tiny_bundle
from mednext.errors import ServerAccessError
from mednext.inference.options import Options
from mednext.worker import protocol
from mednext.worker.protocol import GreetRequest, Order, SegmentRequest
from mednext_server import HeldEngines, bright, running_server
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient
from worker_dialogue import channel


@pytest.fixture
def served(tmp_path):
    engines = HeldEngines()
    engines.release.set()
    with running_server(tmp_path, [tiny_bundle(tmp_path / "models" / "tiny")], engines) as server:
        yield server


@pytest.fixture
def client(tmp_path, served, monkeypatch):
    """A client whose worker cannot import torch."""
    broken = tmp_path / "packages"
    broken.mkdir()
    for name in ("torch", "safetensors"):
        (broken / f"{name}.py").write_text("raise ImportError('it is not installed')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    client = WorkerClient(server=served.access())
    yield client
    client.shutdown()


def test_a_run_needs_no_torch_here(tmp_path, client):
    order = Order(str(tmp_path / "models" / "tiny"), Options(mirroring=False))
    run = client.start([channel()], order)
    stages = []
    result = run.wait(lambda event: stages.append(event["stage"]))
    assert np.array_equal(result.labelmap, bright(channel().array[np.newaxis]))
    assert {"sending", "reading", "uploading", "downloading"} <= set(stages)


def test_a_greeting_needs_no_torch_and_tells_the_models(client):
    first, second = client.greeting().wait()
    assert "The connection works" in first
    assert "tiny 1.0.0" in second


def test_errors_of_the_server_keep_their_class(tmp_path, client, served):
    served.keys.revoke("jane")
    with pytest.raises(ServerAccessError, match="was revoked"):
        client.greeting().wait()


def test_requests_with_a_server_arrive_as_they_were_sent(served):
    for request in (SegmentRequest(1, "folder", 3.0, served.access()), GreetRequest(2, served.access())):
        assert protocol.parse_request(protocol.format_request(request)) == request


def test_the_key_is_in_no_file_and_no_argument(tmp_path, client, served):
    served.service.dispatcher._engines.release.clear()
    order = Order(str(tmp_path / "models" / "tiny"), Options(mirroring=False))
    run = client.start([channel()], order)
    while not served.service.dispatcher._engines.begun:
        run.advance()
    key = served.access().key
    assert key not in " ".join(client.process._child._process.args)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes()
    served.service.dispatcher._engines.release.set()
    run.wait()
    assert key not in "\n".join(client.log())
