"""`mednext view`: results in a browser of this computer, and for nobody else."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fixtures.images.dicom_files import write_series
from fixtures.images.geometries import rotation
from mednext.errors import (
    DownloadError,
    DownloadIntegrityError,
    GeometryError,
    UnreadableImageError,
    UnsupportedImageError,
)
from mednext.images.geometry import Geometry
from mednext.images.volume import write_image
from mednext.model.labels import Label
from mednext.model.regions import Region
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.formats.color_table import write_color_table
from mednext.segmentation.formats.dicom_seg import write_dicom_seg
from mednext.segmentation.formats.seg_nrrd import write_layers
from mednext.segmentation.result import Segmentation
from mednext.viewing.niivue import viewer_script
from mednext.viewing.page_server import PageServer
from mednext.viewing.shown_result import check_same_place, read_result
from mednext.viewing.viewer import viewer_files

GRID = Geometry((14, 12, 10), (0.8, 1.1, 2.5), (-31, 12.5, 407.3), tuple(rotation(10, -25, 40).ravel()))
LABELS = (
    Label(2, "right kidney", (185, 102, 83)),
    Label(5, "<b>Zyste</b> (groß)", (200, 30, 10)),
    Label(9, "cyst", (1, 2, 3)),
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def segmentation():
    labelmap = np.zeros(GRID.shape, np.uint8)
    labelmap[2:5, 3:9, 4:12] = 2
    labelmap[7, 2, 1] = 5
    return Segmentation(labelmap, GRID, LABELS, {"model": "kits"})


@pytest.fixture
def result(segmentation, tmp_path):
    file = tmp_path / "result.seg.nrrd"
    write_segmentation(file, segmentation)
    return file


@pytest.fixture
def library(tmp_path, monkeypatch):
    """An archive in the place of niivue's, with a script of one line."""
    script = tmp_path / "index.js"
    script.write_bytes(b"export const Niivue = 1;")
    archive = tmp_path / "niivue.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(script, "package/dist/index.js")
    from mednext.library.download.partial import sha256_of

    monkeypatch.setattr("mednext.viewing.niivue.SHA256", sha256_of(archive))
    return archive


@pytest.fixture
def server():
    with PageServer({"index.html": ("text/html", b"page"), "image.nii": ("a/b", b"voxels")}) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: PageServer, path: str, host: str | None = None, method: str = "GET"
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.request(method, path, headers={"Host": host} if host else {})
    return connection.getresponse()


def test_a_result_keeps_its_voxels_names_colours_and_volumes(result, segmentation):
    shown = read_result(result)
    assert np.array_equal(shown.labelmap, segmentation.labelmap)
    assert shown.geometry.ijk_to_ras == pytest.approx(GRID.ijk_to_ras, abs=1e-4)
    assert [(each.value, each.name, each.color) for each in shown.segments] == [
        (label.value, label.name, label.color) for label in LABELS
    ]
    volumes = segmentation.volumes_ml()
    assert [each.volume_ml for each in shown.segments] == pytest.approx(
        [volumes[label.name] for label in LABELS]
    )


def test_a_segments_centre_is_one_of_its_voxels_in_the_patients_space(result):
    one = read_result(result).segments[1]
    assert one.centre_ras == pytest.approx(tuple((GRID.ijk_to_ras @ [1, 2, 7, 1])[:3]), abs=1e-3)
    assert read_result(result).segments[2].centre_ras is None


def test_an_image_of_label_values_gets_names_and_colours_that_differ(segmentation, tmp_path):
    write_segmentation(tmp_path / "result.nii.gz", segmentation)
    segments = read_result(tmp_path / "result.nii.gz").segments
    assert [each.name for each in segments] == ["Label 2", "Label 5"]
    assert len({each.color for each in segments}) == 2


@pytest.mark.parametrize("voxels", [np.full(GRID.shape, -3, np.int16), np.full(GRID.shape, 0.5, np.float32)])
def test_an_image_instead_of_a_result_is_refused(voxels, tmp_path):
    write_image(tmp_path / "image.nii.gz", voxels, GRID)
    with pytest.raises(UnsupportedImageError, match="no image of label values"):
        read_result(tmp_path / "image.nii.gz")


def test_a_result_without_any_structure_is_shown_as_such(segmentation, tmp_path):
    nothing = replace(segmentation, labelmap=np.zeros_like(segmentation.labelmap))
    write_segmentation(tmp_path / "nothing.seg.nrrd", nothing)
    assert [each.volume_ml for each in read_result(tmp_path / "nothing.seg.nrrd").segments] == [0, 0, 0]


def owners(shown, ijk):
    """The names of the segments in a voxel."""
    value = shown.labelmap[ijk[::-1]]
    return {each.name for each in shown.segments if value in each.values}


