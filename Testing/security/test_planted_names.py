"""Names of a patient, paths and keys are only where docs/security.md says that they may be.

`PLACES` is its table. Everything else that a run writes, prints, sends or leaves behind is searched for them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import HeldEngines, Line, RunningServer, running_server
from mednext.images.geometry import Geometry
from mednext.system.child_processes import child_environment

MEDNEXT = (sys.executable, "-m", "mednext")
DOCS = Path(__file__).resolve().parents[2] / "docs"
PATIENT, IDENTITY, FOLDER = "Plantedfamily", "Planted4711", "Plantedfolder"
# The kinds of words that may be in each place: of the patient, paths, the server's address, the key.
PLACES = {
    "result.seg.nrrd": {"address"},
    "result.dcm": {"patient", "address"},
    "standard output": {"path", "address"},
    "standard error": {"path"},
    "arguments": {"path", "address"},
    "network": {"key", "address"},
    "temporary folder": set(),
    "home folder": set(),
    "current folder": set(),
}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of a patient, in a folder with a name of its own."""
    folder = tmp_path / FOLDER / "series"
    array = np.random.default_rng(0).normal(60, 200, (12, 24, 24)).astype(np.int16)
    write_series(folder, array, Geometry((24, 24, 12), (1.0, 1.0, 1.2)))
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{PATIENT}^Anna", IDENTITY
        dataset.save_as(path)
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    engines = HeldEngines()
    engines.release.set()
    (tmp_path / "server").mkdir()
    with running_server(tmp_path / "server", [tiny_bundle(tmp_path / "tiny")], engines) as server:
        yield server


class Search:
    """Looks for the planted words."""

    def __init__(self, key: str, address: str) -> None:
        host = address.partition("//")[2]
        self._words = {"patient": (PATIENT, IDENTITY), "path": (FOLDER,), "key": (key,), "address": (host,)}

    def found(self, content: bytes | str) -> set[str]:
        """The kinds of the words in a content, in the encodings of files and lines."""
        content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        return {
            kind
            for kind, words in self._words.items()
            for word in words
            if word.lower().encode() in content.lower() or word.encode("utf-16-le") in content
        }

    def below(self, folder: Path) -> set[str]:
        """The kinds of the words in names and contents of files below a folder."""
        found: set[str] = set()
        for path in folder.rglob("*"):
            found |= self.found(str(path.relative_to(folder)))
            found |= self.found(path.read_bytes()) if path.is_file() else set()
        return found


def places(tmp_path: Path) -> dict[str, Path]:
    folders = {name: tmp_path / name.split()[0] for name in PLACES if name.endswith(" folder")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    return folders


def environment(folders: dict[str, Path]) -> dict[str, str]:
    variables = child_environment()
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MEDNEXT_MODELS"):
        variables.pop(name, None)
    home, temporary = str(folders["home folder"]), str(folders["temporary folder"])
    return {**variables, "HOME": home, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"}


def segment(series: Path, output: Path, address: str) -> list[str]:
    """The arguments of a run on a server."""
    return ["segment", str(series), "-o", str(output), "--model", "tiny", "--insist", "--server", address]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".dcm"])
def test_a_run_on_a_server_leaves_and_sends_no_names(
    series: Path, served: RunningServer, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".dcm":
        pytest.importorskip("highdicom")
    folders = places(tmp_path)
    (tmp_path / "key").write_text(served.access().key)
    output = tmp_path / f"result{suffix}"
    with Line(served.address) as line:
        arguments = [*segment(series, output, line.address), "--server-key", str(tmp_path / "key"), "--json"]
        run = subprocess.Popen(
            [*MEDNEXT, *arguments],
            cwd=folders["current folder"],
            env=environment(folders),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, logged = run.communicate(timeout=120)
    assert run.returncode == 0, (logged + said).decode()
    search = Search(served.access().key, line.address)
    assert len(line.heard) > 5000
    found = {
        output.name: search.found(output.read_bytes()),
        "standard output": search.found(said),
        "standard error": search.found(logged),
        "arguments": search.found(" ".join(arguments)),
        "network": search.found(bytes(line.heard)),
        **{name: search.below(folder) for name, folder in folders.items()},
    }
    assert {place: kinds - PLACES[place] for place, kinds in found.items() if kinds - PLACES[place]} == {}
    assert "key" in found["network"]  # the search can find


def test_the_key_crosses_the_line_in_one_header_only(
    series: Path, served: RunningServer, tmp_path: Path
) -> None:
    folders = places(tmp_path)
    key = served.access().key
    with Line(served.address) as line:
        subprocess.run(
            [*MEDNEXT, *segment(series, tmp_path / "a.nii.gz", line.address)],
            env=environment(folders) | {"MEDNEXT_SERVER_KEY": key},
            check=True,
            capture_output=True,
        )
    heard = bytes(line.heard)
    assert heard.count(key.encode()) == heard.count(f"Authorization: Bearer {key}\r\n".encode()) > 0


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_run_that_is_killed_leaves_no_names_outside_of_its_results_folder(
    series: Path, served: RunningServer, tmp_path: Path
) -> None:
    folders = places(tmp_path)
    served.service.dispatcher._engines.release.clear()  # type: ignore[attr-defined]
    run = subprocess.Popen(
        [*MEDNEXT, *segment(series, tmp_path / "a.nii.gz", served.address)],
        cwd=folders["current folder"],
        env=environment(folders) | {"MEDNEXT_SERVER_KEY": served.access().key},
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not served.service.dispatcher._engines.begun and time.monotonic() < end:  # type: ignore[attr-defined]
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGSEGV)
    run.wait()
    search = Search(served.access().key, served.address)
    assert [name for name, folder in folders.items() if search.below(folder)] == []
    served.service.dispatcher._engines.release.set()  # type: ignore[attr-defined]


def test_an_unreachable_server_and_a_wrong_key_are_told_without_the_key(
    series: Path, served: RunningServer, tmp_path: Path
) -> None:
    folders = places(tmp_path)
    key = "mednext_" + "Plantedsecret" * 3
    for address in (served.address, "http://127.0.0.1:1"):
        run = subprocess.run(
            [*MEDNEXT, *segment(series, tmp_path / "a.nii.gz", address)],
            check=False,
            env=environment(folders) | {"MEDNEXT_SERVER_KEY": key},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 2
        assert "Plantedsecret" not in run.stdout + run.stderr


def test_the_page_on_security_lists_these_places() -> None:
    rows = re.findall(r"^\| `?([^|`]+?)`? \| ([^|]*) \|$", (DOCS / "security.md").read_text(), re.MULTILINE)
    listed = {place: set(kinds.split(", ")) - {"none"} for place, kinds in rows}
    assert {place: listed.get(place) for place in PLACES} == PLACES
