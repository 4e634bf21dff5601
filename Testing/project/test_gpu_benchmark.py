"""`make bench-gpu` keeps all records when a job fails, and every job runs, here without a card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mednext.network.mednext import MedNeXt
from torch import nn

from benchmarks.gpu.__main__ import JOBS, TUNING, finished, run_job
from benchmarks.gpu.compiling import Task, tasks_of, warm
from benchmarks.gpu.records import EAGER, MARK, OURS, Record, append, read, tables, told

pytest.importorskip("triton", reason="Triton is not installed: nothing to measure")

PARTS = sorted({job.partition(":")[0] for job in (*JOBS, *TUNING)})


def child(text: str) -> list[str]:
    """A program in place of a job."""
    return [sys.executable, "-c", text]


def test_records_of_a_job_that_crashed_are_kept(tmp_path: Path) -> None:
    text = """
import os, sys
from benchmarks.gpu.records import tell
print("some library says this")
tell("forward:S3", "Triton fp16", ms=1.5)
sys.stderr.write("an illegal memory access")
sys.stderr.flush()
os._exit(7)
"""
    kept, failed, seconds = run_job("forward:S3", child(text), 60, tmp_path)
    assert kept == Record("forward:S3", "Triton fp16", {"ms": 1.5})
    assert failed.job == "failed" and failed.what == "forward:S3"
    assert failed.values["why"] == "exit code 7: an illegal memory access"
    assert seconds.job == "seconds"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_job_that_hangs_is_ended(tmp_path: Path) -> None:
    records = list(run_job("forward:S3", child("import time; time.sleep(600)"), 0.5, tmp_path))
    assert "ended after" in str(records[0].values["why"])


def test_records_are_read_again_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "gpu.jsonl"
    record = Record("forward:S3", OURS, {"ms": 1.5})
    append(file, record)
    with file.open("a") as more:
        more.write('{"job": "forward:L3", "wh')
    assert read(file) == [record]
    assert told("@{}") is None and told("text") is None and MARK == "@"


def test_a_job_that_failed_is_repeated() -> None:
    kept, half = Record("forward:S3", OURS, {"ms": 1.5}), Record("forward:L3", OURS, {"ms": 1.5})
    assert finished([kept, half, Record("failed", "forward:L3", {"why": "exit code 1"})]) == [kept]


def test_the_last_measurement_stands_beside_its_goal() -> None:
    records = [
        Record("forward:S3", OURS, {"ms": 9.0}),
        Record("forward:S3", OURS, {"ms": 1.5, f"times {EAGER}": 10.0}),
        Record("forward:B3", OURS, {"failed": "no|thing"}),
    ]
    text = tables(records)
    assert f"| forward:S3, {OURS}, ms | 1.5 | at most 2.0 |" in text
    assert f"| forward:S3, {OURS}, times {EAGER} | 10 | at least 6 |" in text
    assert f"| forward:B3, {OURS}, ms | not measured | at most 2.3 |" in text
    assert "no/thing" in text
    assert "Goals" not in tables(records, tiny=True)


def test_kernels_are_compiled_by_several_processes_of_which_one_may_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # restores the variable afterwards
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    good = Task("S3", "training_4", 32, 90)
    assert warm([good, good, Task("S3", "no such block", 32, 90)], 2, 280) == 1
    assert {task.block for task in tasks_of("tune:S3", 90)} >= {"enc_block_0", "up_0"}


def test_the_forward_job_measures_the_kernels_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like `--smoke`, but in one precision: the interpreter is slow."""
    from benchmarks.gpu import forward, job
    from benchmarks.gpu.scale import TINY

    monkeypatch.setattr(forward, "HALVES", {OURS: torch.float16})
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    job.run("forward:S3", TINY)
    records = [record for line in capsys.readouterr().out.splitlines() if (record := told(line))]
    first, *last = records
    assert [record.what for record in records] == [OURS, OURS, EAGER, "eager fp16, channels-last"]
    assert 0 < float(first.values["difference"]) < 2e-2 and float(first.values["ms"]) > 0
    assert all(f"times {EAGER}" in record.values for record in last)
    assert f"| {OURS} |" in tables(records, tiny=True)


@pytest.mark.parametrize("part", PARTS)
def test_every_job_runs(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the plain network, since the kernels take minutes on Triton's interpreter."""
    from benchmarks.gpu import forward, job, training
    from benchmarks.gpu.scale import TINY

    class Plain(nn.Module):
        def __init__(self, network: MedNeXt, dtype: torch.dtype, device: torch.device) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)

        def tiles(self) -> dict[Any, Any]:
            return {("rule", 1): "tile"}

    monkeypatch.setattr(forward, "TritonMedNeXt", Plain)
    monkeypatch.setattr(training, "use_triton_kernels", lambda *_: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    job.run(f"{part}:S3", TINY)
    records = [record for line in capsys.readouterr().out.splitlines() if (record := told(line))]
    assert records
    assert [record for record in records if {"failed"} & set(record.values)] == []
    assert {record.values.get("right", "yes") for record in records} == {"yes"}
    assert tables(records).count(f"### {part}:S3") == 1
