"""A card that fails in the middle of a run: an explained error and no result, and the next run is right."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.machines.apple_gpu import MPS, AppleGpu
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import application
from fixtures.worker.dialogue import channel, write_request
from mednext.batch.case import Case
from mednext.batch.case_outcome import outcome
from mednext.cli import main
from mednext.errors import DeviceLostError
from mednext.images.formats.image_files import write_image
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference import prediction
from mednext.inference import segment as pipeline
from mednext.inference.options import Options
from mednext.inference.segment import segment
from mednext.inference.sliding_window import slide
from mednext.model.bundle import Bundle
from mednext.server.engine import Engine
from mednext.system.devices import is_lost, is_out_of_memory
from mednext.worker import protocol
from mednext.worker.protocol import Order, SegmentRequest
from mednext.worker.serving import Worker

LOST = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"
SIZE = (40, 30, 24)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", mirror_axes=())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The device "auto" is a card that fails when so many blocks are done; an empty list: it works."""
    moments: list[int] = []

    def until_it_fails(*arguments):
        for number, block in enumerate(slide(*arguments)):
            if moments and number == moments[0]:
                raise RuntimeError(LOST)
            yield block

    monkeypatch.setattr(pipeline, "choose_device", lambda name: MPS if name == "auto" else torch.device(name))
    monkeypatch.setattr(pipeline, "trouble", lambda *_: None)
    monkeypatch.setattr(prediction, "slide", until_it_fails)
    with AppleGpu():
        yield moments


def volume() -> Volume:
    array = np.random.default_rng(0).normal(500, 200, (1, *SIZE[::-1])).astype(np.float32)
    return Volume(array, Geometry(SIZE, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_device_lost_in_the_middle_of_a_run_gives_no_result_and_the_next_run_is_right(
    bundle: Bundle, failing: list[int], blocks: int
) -> None:
    expected = segment(volume(), bundle, device="cpu").labelmap
    failing.append(blocks)
    with pytest.raises(DeviceLostError, match=r"mps failed in the middle .*launch failure\).*choose the CPU"):
        segment(volume(), bundle)
    failing.clear()
    np.testing.assert_array_equal(segment(volume(), bundle, device="cpu").labelmap, expected)


def test_the_command_line_writes_nothing_and_says_why(
    bundle: Bundle, failing: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(1)
    write_image(tmp_path / "T1.nii.gz", volume().array[0], volume().geometry)
    output = tmp_path / "out.seg.nrrd"
    assert main(["segment", str(tmp_path / "T1.nii.gz"), "-o", str(output), "--model", str(bundle.path)]) == 2
    assert "failed in the middle of the run" in capsys.readouterr().err
    assert not output.exists()


def test_the_worker_tells_it_and_ends_since_only_a_new_process_can_use_the_device_again(
    bundle: Bundle, failing: list[int], tmp_path: Path
) -> None:
    failing.append(1)
    (tmp_path / "run").mkdir()
    write_request(tmp_path / "run", [channel(SIZE[::-1])], Order(str(bundle.path), Options()))
    events = io.StringIO()
    worker = Worker(events)
    request = protocol.format_request(SegmentRequest(7, str(tmp_path / "run")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mednext.worker.serving.os._exit", lambda _: None)
        worker.listen([request.encode()])
        assert worker.work() == DeviceLostError.exit_code
    last = json.loads(events.getvalue().splitlines()[-1])
    assert (last["event"], last["run"], last["error"]) == ("error", 7, "DeviceLostError")


def test_an_engine_of_a_server_is_replaced_after_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("cpu", 1)
    engine.check_health()

    def fail(*_: object, **__: object) -> None:
        raise DeviceLostError("The device cuda failed.")

    async def last_event() -> dict:
        asked = json.loads(json.dumps(application(bundle, SIZE[::-1])))
        return [event async for event in engine.events(str(bundle.path), asked, [volume().array])][-1]

    monkeypatch.setattr("mednext.locating.segment.segment", fail)
    assert asyncio.run(last_event())["error"]["error"] == "DeviceLostError"
    with pytest.raises(DeviceLostError):
        engine.check_health()


def test_it_ends_a_batch_since_every_other_case_would_fail(bundle: Bundle, failing: list[int]) -> None:
    failing.append(0)
    with pytest.raises(DeviceLostError):
        outcome(Case("a", (), (), "a"), lambda: segment(volume(), bundle))


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (LOST, True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm", True),
        ("Triton Error [CUDA]: device-side assert triggered", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("CUDA error: out of memory", False),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", False),
        ("The size of tensor a (3) must match the size of tensor b (4)", False),
    ],
)
def test_a_lost_device_is_told_from_full_memory_and_from_faults_of_ours(text: str, lost: bool) -> None:
    error = RuntimeError(text)
    assert is_lost(error) == lost
    assert not (is_lost(error) and is_out_of_memory(error))
