"""`mednext segment-folder`: its results, the files that it never touches, and resuming after failures."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image, add_truncated, add_with_nan
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from mednext import read_volume, segment
from mednext.batch.case import Case
from mednext.batch.finished_case import fingerprint
from mednext.cli import main
from mednext.model.description import Channel
from mednext.segmentation.provenance import model_sha256
from mednext.system.locks import locked

ENGINE = Path(__file__).resolve().parents[2] / "MedNeXtSegmentation"
FAILED, CANCELLED = 3, 130
ODD = "Kopf ü/头 'b'"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", mirror_axes=(2,))


def add_images(folder: Path) -> None:
    """Two good images in two folders."""
    add_image(folder / "a.nii.gz")
    add_image(folder / f"{ODD}.nrrd", seed=1)


def command(images: Path, out: Path, model, *options: str) -> list[str]:
    fixed = ["--model", model.path, "--device", "cpu", "--threads", "1"]
    return ["segment-folder", *map(str, [images, out, *fixed, *options])]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, tiny):
    """The folders `in` and `out` after a first run."""
    folder = tmp_path_factory.mktemp("first run")
    add_images(folder / "in")
    assert main(command(folder / "in", folder / "out", tiny)) == 0
    return folder


@pytest.fixture
def images(tmp_path):
    add_images(tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def done(first_run, tmp_path):
    """The folder with the images, copied as all files of the first run with their dates."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    return tmp_path / "in"


