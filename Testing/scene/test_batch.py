"""Folders and scenes in files through the module's logic: without a window, without a touch on the scene."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from fixtures.batch.cases import add_image, add_truncated, add_with_nan
from fixtures.images.dicom_files import change, write_series
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import MODULE
from fixtures.scene.volume_nodes import add_linear_transform, add_volume, head, translation
from mednext import read_volume, segment
from mednext.batch.report import Report
from mednext.errors import OptionError, UnknownModelError
from mednext.images.geometry import Geometry
from mednext.model.description import Channel
from MedNeXtSegmentationLib.engine.worker_client import shared_client

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", mirror_axes=())


@pytest.fixture
def images(tmp_path):
    add_image(tmp_path / "in" / "a.nii.gz")
    add_image(tmp_path / "in" / "Süd" / "左 'b'.nrrd", seed=1)
    return tmp_path / "in"


def labels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def statuses(rows) -> dict[str, str]:
    return {row.case: row.status for row in rows}


def test_a_folder_is_segmented_as_the_engine_does_it(logic, tiny, images, tmp_path):
    rows = logic.segmentFolder(images, tmp_path / "out", tiny.path, device="cpu")
    assert statuses(rows) == {"a": "done", "Süd/左 'b'": "done"}
    expected = segment(read_volume(images / "a.nii.gz"), tiny, device="cpu", threads=1)
    np.testing.assert_array_equal(labels(tmp_path / "out" / "a.seg.nrrd"), expected.labelmap)
    assert rows[0].volumes_ml == expected.volumes_ml()
    assert [row.case for row in Report(tmp_path / "out" / "report.csv").rows()] == ["a", "Süd/左 'b'"]


def test_slicer_reads_the_results_with_names_and_codes(logic, tiny, images, tmp_path):
    logic.segmentFolder(images, tmp_path / "out", tiny.path)
    node = slicer.util.loadSegmentation(str(tmp_path / "out" / "Süd" / "左 'b'.seg.nrrd"))
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(2)] == ["spleen", "liver"]
    assert "Spleen" in segmentation.GetNthSegment(0).GetTerminology()


def test_bad_cases_are_rows_and_the_worker_stays(logic, tiny, images, tmp_path):
    add_truncated(images / "truncated.nii.gz")
    add_with_nan(images / "nan.nrrd")
    rows = {row.case: row for row in logic.segmentFolder(images, tmp_path / "out", tiny.path)}
    assert rows["truncated"].error == "UnreadableImageError"
    assert rows["nan"].error == "SuspectInputError"
    assert rows["a"].status == rows["Süd/左 'b'"].status == "done"


CRASHING_READER = """
import os, sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("crash.nii.gz") and READING in " ".join(sys.orig_argv):
        os.abort()
READING = "mednext.worker.reading_process"
sys.addaudithook(hook)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on Linux and macOS")
def test_a_file_that_crashes_its_reader_is_a_row_and_the_scene_stays(
    scene, logic, tiny, images, tmp_path, monkeypatch
):
    """A reader that ends the process for one name stands for a library that does so for one header.

    The worker of the following tests has that reader too.
    """
    shared_client().shutdown()  # the next worker has the reader
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "sitecustomize.py").write_text(CRASHING_READER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "package"))
    add_image(images / "crash.nii.gz")
    volume = add_volume(scene, head(), name="mine")
    rows = logic.segmentFolder(images, tmp_path / "out", tiny.path, device="cpu")
    assert statuses(rows) == {"a": "done", "crash": "failed", "Süd/左 'b'": "done"}
    assert "crashed the process that reads images" in rows[1].message
    assert volume.GetScene() is scene


def test_no_file_of_a_batch_is_opened_in_slicers_process(logic, tiny, images, tmp_path):
    opened = []

    def hook(event, arguments):
        if event == "open" and watching:
            opened.append(str(arguments[0]))

    watching = [True]
    sys.addaudithook(hook)
    logic.segmentFolder(images, tmp_path / "out", tiny.path, device="cpu")
    watching.clear()
    places = (str(images), str(tmp_path / "out"))
    assert opened and not [path for path in opened if path.startswith(places)]


def test_the_scene_is_left_alone(scene, logic, tiny, images, tmp_path):
    add_volume(scene, head(), name="mine")
    nodes = scene.GetNumberOfNodes()
    logic.segmentFolder(images, tmp_path / "out", tiny.path)
    assert scene.GetNumberOfNodes() == nodes


