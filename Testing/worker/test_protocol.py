"""Requests, events, voxels and results of the protocol arrive unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.worker.dialogue import channel, write_request
from mednext import errors
from mednext.batch.report import Row
from mednext.images.geometry import Geometry, Roi
from mednext.images.source_image import SourceImage
from mednext.inference.options import Options
from mednext.model.labels import Label
from mednext.segmentation.result import Segmentation
from mednext.segmentation.uncertainty_storage import to_float32
from mednext.system.atomic import explaining
from mednext.worker import protocol
from mednext.worker.hand_over import RESULT_FILE, HandedOver, Wishes
from mednext.worker.protocol import CancelRequest, Order, SegmentRequest

GEOMETRY = Geometry((20, 36, 24), (1.0, 1.5, 2.0), (5.0, -6.0, 7.0))
VOXELS = np.arange(24 * 36 * 20, dtype=np.int16).reshape(24, 36, 20)


def test_a_request_arrives_as_it_was_sent(tmp_path):
    roi = Roi((0, 0, 0), (1.5, 2, 3))
    order = Order("tiny", Options("cpu", (0, 2), False, roi, True, 0.25, "bfloat16", 3, True))
    wishes = Wishes((1, "liver"), tuple(map(float, range(16))), in_percent=True)
    write_request(tmp_path, [SourceImage("T1 é 后", VOXELS, GEOMETRY)], order, wishes)
    (arrived,), arrived_order, arrived_wishes = protocol.read_request(tmp_path)
    assert (arrived_order, arrived_wishes) == (order, wishes)
    assert (arrived.name, arrived.geometry) == ("T1 é 后", GEOMETRY)
    assert arrived.array.dtype == np.int16
    assert np.array_equal(arrived.array, VOXELS)


@pytest.mark.parametrize(
    "voxels",
    [VOXELS[::-1, :, ::2], np.asfortranarray(VOXELS), VOXELS.astype(">f8"), VOXELS.astype(np.uint8)],
    ids=["strided", "fortran", "big endian", "uint8"],
)
def test_voxels_of_any_layout_and_type_arrive(tmp_path, voxels):
    write_request(tmp_path, [SourceImage("T1", voxels, GEOMETRY)], Order("tiny"))
    (arrived,), _, _ = protocol.read_request(tmp_path)
    assert arrived.array.dtype == voxels.dtype
    assert np.array_equal(arrived.array, voxels)


def test_the_voxels_are_mapped_not_copied(tmp_path):
    write_request(tmp_path, [channel()], Order("tiny"))
    (arrived,), _, _ = protocol.read_request(tmp_path)
    assert isinstance(arrived.array, np.memmap)


def test_a_large_request_is_written_plane_by_plane(tmp_path):
    """Between two planes Slicer's windows stay alive, and the user can cancel."""
    steps = list(protocol.writing_request(tmp_path, [channel()], Order("tiny"), Wishes()))
    assert len(steps) >= len(channel().array)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_reported_as_such(tmp_path):
    (tmp_path / "result_0.npy").symlink_to("/dev/full")
    sent = Segmentation(np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY, (Label(1, "a", (1, 2, 3)),))
    with pytest.raises(errors.DiskSpaceError), explaining(tmp_path / RESULT_FILE):
        HandedOver.of(sent).write(tmp_path)


def test_a_result_arrives_as_it_was_sent(tmp_path):
    labels = (Label(2, "liver", (1, 2, 3)), Label(300, "spleen", (4, 5, 6), region=(2, 300)))
    labelmap = np.zeros(GEOMETRY.shape, np.uint16)
    labelmap[1, 2, 3] = 300
    uncertainty = to_float32(np.arange(np.prod(GEOMETRY.shape), dtype=np.uint16).reshape(GEOMETRY.shape))
    sent = Segmentation(labelmap, GEOMETRY, labels, {"model": "tiny"}, uncertainty)
    HandedOver.of(sent).write(tmp_path)
    arrived = HandedOver.read(tmp_path).segmentation()
    assert np.array_equal(arrived.labelmap, labelmap)
    assert arrived.uncertainty.dtype == np.float32
    assert np.array_equal(arrived.uncertainty, uncertainty)
    assert (arrived.geometry, arrived.labels) == (GEOMETRY, labels)
    assert arrived.provenance == {"model": "tiny"}