@pytest.fixture
def run(tiny, tmp_path):
    """Segment the folder with the small model; returns the exit code."""
    return lambda *options, model=tiny: main(command(tmp_path / "in", tmp_path / "out", model, *options))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def report(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def written(folder: Path) -> dict[str, int]:
    """The results, and when they were written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.seg.nrrd")
    }


def rewritten(folder: Path, before: dict[str, int]) -> list[str]:
    """The results that were written since."""
    return [name for name, time in written(folder).items() if before.get(name) != time]


def test_every_image_gets_its_segmentation_in_a_mirrored_folder(done, out, tiny):
    assert set(written(out)) == {"a.seg.nrrd", f"{ODD}.seg.nrrd"}
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "a.seg.nrrd")))
    expected = segment(read_volume(done / "a.nii.gz"), tiny, device="cpu", threads=1)
    np.testing.assert_array_equal(labels, expected.labelmap)


def test_the_report_has_the_outcome_of_each_case(done, out, tiny):
    row = report(out)[ODD]
    expected = segment(read_volume(done / f"{ODD}.nrrd"), tiny, device="cpu", threads=1)
    volumes = expected.volumes_ml()
    assert (row["status"], row["files"], row["error"]) == ("done", f"{ODD}.nrrd", "")
    assert (row["model"], row["model_sha256"]) == ("tiny", model_sha256(tiny.model))
    assert float(row["seconds"]) >= 0 and row["device"]
    assert [float(row[f"{name} (mL)"]) for name in volumes] == pytest.approx(list(volumes.values()), abs=1e-4)


def test_a_bad_case_does_not_stop_the_others_and_is_explained(run, done, out):
    add_truncated(done / "a truncated.nii.gz")
    add_with_nan(done / "nan.nrrd")
    (done / 'no, "image".nrrd').write_text("hello")
    (out / f"{ODD}.seg.nrrd").unlink()
    assert run() == FAILED
    rows = report(out)
    assert len(written(out)) == 2
    assert rows["a truncated"]["error"] == "UnreadableImageError"
    assert rows["nan"]["error"] == "SuspectInputError" and "1 NaN" in rows["nan"]["message"]
    assert rows["no, _image_"]["status"] == "failed"
    assert "traceback" not in json.dumps(rows).lower()


def test_running_again_segments_only_missing_and_failed_cases(run, done, out):
    add_truncated(done / "c.nii.gz")
    assert run() == FAILED
    before = written(out)
    (out / "a.seg.nrrd").unlink()
    add_image(done / "c.nii.gz")
    assert run() == 0
    assert set(rewritten(out, before)) == {"a.seg.nrrd", "c.seg.nrrd"}
    assert {row["status"] for row in report(out).values()} == {"done"}


def test_a_lost_report_is_written_again_without_segmenting(run, done, out):
    before, rows = written(out), report(out)
    (out / "report.csv").unlink()
    assert run() == 0
    assert written(out) == before
    assert report(out) == rows


@pytest.mark.parametrize("date", [None, 1e9], ids=["written now", "copied with its old date"])
def test_an_image_in_place_of_another_is_noticed_whatever_its_date(run, done, out, date):
    before = written(out)
    add_image(done / "a.nii.gz", seed=5)
    if date:
        for path in (done / "a.nii.gz", done / f"{ODD}.nrrd"):
            os.utime(path, (date, date))
    assert run() == 0
    assert rewritten(out, before) == ["a.seg.nrrd"]


def test_an_uncompressed_image_with_air_at_both_ends_is_told_from_another(tmp_path):
    image = tmp_path / "ct.nrrd"
    case = Case("ct", (), (image,), "ct.nrrd")
    prints = set()
    for seed in range(3):
        image.write_bytes(bytes(2**20) + np.random.default_rng(seed).bytes(2**21) + bytes(2**20))
        prints.add(fingerprint(case))
    assert len(prints) == 3


def test_a_damaged_result_is_made_again(run, done, out):
    data = (out / "a.seg.nrrd").read_bytes()
    (out / "a.seg.nrrd").write_bytes(data[:-100])
    assert run() == 0
    assert (out / "a.seg.nrrd").read_bytes()[:4] == b"NRRD"
    sitk.ReadImage(str(out / "a.seg.nrrd"))


@pytest.mark.parametrize("options", [(), ("--no-resume",)])
def test_a_correction_is_never_lost(run, done, out, options):
    corrected = sitk.ReadImage(str(out / "a.seg.nrrd"))
    for key in [key for key in corrected.GetMetaDataKeys() if key.startswith("MedNeXt")]:
        corrected.EraseMetaData(key)  # as Slicer does when it saves a segmentation
    sitk.WriteImage(corrected, str(out / "a.seg.nrrd"), useCompression=True)
    saved = (out / "a.seg.nrrd").read_bytes()
    assert run(*options) == FAILED
    assert (out / "a.seg.nrrd").read_bytes() == saved
    assert "corrected since" in report(out)["a"]["message"]


def test_a_correction_by_a_program_that_keeps_the_header_is_not_lost_either(run, done, out):
    image = sitk.ReadImage(str(out / "a.seg.nrrd"))
    image[3, 3, 3] = 2 if image[3, 3, 3] == 1 else 1
    sitk.WriteImage(image, str(out / "a.seg.nrrd"), useCompression=True)
    saved = (out / "a.seg.nrrd").read_bytes()
    assert run() == FAILED
    assert (out / "a.seg.nrrd").read_bytes() == saved


def test_other_options_need_another_folder_or_everything_again(run, done, out):
    before = written(out)
    assert run("--no-mirror") == FAILED
    assert written(out) == before
    assert "mirror_axes" in report(out)["a"]["message"]
    assert run("--no-mirror", "--no-resume") == 0
    assert report(out)["a"]["status"] == "done"
    assert set(rewritten(out, before)) == set(before)


def test_channels_are_brought_together(run, images, out, tmp_path):
    two = tiny_bundle(
        tmp_path / "two",
        network=replace(TINY_NETWORK, in_channels=2),
        channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")),
    )
    for path in list(images.rglob("*.n*")):
        path.unlink()
    files = [add_image(images / "p" / name, seed) for seed, name in enumerate(("T1.nii.gz", "FLAIR.nii.gz"))]
    add_image(images / "q_0000.nii.gz")
    assert run(model=two) == FAILED
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "p.seg.nrrd")))
    expected = segment([read_volume(file) for file in files], two, device="cpu", threads=1)
    np.testing.assert_array_equal(labels, expected.labelmap)
    assert report(out)["q"]["error"] == "ChannelError"


KILLED_WHILE_WRITING = """
import os, signal, sys
from mednext import cli
from mednext.batch import case_work
from mednext.system.atomic import replacing

write, written = case_work.write_segmentation, []

def killed(path, segmentation):
    if written:
        with replacing(path):
            os.kill(os.getpid(), signal.SIGKILL)
    written.append(write(path, segmentation))

case_work.write_segmentation = killed
cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_the_next_run_resumes_a_killed_batch(run, images, out, tiny):
    add_image(images / "c.nii.gz", seed=2)
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    program = [sys.executable, "-c", KILLED_WHILE_WRITING, *command(images, out, tiny)]
    assert subprocess.run(program, env=environment, check=False).returncode == -signal.SIGKILL
    assert {path.suffix for path in out.rglob(".*")} == {".lock", ".nrrd"}
    (first,) = before = {name: time for name, time in written(out).items() if "/." not in f"/{name}"}
    (images / "c.nii.gz").rename(images / "d.nii.gz")  # nobody locks the old case any more
    assert run() == 0
    assert not list(out.rglob(".*"))
    assert len(written(out)) == 3 and written(out)[first] == before[first]


@pytest.mark.usefixtures("children_hear_ctrl_c")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_batch_cleanly(images, out, tiny):
    with busy(out, "a"):  # so that the batch comes to no end
        process = start(images, out, tiny)
        while not (out / "report.csv").exists():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        assert process.wait() == CANCELLED
    hidden = [path.name for path in out.rglob(".*")]
    assert not hidden
    assert all(row["status"] == "done" for row in report(out).values())


def test_two_processes_share_the_work(run, images, out, tiny, capsys):
    for number in range(4):
        add_image(images / f"more {number}.nii.gz", seed=number)
    other = start(images, out, tiny)
    while not (out / "report.csv").exists():
        assert other.poll() is None
        time.sleep(0.002)
    assert run() == 0
    said = other.communicate()[0]
    assert other.returncode == 0
    assert len(written(out)) == len(report(out)) == 6
    assert "6 cases are done" in said and "6 cases are done" in capsys.readouterr().out


def test_the_batch_waits_at_the_end_for_a_case_locked_by_another_process(run, done, out, capsys):
    (out / "report.csv").unlink()
    held, over = threading.Event(), threading.Event()

    def hold():
        with busy(out, "a"):
            held.set()
            while not (over.is_set() or (out / "report.csv").exists()):  # the other case is done
                time.sleep(0.01)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        assert run() == 0
    finally:
        over.set()
        holder.join()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [line.split(": ")[0] for line in lines] == [f"[1/2] {ODD}", "[2/2] a"]


def test_an_error_of_every_case_ends_the_batch_at_once(run, images, out, capsys):
    assert run("--folds", "7") == 2
    assert not out.exists()
    (out.parent / "out").write_text("a file")
    assert run() == 2


def test_leftovers_of_a_killed_process_are_removed_after_a_day(run, done, out):
    old, young = out / "sub" / ".mednext-old.seg.nrrd", out / ".mednext-young.seg.nrrd"
    for path in (old, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    run()
    assert not old.exists() and young.exists()


def test_a_lock_that_the_system_refuses_fails_its_case_alone(run, done, out, monkeypatch):
    opened = os.open

    def refuse(path, *arguments, **options):
        name = Path(os.fsdecode(path)).name
        if name.startswith(".a.") and name.endswith(".lock"):
            raise PermissionError(errno.EACCES, "Access is denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert run() == FAILED
    rows = report(out)
    assert "Access is denied" in rows["a"]["message"] and rows[ODD]["status"] == "done"


def test_results_beside_their_images_change_no_image(run, images, out, tmp_path):
    images.rename(out)
    before = {path: path.read_bytes() for path in out.rglob("*.n*")}
    assert main(["segment-folder", str(out), str(out), "--model", "hippocampus", "--list"]) == 0
    (tmp_path / "in").symlink_to(out)
    assert run() == run() == 0
    assert len(written(out)) == 2
    assert {path: path.read_bytes() for path in before} == before


def test_names_that_the_console_cannot_show_do_not_end_the_batch(run, done, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", console)
    assert run() == 0
    assert rb"Kopf \xfc/\u5934 'b': done" in console.buffer.getvalue()


def test_a_missing_device_is_reported_once(run, images, out, capsys):
    assert run("--device", "cuda:9") == 2
    assert "cuda" in capsys.readouterr().err
    assert not written(out)


def test_an_empty_folder_is_refused(run, images, tmp_path, capsys):
    for path in list(images.rglob("*.n*")):
        path.unlink()
    assert run() == 2
    assert "no images" in capsys.readouterr().err


def test_the_cases_can_be_listed_beforehand(run, images, out, capsys):
    assert run("--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in listed["cases"]] == ["a", ODD]
    assert not out.exists()


def busy(out: Path, case: str):
    """While the block runs, another process seems to be busy with a case."""
    out.mkdir(exist_ok=True)
    return locked(out / f".{case}.seg.nrrd.lock")


def start(images: Path, out: Path, model) -> subprocess.Popen:
    """A process that segments the folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "mednext", *command(images, out, model)],
        env={**os.environ, "PYTHONPATH": str(ENGINE)},
        stdout=subprocess.PIPE,
        text=True,
    )