def test_segments_that_overlap_in_layers_are_all_shown(tmp_path):
    first, second = np.zeros((2, *GRID.shape), np.uint8)
    first[2:5, 3:9, 4:12] = 1
    second[2:4, 3:9, 4:8] = 1
    names = {"Name": ("tumour", "core"), "LabelValue": ("1", "1"), "Layer": ("0", "1")}
    header = {f"Segment{n}_{key}": values[n] for key, values in names.items() for n in range(2)}
    write_layers(tmp_path / "layered.seg.nrrd", [first, second], GRID, header)
    shown = read_result(tmp_path / "layered.seg.nrrd")
    assert shown.geometry.ijk_to_ras == pytest.approx(GRID.ijk_to_ras, abs=1e-4)
    voxels = {each.name: round(each.volume_ml / GRID.voxel_volume_ml) for each in shown.segments}
    assert voxels == {"tumour": 3 * 6 * 8, "core": 2 * 6 * 4}
    assert owners(shown, (4, 3, 2)) == {"tumour", "core"}
    assert owners(shown, (11, 8, 4)) == {"tumour"}
    assert owners(shown, (0, 0, 0)) == set()


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_dicom_seg_is_shown_on_its_grid_with_its_regions(segmentation, tmp_path, kind):
    pytest.importorskip("highdicom")
    write_series(tmp_path / "series", np.zeros(GRID.shape, np.int16), GRID)
    both = Region("kidney with cyst", (2, 5), (90, 160, 250))
    result = replace(segmentation, regions=(both,) if kind == "binary" else ())
    write_dicom_seg(tmp_path / "result.dcm", result, tmp_path / "series", kind)
    shown = read_result(tmp_path / "result.dcm")
    found = {each.name: each for each in shown.segments}
    for label in LABELS[:2]:
        mask = np.isin(shown.labelmap, found[label.name].values)
        assert mask.sum() == (segmentation.labelmap == label.value).sum()
        for place in np.argwhere(segmentation.labelmap == label.value):
            there = np.linalg.inv(shown.geometry.ijk_to_ras) @ GRID.ijk_to_ras @ [*place[::-1], 1.0]
            assert mask[tuple(there[2::-1].round().astype(int))]
        assert np.abs(np.subtract(found[label.name].color, label.color)).max() <= 1
    if kind == "binary":
        parts = sum(found[label.name].volume_ml for label in LABELS[:2])
        assert found[both.name].volume_ml == pytest.approx(parts)


def test_a_dicom_file_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("highdicom")
    write_series(tmp_path / "series", np.zeros(GRID.shape, np.int16), GRID)
    with pytest.raises(UnsupportedImageError, match="no DICOM SEG"):
        read_result(next((tmp_path / "series").iterdir()))


def test_the_table_beside_an_image_of_label_values_gives_names_and_colours(segmentation, tmp_path):
    write_segmentation(tmp_path / "result.nii.gz", segmentation)
    write_color_table(tmp_path / "result.labels.csv", LABELS)
    shown = read_result(tmp_path / "result.nii.gz")
    assert [(each.value, each.name, each.color) for each in shown.segments] == [
        (label.value, label.name, label.color) for label in LABELS
    ]
    (tmp_path / "result.labels.csv").write_text("not,a\ntable,x\n")
    with pytest.raises(UnreadableImageError, match="no table of labels"):
        read_result(tmp_path / "result.nii.gz")


def test_the_smallest_of_overlapping_segments_is_drawn_on_top(library, tmp_path):
    first = np.zeros(GRID.shape, np.uint8)
    first[2:5, 3:9, 4:12] = 1
    second = np.where(first & (np.arange(14) < 8), 1, 0).astype(np.uint8)
    header = {}
    for n in range(2):
        header |= {f"Segment{n}_Name": "x", f"Segment{n}_LabelValue": "1", f"Segment{n}_Layer": str(n)}
    write_layers(tmp_path / "layered.seg.nrrd", [first, second], GRID, header)
    drawn = json.loads(viewer_files(tmp_path / "layered.seg.nrrd", None, library)["result.json"][1])["drawn"]
    assert [owners for _, owners in drawn] == [[0], [1, 0]]


