"""The worker of Slicer as a client of a server: without torch, with the events of a local run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import HeldEngines, bright, running_server
from fixtures.worker.dialogue import channel
from mednext.errors import ServerAccessError, UnknownModelError
from mednext.inference.options import Options
from mednext.model.model_file import read_model
from mednext.remote.served_models import described_models, greet
from mednext.worker import protocol
from mednext.worker.protocol import GreetRequest, Order, SegmentRequest
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient


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


def test_a_greeting_needs_no_torch_and_tells_the_models(tmp_path, client):
    greeting = client.greeting().wait()
    first, second = greeting.lines
    assert "The connection works" in first
    assert "tiny 1.0.0" in second
    assert greeting.models == (read_model(tmp_path / "models" / "tiny"),)


def test_a_run_needs_no_weights_here(client):
    result = client.start([channel()], Order("tiny", Options(mirroring=False))).wait()
    assert np.array_equal(result.labelmap, bright(channel().array[np.newaxis]))


def test_a_run_is_that_of_the_description_that_was_shown_or_none(client):
    (model,) = client.greeting().wait().models
    shown = Order("tiny", Options(mirroring=False), model)
    result = client.start([channel()], shown).wait()
    assert np.array_equal(result.labelmap, bright(channel().array[np.newaxis]))
    changed = replace(shown, description=replace(model, version="0.9.0"))
    with pytest.raises(UnknownModelError, match="another model 'tiny'"):
        client.start([channel()], changed).wait()


def test_a_model_that_this_version_does_not_understand_is_left_out(served):
    dispatcher = served.service.dispatcher
    later = SimpleNamespace(version="9", title="", to_json=lambda: {"format_version": 99})
    dispatcher._bundles["later"], dispatcher._sums["later"] = SimpleNamespace(model=later), "0" * 64
    hello = greet(served.access())
    assert {model.name for model in hello.models} == {"tiny", "later"}
    assert [model.name for model in described_models(served.access(), hello)] == ["tiny"]


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
