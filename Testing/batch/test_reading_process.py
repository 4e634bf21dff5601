"""Reading images in another process gives the same voxels and errors, and its crash ends nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
from fixtures.batch.cases import SHAPE, add_image, noise
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from mednext import read_volume
from mednext.cli import main
from mednext.errors import OutOfMemoryError, UnreadableImageError
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.system.running_processes import is_running
from mednext.worker import reading_process
from mednext.worker.reading_process import ReadingProcess

ENGINE = str(Path(reading_process.__file__).parents[2])

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")


@pytest.fixture
def reading():
    with ReadingProcess() as process:
        yield process


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "Kopf ü.nii.gz", tmp_path / "b.nrrd"]
    for seed, path in enumerate(paths):
        add_image(path, seed=seed)
    return list(map(str, paths))


def test_volumes_are_the_same_as_if_read_in_this_process(reading, images, tmp_path):
    write_series(tmp_path / "series", noise().astype(np.int16), Geometry(SHAPE[::-1], (1.0, 1.0, 2.0)))
    images.append(str(tmp_path / "series"))
    for volume, path in zip(reading.read(images), images, strict=True):
        here = read_volume(path)
        np.testing.assert_array_equal(volume.array, here.array)
        assert volume.array.dtype == here.array.dtype
        for each in fields(Volume):
            if each.name != "array":
                assert whole(volume, each.name) == whole(here, each.name)
        assert volume.images


def whole(volume: Volume, name: str) -> str:
    """An attribute, with all that no comparison looks at."""
    value = getattr(volume, name)
    values = value if isinstance(value, tuple) else (value,)
    return json.dumps([asdict(each) if is_dataclass(each) else each for each in values])


def test_errors_are_the_same_as_if_raised_in_this_process(reading, images, tmp_path):
    (tmp_path / "c.nii.gz").touch()
    with pytest.raises(UnreadableImageError, match=r"c\.nii\.gz is empty"):
        reading.read([str(tmp_path / "c.nii.gz")])
    assert len(reading.read(images)) == 2


def test_a_process_that_ends_within_its_answer_has_crashed(reading, images):
    half = "import sys; sys.stdin.readline(); sys.stdout.write('{\"volumes\": [')"
    reading._process = subprocess.Popen(
        [sys.executable, "-c", half], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with pytest.raises(UnreadableImageError, match="crashed the process that reads images"):
        reading.read(images)


@posix
@pytest.mark.parametrize(
    ("ended_by", "error"), [(signal.SIGSEGV, UnreadableImageError), (signal.SIGKILL, OutOfMemoryError)]
)
def test_a_crash_of_the_process_is_an_error_and_the_next_image_starts_another(
    reading, images, ended_by, error
):
    reading.read(images)
    os.kill(reading.pid, ended_by)
    with pytest.raises(error, match=r"Kopf ü\.nii\.gz"):
        reading.read(images[:1])
    assert len(reading.read(images)) == 2


@posix
def test_the_process_ends_with_its_parent(images):
    program = (
        "import sys; from mednext.worker.reading_process import ReadingProcess; reading = ReadingProcess()\n"
        "reading.read(sys.argv[1:]); print(reading.pid, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": ENGINE}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *images],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Arguments of a batch whose reader does something at the file `odd.nii.gz`.

    It stands for a library that crashes or never ends for one header.
    """

    def arguments(what: str) -> list[str]:
        hook = tmp_path / "package" / "sitecustomize.py"
        hook.parent.mkdir()
        hook.write_text(
            "import os, sys, time\n"
            "def hook(event, arguments):\n"
            "    if event == 'open' and str(arguments[0]).endswith('odd.nii.gz'):\n"
            f"        if 'mednext.worker.reading_process' in sys.orig_argv: {what}\n"
            "sys.addaudithook(hook)\n"
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hook.parent), ENGINE]))
        for name in ("a", "odd", "z"):
            add_image(tmp_path / "in" / f"{name}.nii.gz")
        model = tiny_bundle(tmp_path / "tiny").path
        folders = [str(tmp_path / "in"), str(tmp_path / "out")]
        return ["segment-folder", *folders, "--model", str(model), "--device", "cpu", "--threads", "1"]

    return arguments


@posix
def test_a_file_that_crashes_its_reader_fails_alone(batch, capfd):
    assert main(batch("os.abort()")) == 3
    said = capfd.readouterr().out
    assert "a: done" in said and "z: done" in said
    assert "odd: failed. Reading odd.nii.gz crashed the process" in said


@pytest.mark.usefixtures("children_hear_ctrl_c")
@posix
def test_ctrl_c_works_while_a_reader_hangs(batch, tmp_path):
    program = [sys.executable, "-m", "mednext", *batch("time.sleep(10000)")]
    process = subprocess.Popen(program)
    deadline = time.monotonic() + 100
    while not (tmp_path / "out" / "a.seg.nrrd").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.seg.nrrd", "report.csv"}
