"""Names in old encodings, names that steer terminals, consoles that cannot show a name or are full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import tiny_bundle
from cases import add_image
from mednext.cli import main

ENGINE = str(Path(__file__).resolve().parents[1] / "MedNeXtSegmentation")
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


def mednext(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mednext", *arguments],
        env={**os.environ, "PYTHONPATH": ENGINE, **environment},
        capture_output=True,
        check=False,
    )


SEGMENT = ["--model", "tiny", "--device", "cpu", "--threads", "1"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")


@linux
@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", f"{LATIN}.nii.gz", *SEGMENT, "-o", "out.nii.gz"],
        ["segment", f"{LATIN}/scan.nii.gz", *SEGMENT, "-o", "out.nii.gz"],
        ["segment", LATIN, *SEGMENT, "-o", "out.nii.gz"],
        ["segment", "series", *SEGMENT, "-o", "out.nii.gz"],
        ["segment", "scan.nii.gz", *SEGMENT, "-o", f"{LATIN}/out.nii.gz"],
        ["segment", "scan.nii.gz", *SEGMENT, "-o", "out.nrrd", "--uncertainty", f"{LATIN}/doubt.nrrd"],
        ["segment-folder", LATIN, "out", *SEGMENT],
        ["segment-folder", ".", f"{LATIN}/out", *SEGMENT],
        ["models", "install", f"{LATIN}.zip"],
        ["models", "remove", LATIN],
        ["models", "export", LATIN, "out.zip"],
        ["models", "import", LATIN, "--name", "new"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).encode(errors="replace").decode(),
)
def test_a_name_that_is_not_utf_8_is_refused_with_a_sentence(arguments, here):
    (here / LATIN).mkdir()
    (here / "series").mkdir()
    for copy in (f"{LATIN}.nii.gz", f"{LATIN}/scan.nii.gz", f"series/{LATIN}"):
        shutil.copy(here / "scan.nii.gz", here / copy)
    before = sorted(map(os.fsencode, here.rglob("*")))
    answer = mednext(*arguments)
    assert answer.returncode == 2, answer
    assert answer.stderr.startswith(b"mednext: ") and answer.stderr.count(b"\n") == 1
    assert b"ntgen" in answer.stderr and b"\xf6" not in answer.stderr
    assert sorted(map(os.fsencode, here.rglob("*"))) == before


@linux
def test_a_result_of_a_name_that_is_not_utf_8_is_written_and_json_stays_utf_8(here):
    answer = mednext("segment", "scan.nii.gz", *SEGMENT, "-o", f"{LATIN}.nii.gz", "--json")
    assert json.loads(answer.stdout)["output"].encode() == rb"R\xf6ntgen.nii.gz"
    assert (here / f"{LATIN}.nii.gz").exists()


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "cp1252", "cp850"])
def test_a_console_that_cannot_show_a_name_shows_it_written_out(encoding, here):
    (here / "scan.nii.gz").rename(here / "头.nii.gz")
    answer = mednext("segment", "头.nii.gz", *SEGMENT, "-o", "脳.nii.gz", PYTHONIOENCODING=encoding)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert rb"Written to \u8133.nii.gz." in answer.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("option", [[], ["--json"], ["--list"]])
def test_a_name_does_not_steer_the_terminal(option, here, capfd):
    (here / "in").mkdir()
    (here / "scan.nii.gz").rename(here / "in" / f"{STEERING}.nii.gz")
    assert main(["segment-folder", "in", "out", *SEGMENT, *option]) == 0
    assert main(["segment", f"in/{STEERING}.nii.gz", *SEGMENT, "-o", "o.nrrd", "--folds", "9"]) == 2
    printed = "".join(capfd.readouterr())
    assert not {"\x1b", "\u202e", "\u200b"} & set(printed)
    report = here / "out" / "report.csv"
    assert option == ["--list"] or not {"\x1b", "\u202e"} & set(report.read_text(encoding="utf-8-sig"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [["info"], ["info", "--json"]])
def test_a_full_standard_output_is_explained(options):
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "mednext", *options]
        environment = {**os.environ, "PYTHONPATH": ENGINE}
        answer = subprocess.run(program, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(b"mednext: The standard output cannot be written")
    assert answer.stderr.count(b"\n") == 1