def test_an_error_keeps_its_class_its_sentence_and_its_details():
    line = protocol.format_message(protocol.error_event(3, errors.ChannelError("2 were given."), "Traceback"))
    arrived = protocol.error_from_event(protocol.parse_event(line))
    assert type(arrived) is errors.ChannelError
    assert str(arrived) == "2 were given."
    assert arrived.__notes__ == ["Traceback"]


@pytest.mark.parametrize("name", ["annotations", "Absent", 7, None])
def test_an_error_of_an_unknown_class_is_still_an_error(name):
    event = {"event": "error", "error": name, "message": "No."}
    assert type(protocol.error_from_event(event)) is errors.MedNeXtError


@pytest.mark.parametrize("request_", [SegmentRequest(1, "/tmp/übung 1", 2.5), CancelRequest(7)])
def test_requests_survive_their_line(request_):
    assert protocol.parse_request(protocol.format_request(request_)) == request_


MALFORMED = [
    b"",
    b"hello",
    b"\xff\xfe",
    b"[1]",
    b"{}",
    b'{"request": "format the disk", "run": 1}',
    b'{"request": "cancel"}',
    b'{"request": "cancel", "run": -1}',
    b'{"request": "cancel", "run": 1, "now": true}',
    b'{"request": "segment", "run": 1, "folder": 3, "release_after_s": 1}',
    b'{"request": "segment", "run": 1, "folder": "a", "release_after_s": NaN}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_request_is_refused_in_a_sentence(line):
    with pytest.raises(errors.EngineProcessError, match="request"):
        protocol.parse_request(line)


@pytest.mark.parametrize("kind", [Options, SegmentRequest, SourceImage, Wishes, Row])
def test_a_worker_whose_classes_have_another_field_speaks_another_version(kind, monkeypatch):
    """No option is added without Slicer's module noticing an older worker, and the other way round."""
    before = protocol.language()
    monkeypatch.setitem(vars(kind)["__dataclass_fields__"], "tta", None)
    assert protocol.language() != before == protocol.LANGUAGE


NO_EVENTS = [
    "",
    "Loading...",
    "[]",
    '{"event": 3}',
    "null",
    "[" * 100_000,
    '{"event": "error", "run": 1}',
    '{"event": "progress", "run": 1}',
    '{"event": "progress", "run": 1, "stage": 5, "done": 0, "total": 1, "remaining_s": null}',
    '{"event": "progress", "run": 1, "stage": "network", "done": "x", "total": 1, "remaining_s": null}',
    '{"event": "progress", "run": 1, "stage": "network", "done": 0, "total": 1, "remaining_s": "soon"}',
]


@pytest.mark.parametrize("line", NO_EVENTS)
def test_a_line_that_is_not_an_event_is_refused(line):
    with pytest.raises(ValueError):
        protocol.parse_event(line)


def spoil_order(folder):
    request = json.loads((folder / "request.json").read_text())
    del request["order"]
    (folder / "request.json").write_text(json.dumps(request))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "request.json").unlink(),
        lambda folder: (folder / "request.json").write_text("{}"),
        lambda folder: (folder / "request_0.npy").unlink(),
        lambda folder: (folder / "request_0.npy").write_bytes(b"\x93NUMPY"),
        spoil_order,
    ],
    ids=["no request", "empty request", "no voxels", "cut voxels", "no order"],
)
def test_an_incomplete_folder_is_refused_in_a_sentence(tmp_path, spoil):
    write_request(tmp_path, [channel()], Order("tiny"))
    spoil(tmp_path)
    with pytest.raises(errors.EngineProcessError):
        protocol.read_request(tmp_path)