def test_the_command_line_goes_on_where_slicer_was_stopped(logic, tiny, images, tmp_path):
    from mednext.cli import main

    def stop(number, _total, _row):
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segmentFolder(images, tmp_path / "out", tiny.path, device="cpu", caseCallback=stop)
    first = next((tmp_path / "out").rglob("*.seg.nrrd"))
    written = first.stat().st_mtime_ns
    arguments = [images, tmp_path / "out", "--model", tiny.path, "--device", "cpu", "--threads", "1"]
    assert main(["segment-folder", *map(str, arguments)]) == 0
    assert first.stat().st_mtime_ns == written
    assert len(list((tmp_path / "out").rglob("*.seg.nrrd"))) == 2


def test_an_exception_in_the_progress_ends_it_and_leaves_nothing_half_done(logic, tiny, images, tmp_path):
    def interrupt(_event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segmentFolder(images, tmp_path / "out", tiny.path, progressCallback=interrupt)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"a.seg.nrrd", "report.csv"}  # finished at this moment
    assert len(logic.segmentFolder(images, tmp_path / "out", tiny.path)) == 2


def test_a_dicom_study_needs_no_database(logic, tmp_path):
    model = tiny_bundle(tmp_path / "ct", channels=(Channel("CT", "CT", "none"),))
    grid = Geometry((22, 20, 18), (1.0, 1.0, 1.0))
    voxels = np.random.default_rng(0).normal(40, 150, grid.shape).round()
    write_series(tmp_path / "in" / "patient" / "series", voxels, grid)
    write_series(tmp_path / "in" / "patient" / "scout", voxels[:1], grid, description="Topogram")
    rows = logic.segmentFolder(tmp_path / "in", tmp_path / "out", model.path, device="cpu")
    assert statuses(rows) == {"patient/series": "done", "patient/scout/Topogram": "left out"}
    assert not any(row.warning for row in rows)
    assert labels(tmp_path / "out" / "patient" / "series.seg.nrrd").shape == grid.shape


def test_doubts_about_a_file_are_in_the_report(logic, tmp_path):
    model = tiny_bundle(tmp_path / "ct", channels=(Channel("CT", "CT", "none"),))
    grid = Geometry((22, 20, 18), (1.0, 1.0, 1.0))
    write_series(tmp_path / "in", np.random.default_rng(0).normal(40, 150, grid.shape).round(), grid)
    change(tmp_path / "in", lambda dataset, _: setattr(dataset, "RescaleType", "Z_EFF"))
    (row,) = logic.segmentFolder(tmp_path / "in", tmp_path / "out", model.path, device="cpu")
    assert "Z_EFF (RescaleType), no HU" in row.warning


@pytest.fixture
def saved(scene, tmp_path):
    """A scene of two volumes, one of them under a transform, saved as a bundle and as files."""
    add_volume(scene, head(seed=3), name="T1: a/b")
    moved = add_volume(scene, head(seed=4), name="moved")
    moved.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(5, 0, 0)).GetID())
    (tmp_path / "in" / "files").mkdir(parents=True)
    assert slicer.util.saveScene(str(tmp_path / "in" / "scene ü.mrb"))
    with zipfile.ZipFile(tmp_path / "in" / "scene ü.mrb") as bundle:
        bundle.extractall(tmp_path / "unpacked")
    top = next((tmp_path / "unpacked").iterdir())
    shutil.copytree(top, tmp_path / "in" / "files", dirs_exist_ok=True)
    scene.Clear(0)
    add_volume(scene, head(), name="mine")
    return tmp_path / "in"


def test_scenes_are_read_beside_the_users_own(scene, logic, tiny, saved, tmp_path):
    nodes = scene.GetNumberOfNodes()
    rows = logic.segmentFolder(saved / "scene ü.mrb", tmp_path / "out", tiny.path, device="cpu")
    assert statuses(rows) == {"scene ü/T1_ a_b": "done", "scene ü/moved": "done"}
    assert scene.GetNumberOfNodes() == nodes
    assert slicer.util.getNode("mine")
    node = add_volume(scene, head(seed=4), name="moved")
    expected = logic.segment(node, tiny.path, device="cpu")
    whole = slicer.util.arrayFromSegmentBinaryLabelmap(
        expected, expected.GetSegmentation().GetNthSegmentID(0), node
    )
    np.testing.assert_array_equal(labels(tmp_path / "out" / "scene ü" / "moved.seg.nrrd") == 1, whole > 0)