def test_a_result_beside_the_image_is_refused(result):
    shown = read_result(result)
    check_same_place(GRID, shown, ("image", "result"))
    far = replace(GRID, origin=(500.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="result lies beside image"):
        check_same_place(far, shown, ("image", "result"))


def test_a_segment_that_leaves_the_image_is_refused_and_never_cut_off(result):
    shown = read_result(result)  # its voxels have x from 1 to 11 of 14, and z from 2 to 7 of 10
    check_same_place(replace(GRID, size=(12, 12, 8)), shown, ("image", "result"))
    for size in ((10, 12, 10), (14, 12, 6)):
        with pytest.raises(GeometryError, match="Segments of result reach beyond image"):
            check_same_place(replace(GRID, size=size), shown, ("image", "result"))


def test_the_page_gets_the_voxels_on_their_grids(result, library, segmentation, tmp_path):
    image = tmp_path / "image.nii.gz"
    write_image(image, np.arange(GRID.shape[0] * 12 * 14, dtype=np.int16).reshape(GRID.shape), GRID)
    files = viewer_files(result, image, library)
    for name, array in (
        ("image.nii", np.arange(1680).reshape(GRID.shape)),
        ("labels.nii", segmentation.labelmap),
    ):
        (tmp_path / name).write_bytes(files[name][1])
        read = nibabel.load(tmp_path / name)
        assert np.array_equal(np.asarray(read.dataobj).T, array)
        assert read.affine == pytest.approx(GRID.ijk_to_ras, abs=1e-4)
    assert json.loads(files["result.json"][1])["segments"][1]["name"] == "<b>Zyste</b> (groß)"


def test_another_archive_than_niivues_is_refused(library):
    library.write_bytes(library.read_bytes() + b"x")
    with pytest.raises(DownloadIntegrityError, match="is not the file of"):
        viewer_script(library)


def test_without_a_network_the_error_names_the_archives_address(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    monkeypatch.setattr("mednext.viewing.niivue.ADDRESS", "http://127.0.0.1:9/niivue.tgz")
    monkeypatch.setattr("mednext.library.download.retrying.wait", lambda *_: None)  # between its attempts
    with pytest.raises(DownloadError, match="niivue"):
        viewer_script()


def test_the_address_shows_the_page_and_its_files(server):
    path = "/" + server.address.split("/", 3)[3]
    assert ask(server, path).read() == b"page"
    answer = ask(server, path + "image.nii")
    assert answer.read() == b"voxels"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/image.nii", "/wrong/image.nii", "/../image.nii"])
def test_without_the_random_word_nothing_is_answered(server, path):
    assert ask(server, path).status == 404


def test_a_page_of_another_name_that_leads_to_this_computer_gets_nothing(server):
    path = "/" + server.address.split("/", 3)[3]
    assert ask(server, path, host=f"evil.example:{server.server_address[1]}").status == 404


def test_nothing_can_be_written(server):
    assert ask(server, "/" + server.address.split("/", 3)[3], method="POST").status == 501


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_draws_the_segments_in_their_colours_and_the_patients_right_on_the_left(tmp_path):
    from PIL import Image

    try:
        viewer_script()
    except DownloadError:
        pytest.skip("niivue cannot be fetched: the npm registry does not answer")
    sides = Label(1, "left kidney", (60, 120, 240)), Label(2, "right kidney", (230, 60, 60))
    grid = Geometry((40, 30, 20), (1.0, 1.0, 1.0), (20.0, -15.0, -10.0), (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    labelmap = np.zeros(grid.shape, np.uint8)
    labelmap[4:14, 8:22, 4:14], labelmap[4:14, 8:22, 26:36] = 1, 2  # x is counted from left to right
    write_segmentation(tmp_path / "kidneys.seg.nrrd", Segmentation(labelmap, grid, sides, {"model": "kits"}))
    command = [sys.executable, "-m", "mednext", "view", str(tmp_path / "kidneys.seg.nrrd"), "--no-browser"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", program.stdout.readline())[0]
        browse(address, tmp_path / "page.png")
    finally:
        program.terminate()
        program.wait()
    slices = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)[:, 330:665]
    left, right = (np.median(places_of(label.color, slices)) for label in sides)
    assert right + 50 < left  # in the coronal and the axial view, which are those on the left of the page


def places_of(color: tuple[int, int, int], picture: np.ndarray) -> np.ndarray:
    """The columns of the pixels of a colour, in any brightness; more than a thousand."""
    ratio = picture / np.maximum(picture.max(axis=2, keepdims=True), 1)
    seen = (np.abs(ratio - np.array(color) / max(color)) < 0.08).all(axis=2) & (picture.max(axis=2) > 60)
    assert seen.sum() > 1000
    return np.nonzero(seen)[1]


def browse(address: str, picture: Path) -> None:
    """Open a page in Chromium and write its picture."""
    options = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    options += [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
        "--window-size=1000,700",
    ]
    options += [f"--user-data-dir={picture.parent / 'profile'}", "--virtual-time-budget=20000"]
    subprocess.run(
        [str(CHROMIUM), *options, f"--screenshot={picture}", address], check=True, timeout=300, env=os.environ
    )
