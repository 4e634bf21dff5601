"""A run on a server gives the local result, whatever the line does, and leaves nothing there."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import requests
from fixtures.models.bundles import tiny_bundle, tiny_model
from fixtures.servers.mednext_server import (
    QUICK,
    HeldEngines,
    Line,
    bright,
    local_results,
    noise,
    random_cuts,
    running_server,
    wait_until,
)
from mednext.errors import Cancelled, ChannelError, EngineProcessError, ServerError, SuspectInputError
from mednext.images.description.image_description import ImageDescription
from mednext.images.geometry import Geometry, Roi
from mednext.images.volume import Volume
from mednext.inference.options import Options
from mednext.model.description import Channel
from mednext.remote import connection
from mednext.remote.segment import segment
from mednext.remote.served_models import greet, served_model
from mednext.server.dispatch import EngineDiedError
from mednext.server.engine import Engine
from mednext.server.jobs import Job, Limits

QUICKLY = Options(mirroring=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def test_the_result_is_that_of_a_local_run_bit_for_bit(tmp_path, bundle):
    options = Options(mirroring=False, uncertainty=True, roi=Roi((-30, -30, 0), (40, 30, 20)), step=0.8)
    results = local_results(noise(), bundle, options)
    with running_server(tmp_path, [bundle]) as server:
        model = served_model(server.access(), "tiny")
        there = segment(noise(), model, server.access(), options, patience=QUICK)
    here = results[there.provenance["formulation"]]
    assert np.array_equal(there.labelmap, here.labelmap)
    assert there.labelmap.dtype == here.labelmap.dtype
    assert np.array_equal(there.uncertainty, here.uncertainty)
    assert (there.geometry, there.labels, there.regions) == (here.geometry, here.labels, here.regions)
    changing = {"seconds", "time", "server"}
    assert {k: v for k, v in there.provenance.items() if k not in changing} == {
        k: v for k, v in here.provenance.items() if k not in changing
    }
    assert there.provenance["server"] == server.access().name


def test_channels_on_different_grids_and_of_different_types_are_combined_as_here(tmp_path):
    channels = (Channel("T1", "MR", "zscore"), Channel("T2", "MR", "zscore"))
    network = replace(tiny_model().network, in_channels=2)
    two = tiny_bundle(tmp_path / "two", channels=channels, network=network)
    other = noise(1, (14, 30, 30), "T2.nii.gz")
    volumes = [noise(), replace(other, array=other.array.astype(np.int16))]
    results = local_results(list(volumes), two, QUICKLY)
    with running_server(tmp_path, [two]) as server:
        there = segment(list(volumes), two.model, server.access(), QUICKLY, patience=QUICK)
        with pytest.raises(ChannelError, match="needs 2 channel"):
            segment(volumes[:1], two.model, server.access(), QUICKLY, patience=QUICK)
    assert np.array_equal(there.labelmap, results[there.provenance["formulation"]].labelmap)


def test_no_word_about_the_image_crosses_the_line(tmp_path, bundle):
    known = ImageDescription(
        "Planted^Name T1",
        "MR",
        series="t1 of PLANTED",
        study="1.2.826.777",
        patient="Planted-4711",
        frame="1.2.826.888",
        path="/data/planted/t1.nii.gz",
    )
    image = replace(noise(name="Planted^Name T1"), images=(known,), warnings=("Planted^Name T1 is odd.",))
    with running_server(tmp_path, [bundle]) as server, Line(server.address) as line:
        result = segment(image, bundle.model, server.access(address=line.address), QUICKLY, patience=QUICK)
    assert len(line.heard) > 20_000
    for word in (b"lanted", b"PLANTED", b"-4711", b"1.2.826", b".nii.gz"):
        assert word not in line.heard
    assert "Planted^Name T1 is odd." in result.provenance["warning"]


def test_sentences_of_the_server_get_the_names_of_the_images_back(tmp_path):
    channels = (Channel("T1", "MR", "zscore"), Channel("T2", "MR", "zscore"))
    network = replace(tiny_model().network, in_channels=2)
    two = tiny_bundle(tmp_path / "two", channels=channels, network=network)
    far = noise(1, name="far away.nii.gz")
    far = replace(far, geometry=replace(far.geometry, origin=(900.0, 0.0, 0.0)))
    with running_server(tmp_path, [two]) as server, pytest.raises(Exception, match=r"far away\.nii\.gz"):
        segment([noise(), far], two.model, server.access(), QUICKLY, patience=QUICK)


def test_images_are_refused_here_before_anything_is_sent(tmp_path, bundle):
    labels = replace(noise(), array=np.zeros((1, 18, 34, 36), np.uint8))
    labels.array[0, 4:9] = 1
    with running_server(tmp_path, [bundle]) as server, Line(server.address) as line:
        with pytest.raises(SuspectInputError, match="label image"):
            segment(labels, bundle.model, server.access(address=line.address), QUICKLY, patience=QUICK)
        assert not line.heard


def test_a_line_that_never_carries_a_whole_piece_gets_smaller_ones(tmp_path, bundle):
    image = noise(shape=(40, 160, 180))  # 4.4 MiB: one piece, if the line held
    engines = HeldEngines()
    engines.release.set()
    with (
        running_server(tmp_path, [bundle], engines) as server,
        Line(server.address, lambda: 700_000) as line,
    ):
        there = server.access(address=line.address)
        result = segment(image, bundle.model, there, QUICKLY, patience=QUICK)
    assert np.array_equal(result.labelmap, bright(image.array))


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_is_cut_at_random_bytes_changes_nothing(tmp_path, bundle, monkeypatch, seed):
    monkeypatch.setattr("mednext.remote.wire.PIECE_BYTES", 2**18)
    image = noise(seed, (40, 90, 90))
    with (
        running_server(tmp_path, [bundle], HeldEngines()) as server,
        Line(server.address, random_cuts(seed, 1.0, 700_000)) as line,
    ):
        server.service.dispatcher._engines.release.set()
        result = segment(image, bundle.model, server.access(address=line.address), QUICKLY, patience=QUICK)
        assert line.cuts
        assert np.array_equal(result.labelmap, bright(image.array))


def test_a_slow_line_is_waited_for(tmp_path, bundle):
    engines = HeldEngines()
    engines.release.set()
    with (
        running_server(tmp_path, [bundle], engines) as server,
        Line(server.address, bytes_per_s=100_000) as line,
    ):
        segment(noise(), bundle.model, server.access(address=line.address), QUICKLY, patience=QUICK)


def test_a_lost_server_is_explained_and_nothing_is_returned(tmp_path, bundle):
    with running_server(tmp_path, [bundle]) as server:
        access = server.access()
    patience = replace(QUICK, lost_s=0.2)
    with pytest.raises(ServerError, match=r"cannot be reached \(Connection refused\)"):
        segment(noise(), bundle.model, access, QUICKLY, patience=patience)
    with pytest.raises(ServerError, match="cannot be reached"):
        greet(access)


@pytest.mark.parametrize("places", [(1,), (0, 2**18, 0)])
def test_a_server_that_leads_nowhere_is_given_up(tmp_path, bundle, monkeypatch, places):
    answers = itertools.cycle(places)
    monkeypatch.setattr(Job, "take_piece", lambda *_: next(answers))
    with (
        running_server(tmp_path, [bundle], HeldEngines()) as server,
        pytest.raises(ServerError, match="5 times in a row"),
    ):
        segment(noise(shape=(40, 90, 90)), bundle.model, server.access(), QUICKLY, patience=QUICK)


def test_a_run_in_which_nothing_changes_is_given_up(tmp_path, bundle):
    patience = replace(QUICK, unchanged_s=0.2)
    with (
        running_server(tmp_path, [bundle], HeldEngines()) as server,
        pytest.raises(ServerError, match="Nothing has changed in the run"),
    ):
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=patience)


def test_a_run_that_the_server_has_lost_begins_again(tmp_path, bundle):
    engines, told = HeldEngines(), []
    with running_server(tmp_path, [bundle], engines) as server:

        def lose_once(progress):
            told.append(progress)
            if progress.stage == "network" and not progress.remark and len(engines.begun) == 1:
                for job in server.service.table:  # as after a restart
                    server.service.table._jobs.pop(job.id, None)
                engines.release.set()

        result = segment(noise(), bundle.model, server.access(), QUICKLY, progress=lose_once, patience=QUICK)
    assert np.array_equal(result.labelmap, bright(noise().array))
    assert len(engines.begun) == 2
    assert any("begins again" in progress.remark for progress in told)


def test_a_cancelled_run_is_gone_from_the_server(tmp_path, bundle):
    engines, stop = HeldEngines(), threading.Event()

    def progress(step):
        if step.stage == "network":
            stop.set()

    with running_server(tmp_path, [bundle], engines) as server:
        with pytest.raises(Cancelled):
            segment(
                noise(),
                bundle.model,
                server.access(),
                QUICKLY,
                progress=progress,
                cancelled=stop.is_set,
                patience=QUICK,
            )
        wait_until(lambda: not server.jobs() and engines.closed == 1)


def test_a_cancel_ends_the_networks_too(tmp_path, bundle):
    steps: list[int] = []

    class Counting(Engine):
        count = 1

        def _result(self, folder, application, images, tell, cancelled):
            def noting(event):
                steps.append(event["progress"]["done"])
                tell(event)

            return super()._result(folder, application, images, noting, cancelled)

    stop = threading.Event()
    image = noise(shape=(40, 80, 80))
    with running_server(tmp_path, [bundle], Counting("cpu", 1)) as server:
        with pytest.raises(Cancelled):
            segment(
                image,
                bundle.model,
                server.access(),
                QUICKLY,
                progress=lambda step: stop.set() if step.stage == "network" else None,
                cancelled=stop.is_set,
                patience=QUICK,
            )
        wait_until(lambda: not server.jobs())
        told = len(steps)
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)  # the engine is free
    assert told < 100


class Mortal(HeldEngines):
    """Engines of which the first ones die."""

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.release.set()
        self._left = deaths

    async def events(self, folder, application, images):
        async for event in super().events(folder, application, images):
            if "labels" in event and self._left:
                self._left -= 1
                raise EngineDiedError("killed")
            yield event


@pytest.fixture
def _no_pause(monkeypatch):
    monkeypatch.setattr("mednext.server.dispatch._AFTER_DEATH_S", 0.0)


@pytest.mark.usefixtures("_no_pause")
def test_a_run_whose_engine_dies_goes_to_another(tmp_path, bundle):
    engines, told = Mortal(2), []
    with running_server(tmp_path, [bundle], engines) as server:
        segment(noise(), bundle.model, server.access(), QUICKLY, progress=told.append, patience=QUICK)
    assert len(engines.begun) == 3
    assert any("has failed; the run begins again" in progress.remark for progress in told)


@pytest.mark.usefixtures("_no_pause")
def test_a_run_that_kills_every_engine_is_given_up(tmp_path, bundle):
    with (
        running_server(tmp_path, [bundle], Mortal(99)) as server,
        pytest.raises(EngineProcessError, match="has ended 3 times"),
    ):
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)


def test_a_fault_of_the_engine_is_told_without_its_words(tmp_path, bundle, caplog):
    class Faulty(HeldEngines):
        async def events(self, folder, application, images):
            raise ValueError(f"odd voxels {images[0]!r}")
            yield {}

    with (
        running_server(tmp_path, [bundle], Faulty()) as server,
        pytest.raises(EngineProcessError, match=r"The server failed \(ValueError\)"),
    ):
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)
    assert "ValueError" in caplog.text
    assert "odd voxels" not in caplog.text


def test_after_a_run_the_server_has_neither_voxels_nor_result(tmp_path, bundle):
    engines = HeldEngines()
    engines.release.set()
    with running_server(tmp_path, [bundle], engines) as server:
        segment(noise(), bundle.model, server.access(), QUICKLY, patience=QUICK)
        wait_until(lambda: not server.jobs())
        files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["keys.json"]


def test_a_server_with_another_model_of_the_name_is_refused(tmp_path, bundle):
    other = replace(bundle.model, version="2.0.0")
    with (
        running_server(tmp_path, [bundle]) as server,
        pytest.raises(Exception, match=r"another model 'tiny' \(version 1\.0\.0\)"),
    ):
        segment(noise(), other, server.access(), QUICKLY, patience=QUICK)


def test_an_address_that_is_no_mednext_server_is_recognised(tmp_path, bundle, monkeypatch):
    with running_server(tmp_path, [bundle]) as server:
        access = server.access()
        monkeypatch.setattr(connection.wire, "PREFIX", "/elsewhere")
        with pytest.raises(ServerError, match="HTTP 404: is it the address of a mednext server"):
            greet(access)


def test_greeting_tells_versions_models_and_limits(tmp_path, bundle):
    with running_server(tmp_path, [bundle], limits=Limits(largest_bytes=2**30)) as server:
        hello = greet(server.access())
        assert requests.get(f"{server.address}/health", timeout=60).text == "ok\n"
    assert [model.name for model in hello.models] == ["tiny"]
    assert (hello.engines, hello.waiting, hello.largest_bytes) == (1, 0, 2**30)
    assert "The connection works" in hello.lines[0]


def test_grids_cross_the_line_exactly(tmp_path, bundle):
    grid = Geometry((36, 34, 18), (0.1 + 0.2, 1 / 3, 1.1), (1e-17, -123.4567890123456789, 7.1))
    engines = HeldEngines()
    engines.release.set()
    with running_server(tmp_path, [bundle], engines) as server:
        seen = []
        opened = server.service.table.open
        server.service.table.open = lambda owner, application: (
            seen.append(application) or opened(owner, application)
        )
        segment(Volume(noise().array, grid, ("x",)), bundle.model, server.access(), QUICKLY, patience=QUICK)
    assert seen[0].images[0].geometry == grid