def test_the_files_of_a_scene_are_no_cases_of_their_own(logic, tiny, saved, tmp_path):
    rows = logic.segmentFolder(saved / "files", tmp_path / "out", tiny.path, device="cpu")
    assert len(rows) == 2
    assert all(row.status == "done" and ".mrml: " in row.files for row in rows)


def test_a_scene_whose_image_was_replaced_is_segmented_again(logic, tiny, saved, tmp_path):
    options = {"model": tiny.path, "device": "cpu"}
    rows = logic.segmentFolder(saved / "files", tmp_path / "out", **options)
    results = [tmp_path / "out" / row.output for row in rows]
    written = [result.stat().st_mtime_ns for result in results]
    image = next((saved / "files").rglob("moved*.nrrd"))
    os.utime(image, ns=(max(written) + 1, max(written) + 1))
    logic.segmentFolder(saved / "files", tmp_path / "out", **options)
    assert all(result.stat().st_mtime_ns > before for result, before in zip(results, written, strict=True))


def test_scenes_and_folders_of_the_same_name_do_not_share_results(scene, logic, tiny, tmp_path):
    add_volume(scene, head(seed=3), name="T1")
    (tmp_path / "in").mkdir()
    assert slicer.util.saveScene(str(tmp_path / "in" / "p1.mrb"))
    add_image(tmp_path / "in" / "p1" / "T1.nii.gz")
    shutil.copy(tmp_path / "in" / "p1.mrb", tmp_path / "in" / "p1" / "T1.mrb")
    rows = logic.segmentFolder(tmp_path / "in", tmp_path / "out", tiny.path, device="cpu")
    assert statuses(rows) == dict.fromkeys(("p1/T1", "p1.mrb/T1", "p1/T1/T1"), "done")


def test_a_scene_that_cannot_be_read_is_a_row(logic, tiny, images, tmp_path):
    (images / "broken.mrb").write_bytes(b"PK no zip")
    rows = logic.segmentFolder(images, tmp_path / "out", tiny.path)
    assert statuses(rows) == {"a": "done", "Süd/左 'b'": "done", "broken": "failed"}
    assert "no scene" in rows[-1].message


def test_an_error_of_all_cases_is_raised_at_once(logic, tiny, images, tmp_path):
    with pytest.raises(UnknownModelError):
        logic.segmentFolder(images, tmp_path / "out", "no such model")
    with pytest.raises(OptionError, match="fold 7"):
        logic.segmentFolder(images, tmp_path / "out", tiny.path, folds=[7])
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="no images"):
        logic.segmentFolder(tmp_path / "empty", tmp_path / "out", tiny.path)


def test_windows_go_on_living_meanwhile(logic, tiny, images, tmp_path):
    import qt

    ticks, ticking = [], [True]

    def tick():
        ticks.append("tick")
        if ticking:
            qt.QTimer.singleShot(0, tick)

    qt.QTimer.singleShot(0, tick)
    logic.segmentFolder(images, tmp_path / "out", tiny.path)
    ticking.clear()
    assert len(ticks) > 1


HEADLESS = """
import sys
from pathlib import Path
import slicer_standin
core = slicer_standin.start()
import slicer
slicer.util.mainWindow = lambda verbose=False: None
type(slicer.app).layoutManager = lambda self: None
module = slicer_standin.load_module(Path(sys.argv[1]))
rows = module.MedNeXtSegmentationLogic().segmentFolder(sys.argv[2], sys.argv[3], sys.argv[4], device="cpu")
assert [row.status for row in rows] == ["done", "done"], rows
from fixtures.scene.volume_nodes import add_volume, head
add_volume(core.scene, head())
results = module.MedNeXtSegmentationLogic().segmentScene(sys.argv[4], device="cpu")
assert [result.row.status for result in results] == ["done"], results
assert "torch" not in sys.modules
print("done")
"""


def test_it_works_without_a_main_window_and_without_torch_in_the_process(tiny, images, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", HEADLESS, MODULE, images, tmp_path / "out", tiny.path],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "done" in result.stdout, result.stderr
