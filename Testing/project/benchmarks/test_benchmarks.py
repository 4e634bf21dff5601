"""The benchmarks of `make bench` compare like with like, and print tables."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from fixtures.environment.python_programs import output_of_python

from benchmarks import ROOT, Settings, end_to_end
from benchmarks.__main__ import main
from benchmarks.candidates import REFERENCE, Size, forwards
from benchmarks.passes import TimedKernels, measure
from benchmarks.report import table

SMOKE = Settings(1, (("S3", 32),), "smoke", compiled=False)


def test_a_table_has_a_column_for_every_value_of_its_rows() -> None:
    rows = [{"": "peer", "seconds": 3.0}, {"": "ours", "seconds": 0.75, "difference": 4.1e-7}]
    assert table("Speed", rows).splitlines() == [
        "### Speed",
        "",
        "|  | seconds | difference |",
        "| --- | --- | --- |",
        "| peer | 3 |  |",
        "| ours | 0.75 | 4e-07 |",
    ]


def test_tables_are_printed_and_appended_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("benchmarks.growth.measure", lambda settings: seen.append(settings) or "| a table |")
    for _ in range(2):
        main(["--parts", "growth", "--sizes", "S3", "--output", str(tmp_path / "tables.md")])
    assert seen[0].networks == (("S3", 64),)
    assert seen[0].pick("smoke", "usual", "long") == "usual"
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    assert text.count("| a table |") == 2 and "cores; " in text


def test_the_program_finds_itself_after_its_restart() -> None:
    """With a tuned allocator, and without modules of the current folder."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "PYTHON"))
    }
    said = output_of_python("-m", "benchmarks", "--help", env=environment, cwd=ROOT)
    assert "usage: benchmarks" in said


def test_the_reference_and_its_peers_are_measured_with_the_same_weights() -> None:
    found = forwards(Size.parse("S3"), compiled=False)
    assert {"MONAI", REFERENCE, "lean"} <= set(found)
    theirs, ours = found["MONAI"](), found[REFERENCE]()
    state = dict(ours.named_parameters())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in state.values())
    assert (theirs.stem.weight == state["stem.weight"]).all()


def test_whole_scans_are_measured_beside_nnunet_and_get_the_same_labels() -> None:
    pytest.importorskip("nnunetv2")
    rows = end_to_end.measure(SMOKE).splitlines()[4:]
    assert [row.split("|")[1].split("(")[0].strip() for row in rows] == list(end_to_end.CANDIDATES)
    assert rows[1].rsplit("|", 2)[1].strip() == "100.000 %"


def test_every_pass_of_the_native_kernels_is_timed(native_kernels: ctypes.CDLL) -> None:
    text = measure(TimedKernels(native_kernels), Size("S", 3), 32, 1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[4:]]
    calls = {kind: sum(int(row[2]) for row in rows if row[0] == kind) for kind in {row[0] for row in rows}}
    assert {"stem", "fold", "head"} <= set(calls)
    assert calls["depthwise"] == calls["pointwise"] == 26  # blocks of S
