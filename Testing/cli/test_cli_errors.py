"""Every wrong input gives one explained error, exit code 2, and no file."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from mednext.cli import main
from mednext.library import store
from mednext.model.description import Channel
from mednext_training.cli import main as training_main

ENGINE = str(Path(__file__).resolve().parents[2] / "MedNeXtSegmentation")

Make = Callable[[Path], None]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of one and of two channels, and one with a flipped bit."""
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle(folder / "tiny")
    two = (Channel("T1", "MR", "zscore"), Channel("T2", "MR", "zscore"))
    tiny_bundle(folder / "two", channels=two, network=replace(TINY_NETWORK, in_channels=2))
    tiny_bundle(folder / "flipped")
    weights = folder / "flipped" / "fold_0.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder; the models folder holds the three models."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(bundles))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, (16, 32, 32)).astype(np.float32)


def write(path: Path, array: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def with_voxel(value: float) -> Make:
    def make(path: Path) -> None:
        array = noise()
        array[8, 8, 8] = value
        write(path, array)

    return make


def with_spacing(value: float) -> Make:
    """A NIfTI file with this spacing along i in its header, which SimpleITK would refuse to write."""

    def make(path: Path) -> None:
        plain = path.with_name("plain.nii")
        write(plain, noise())
        data = bytearray(plain.read_bytes())
        plain.unlink()
        data[80:84] = struct.pack("<f", value)  # pixdim[1]
        path.write_bytes(gzip.compress(data))

    return make


def truncated(path: Path) -> None:
    write(path, noise())
    path.write_bytes(path.read_bytes()[:20_000])


def series(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([noise()] * 2), isVector=False), str(path))


def labels(path: Path) -> None:
    array = np.zeros((16, 32, 32), np.uint8)
    array[4:12, 8:24, 8:24] = 1
    write(path, array)


