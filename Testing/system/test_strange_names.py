"""Names in old encodings, names that steer terminals, consoles that cannot show a name or are full."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures.batch.cases import add_image
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from mednext import read_volume, segment
from mednext.cli import main
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry

ENGINE = str(Path(__file__).resolve().parents[2] / "MedNeXtSegmentation")
LATIN = os.fsdecode("Röntgen".encode("latin-1"))
STEERING = "\x1b[2J\u202egnp\u200b\n=x"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDNEXT_MODELS", str(models))
    add_image(tmp_path / "scan.nii.gz")
    return tmp_path


def on_console(patch: pytest.MonkeyPatch, encoding: str, *arguments: str) -> bytes:
    """The standard output of a command on a console of this encoding; it must not fail or warn."""
    streams = [io.TextIOWrapper(io.BytesIO(), *encoding.split(":")) for _ in range(2)]
    with patch.context() as console:
        console.setattr(sys, "stdout", streams[0])
        console.setattr(sys, "stderr", streams[1])
        assert main([*arguments]) == 0
    written, warned = (stream.flush() or stream.buffer.getvalue() for stream in streams)
    assert warned == b""
    return written


SEGMENT = ["--model", "tiny", "--device", "cpu", "--threads", "1"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")


@linux
@pytest.mark.parametrize(
    ("image", "output"),
    [
        (f"{LATIN}.nii.gz", f"{LATIN}.seg.nrrd"),
        (f"{LATIN}/scan.nii.gz", f"{LATIN}/out.nii.gz"),
        (f"{LATIN}/series", f"{LATIN}/out.dcm"),
        (f"{LATIN}/series", f"{LATIN}/out.nii"),
    ],
    ids=["file", "file in a folder", "series to DICOM", "series"],
)
def test_a_name_that_is_not_utf_8_is_read_and_written(image, output, here):
    (here / LATIN).mkdir()
    for copy in (f"{LATIN}.nii.gz", f"{LATIN}/scan.nii.gz"):
        shutil.copy(here / "scan.nii.gz", here / copy)
    write_latin_series(here / LATIN / "series")
    result = segment(read_volume(image), "tiny", device="cpu", threads=1)
    assert main(["segment", image, *SEGMENT, "-o", output]) == 0
    assert (here / output).stat().st_size > 0
    assert output.endswith(".dcm") or (read_image(here / output).array == result.labelmap).all()


@linux
def test_a_batch_of_names_that_are_not_utf_8_is_segmented(here, capsys):
    for name in (f"in/{LATIN}.nii.gz", f"in/{LATIN}/scan.nii.gz"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "scan.nii.gz", here / name)
    for _ in range(2):
        assert main(["segment-folder", "in", f"{LATIN} out", *SEGMENT]) == 0
    results = (here / f"{LATIN} out").rglob("*.seg.nrrd")
    assert {path.name for path in results} == {"R_ntgen.seg.nrrd", "scan.seg.nrrd"}
    assert rb"R\xf6ntgen/scan.nii.gz" in (here / f"{LATIN} out" / "report.csv").read_bytes()


def write_latin_series(folder: Path) -> None:
    array = np.random.default_rng(0).normal(0, 300, (16, 20, 22)).astype(np.int16)
    write_series(folder, array, Geometry((22, 20, 16), (1.0, 1.0, 2.0)))
    for number, file in enumerate(folder.iterdir()):
        file.rename(folder / f"{LATIN} {number}")


@linux
@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "install", f"{LATIN}.zip"],
        ["models", "remove", LATIN],
        ["models", "export", LATIN, "out.zip"],
        ["models", "import", LATIN, "--name", "new"],
    ],
    ids=lambda arguments: arguments[1],
)
def test_a_model_whose_name_is_not_utf_8_is_reported_in_a_sentence(arguments, here, capsys):
    before = set(here.iterdir())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("mednext: ") and said.count("\n") == 1
    assert "ntgen" in said and said.encode()
    assert set(here.iterdir()) == before


@linux
def test_a_result_whose_name_is_not_utf_8_is_written_and_json_stays_utf_8(here, monkeypatch):
    place = ["-o", f"{LATIN}.nii.gz", "--json"]
    written = on_console(monkeypatch, "utf-8:strict", "segment", "scan.nii.gz", *SEGMENT, *place)
    assert json.loads(written)["output"].encode() == rb"R\xf6ntgen.nii.gz"
    assert (here / f"{LATIN}.nii.gz").exists()


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252:strict"])
def test_a_console_that_cannot_show_a_name_escapes_it(encoding, here, monkeypatch):
    (here / "scan.nii.gz").rename(here / "头.nii.gz")
    written = on_console(monkeypatch, encoding, "segment", "头.nii.gz", *SEGMENT, "-o", "脳.nii.gz")
    assert rb"Written to \u8133.nii.gz." in written


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("option", [[], ["--json"], ["--list"]])
def test_a_name_cannot_control_the_terminal(option, here, capfd):
    (here / "in").mkdir()
    (here / "scan.nii.gz").rename(here / "in" / f"{STEERING}.nii.gz")
    assert main(["segment-folder", "in", "out", *SEGMENT, *option]) == 0
    assert main(["segment", f"in/{STEERING}.nii.gz", *SEGMENT, "-o", "o.nrrd", "--folds", "9"]) == 2
    printed = "".join(capfd.readouterr())
    assert not {"\x1b", "\u202e", "\u200b"} & set(printed)
    report = here / "out" / "report.csv"
    assert option == ["--list"] or not {"\x1b", "\u202e"} & set(report.read_text(encoding="utf-8-sig"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_standard_output_is_explained(options):
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "mednext", "models", "export", "hippocampus", "out.zip", *options]
        environment = {**os.environ, "PYTHONPATH": ENGINE}
        answer = subprocess.run(program, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(b"mednext: The standard output cannot be written")
    assert answer.stderr.count(b"\n") == 1