BAD_IMAGES: dict[str, tuple[Make, str]] = {
    "an empty file": (lambda path: path.touch(), "empty"),
    "a missing file": (lambda path: None, "bad.nii.gz"),
    "not an image": (lambda path: path.write_text("hello"), "bad.nii.gz"),
    "a truncated gzip": (truncated, "bad.nii.gz"),
    "a 2D image": (lambda path: write(path, noise()[0]), "flat image of 32 x 32"),
    "a 4D series": (series, "series of 2 volumes"),
    "a NaN voxel": (with_voxel(np.nan), "has 1 NaN"),
    "an infinite voxel": (with_voxel(np.inf), "has 1 NaN or infinite"),
    "a constant image": (lambda path: write(path, noise() * 0 + 7), "7"),
    "a spacing of 0": (with_spacing(0.0), r"\b0(\.0)?\b"),
    "a spacing of 1e6": (with_spacing(1e6), "1e\\+?06|1000000"),
    "a label file": (labels, "(?i)label"),
}


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with an explained error; returns the message."""
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert code == 2, printed
    assert printed.out == ""
    assert printed.err.startswith("mednext: ")
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_refused(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = BAD_IMAGES[case]
    make(here / "bad.nii.gz")
    before = files(here)
    message = fails(capsys, "segment", "bad.nii.gz", "--model", "tiny", "-o", "out.seg.nrrd", "--threads", 1)
    assert re.search(words, message), message
    assert files(here) == before


BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "one channel too few": (["good.nii.gz", "--model", "two"], "needs 2 channel.*T1, T2.*1 were given"),
    "one channel too many": (["good.nii.gz", "good.nii.gz"], "needs 1 channel.*2 were given"),
    "a missing model": (["good.nii.gz", "--model", "tinny"], "no model 'tinny'.*Installed models: .*tiny"),
    "a missing model folder": (["good.nii.gz", "--model", "./nowhere"], "no folder nowhere"),
    "a task without weights": (["good.nii.gz", "--model", "BTCV"], "no weights for the task 'BTCV'"),
    "a model with a flipped bit": (["good.nii.gz", "--model", "flipped"], "damaged.*SHA-256"),
    "a fold that is not there": (["good.nii.gz", "--folds", "4"], "no fold 4"),
    "folds that are none": (["good.nii.gz", "--folds", "a"], "--folds must be.*'a'"),
    "a fold twice": (["good.nii.gz", "--folds", "0,0"], r"\[0, 0\]"),
    "an unknown device": (["good.nii.gz", "--device", "abacus"], "'abacus'.*cpu"),
    "a region of five numbers": (["good.nii.gz", "--roi", "1,2,3,4,5"], "--roi must be six numbers"),
    "a region without size": (["good.nii.gz", "--roi", "1,2,3,1,4,5"], "(?i)region"),
    "a region elsewhere": (["good.nii.gz", "--roi", "900,900,900,950,950,950"], "outside.*image"),
    "a region of infinite size": (["good.nii.gz", "--roi", "0,0,0,9,9,inf"], "(?i)finite"),
    "no threads": (["good.nii.gz", "--threads", "0"], "threads.*not 0"),
    "threads that are none": (["good.nii.gz", "--threads", "x"], "--threads.*'x'"),
    "an unknown option": (["good.nii.gz", "--fast"], "--fast.*--help"),
    "a shortened option": (["good.nii.gz", "--over"], "--over"),
    "no image": ([], "IMAGE"),
    "an unknown suffix": (["good.nii.gz", "-o", "out.xyz"], r"out\.xyz.*\.seg\.nrrd.*\.nii\.gz"),
    "no suffix": (["good.nii.gz", "-o", "out"], r"\.seg\.nrrd"),
    "an unknown format": (["good.nii.gz", "--format", "xyz"], "xyz.*seg.nrrd"),
    "a format that is not the suffix": (["good.nii.gz", "--format", "nifti"], "nifti"),
    "a missing folder": (["good.nii.gz", "-o", "nowhere/out.seg.nrrd"], "folder nowhere does not exist"),
    "a file as folder": (["good.nii.gz", "-o", "good.nii.gz/out.seg.nrrd"], r"folder good\.nii\.gz"),
    "a folder as file": (["good.nii.gz", "-o", "folder.seg.nrrd"], "is a folder|is there already"),
    "a result that is there": (["good.nii.gz", "-o", "old.seg.nrrd"], "there already.*--overwrite"),
    "DICOM SEG of a file": (["good.nii.gz", "-o", "out.dcm"], "(?i)dicom series"),
    "an uncertainty without place": (["good.nii.gz", "--uncertainty", "nowhere/u.nii.gz"], "nowhere"),
    "an uncertainty as segments": (
        ["good.nii.gz", "--uncertainty", "u.seg.nrrd"],
        "cannot hold an uncertainty",
    ),
    "an option without its value": (["good.nii.gz", "--roi=--"], "--roi=-- has no value"),
    "a name of no file": (["good\0.nii.gz"], "no path can have"),
    "a name that is too long": (["x" * 5000 + ".nii"], "(?i)name too long"),
    "a model's name that is too long": (["good.nii.gz", "--model", "x" * 5000], "(?i)name too long"),
    "one file for both": (["good.nii.gz", "-o", "a.nrrd", "--uncertainty", "a.nrrd"], "cannot hold both"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_request_is_refused(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, words = BAD_OPTIONS[case]
    write(here / "good.nii.gz", noise())
    (here / "folder.seg.nrrd").mkdir()
    (here / "old.seg.nrrd").write_text("corrected for an hour")
    before = files(here)
    common = ["--threads", 1, "--model", "tiny", "-o", "out.seg.nrrd"]
    message = fails(capsys, "segment", *common, *arguments)
    assert re.search(words, message), message
    assert files(here) == before
    assert (here / "old.seg.nrrd").read_text() == "corrected for an hour"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["install", "tinny"], "no model 'tinny'"),
        (["install", "BTCV"], "no weights for the task 'BTCV'"),
        (["install", "missing.zip"], "no file missing.zip"),
        (["install", "text.zip"], "not a zip file"),
        (["install", "https://models.example/m.zip"], "needs --sha256"),
        (["export", "tinny", "out.zip"], "no model 'tinny'"),
        (["export", "tiny", "out.tar"], r"must be named \*\.zip"),
        (["export", "tiny", "text.zip"], "exists already"),
        (["export", "tiny", "nowhere/out.zip"], "folder nowhere does not exist"),
        (["export", "flipped", "out.zip"], "damaged"),
        (["remove", "tinny"], "no model 'tinny'"),
        (["remove", "../tiny"], "no model '../tiny'"),
        (["import", "nowhere", "--name", "new"], "no nowhere"),
        (["import", "text.zip", "--name", "new"], "text.zip"),
        (["import", "text.zip", "--name", "a/b"], "'a/b' cannot be the name"),
        (["import", "text.zip", "--name", "tiny"], "'tiny' is installed already"),
        (["import", "text.zip", "--name", "new", "--labels", "spleen"], "--labels must be like"),
        (["import", "text.zip", "--name", "new", "--labels", "1=a,1=b"], "each number once"),
        (["import", "text.zip", "--name", "new", "--folds", "x"], "--folds must be"),
        (["import", "text.zip", "--name", "new", "--mirror-axes", "all"], "--mirror-axes must be"),
        (["import", "text.zip"], "--name"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_a_bad_request_about_models_is_refused(
    arguments: list[str], words: str, here: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "text.zip").write_text("hello")
    before = files(here) | files(bundles)
    message = fails(capsys, "models", *arguments)
    assert re.search(words, message), message
    assert files(here) | files(bundles) == before


def test_programs_get_the_error_as_a_document(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "missing.nii.gz", "--model", "tiny", "-o", "out.seg.nrrd", "--json"]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["ok"] is False
    assert document["error"] == "UnreadableImageError"
    assert "missing.nii.gz" in document["message"]
    assert printed.err == ""


def test_wrong_arguments_are_reported_as_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "OptionError"


def test_quiet_does_not_hide_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.nii.gz" in fails(
        capsys, "segment", "missing.nii.gz", "--model", "tiny", "-o", "o.nrrd", "--quiet"
    )


def test_a_fault_of_the_program_asks_to_be_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "installed_models", lambda: 1 / 0)
    assert main(["models", "list"]) == 1
    assert "Please report it" in capsys.readouterr().err
    assert "Traceback" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on file sizes there")
def test_a_full_disk_is_an_explained_error(here: Path) -> None:
    """A process that may not write files over 256 bytes gets the same errors as on a full disk."""
    write(here / "good.nii.gz", noise())
    before = files(here)
    code = (
        "import resource\n"
        "from mednext.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))\n"
        "for name in ('out.seg.nrrd', 'out.nii.gz'):\n"
        "    print(main(['segment', 'good.nii.gz', '--model', 'tiny', '-o', name, '--threads', '1']))"
    )
    answer = run_python("-c", code)
    assert answer.stdout == "2\n2\n", answer.stderr
    assert len([line for line in answer.stderr.splitlines() if "space" in line]) == 2
    assert "Traceback" not in answer.stderr
    assert files(here) == before


def test_a_real_process_ends_with_exit_code_2(here: Path) -> None:
    answer = run_python("-m", "mednext", "segment", "missing.nii.gz", "--model", "tiny", "-o", "out.seg.nrrd")
    assert answer.returncode == 2
    assert answer.stderr.startswith("mednext: ")
    assert list(here.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user without all permissions")
def test_a_folder_without_permission_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "good.nii.gz", noise())
    (here / "locked").mkdir(mode=0o555)
    message = fails(capsys, "segment", "good.nii.gz", "--model", "tiny", "-o", "locked/out.seg.nrrd")
    assert "Permission denied" in message


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": ENGINE},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_server_without_its_packages_is_refused_with_the_remedy():
    code = (
        "import sys; sys.modules['uvicorn'] = None; from mednext.cli import main; sys.exit(main(['serve']))"
    )
    environment = {**os.environ, "PYTHONPATH": ENGINE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "needs the package uvicorn: pip install 'slicer-mednext-segmentation[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_without_its_packages_is_refused_with_the_remedy(monkeypatch, capsys):
    def train(_: object) -> None:
        raise ModuleNotFoundError("No module named 'nnunetv2'", name="nnunetv2")

    chosen = SimpleNamespace(parse_args=lambda _: SimpleNamespace(run=train))
    monkeypatch.setattr("mednext_training.cli.command_parser", lambda: chosen)
    assert training_main(["train"]) == 2
    assert "pip install 'slicer-mednext-segmentation[training]'" in capsys.readouterr().err
