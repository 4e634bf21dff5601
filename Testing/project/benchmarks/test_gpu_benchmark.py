"""`make bench-gpu` keeps all records when a job fails, and every job runs, here without a card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mednext.network.mednext import MedNeXt
from torch import nn

pytest.importorskip("triton", reason="Triton is not installed: nothing to measure")

from benchmarks.gpu.__main__ import PARTS, measure, run_job, unfinished
from benchmarks.gpu.compiling import Task, tasks_of, warm
from benchmarks.gpu.forward import EAGER, HALVES, OURS
from benchmarks.gpu.records import WHOLE, line_of, tables, told
from benchmarks.gpu.scale import TINY, Scale


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
    kept, whole = run_job("forward:S3", child(text), 60)
    assert kept == {"job": "forward:S3", "measured": "Triton fp16", "ms": 1.5}
    assert whole["failed"] == "exit code 7: an illegal memory access"
    assert unfinished(["forward:S3"], [kept, whole]) == ["forward:S3"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_job_that_hangs_is_ended() -> None:
    (whole,) = run_job("forward:S3", child("import time; time.sleep(600)"), 0.5)
    assert "exit code -9" in whole["failed"]


def test_records_are_read_again_without_a_line_that_was_cut_off() -> None:
    record = {"job": "forward:S3", "measured": OURS, "ms": 1.5}
    assert list(told(["text", line_of(record), line_of(record)[:25]])) == [record]


def test_a_job_that_failed_or_was_cut_off_is_repeated() -> None:
    ended, failed = ({"job": job, "measured": WHOLE, "s": 3.0} for job in ("forward:S3", "forward:L3"))
    records = [ended, failed | {"failed": "exit code 1"}, {"job": "forward:B3", "measured": OURS}]
    jobs = ["forward:S3", "forward:L3", "forward:B3"]
    assert unfinished(jobs, records) == jobs[1:]


def test_the_table_of_a_job_has_its_last_measurements() -> None:
    records = [{"job": "forward:S3", "measured": OURS, "ms": ms} for ms in (9.0, 1.5)]
    text = tables([*records, {"job": "forward:B3", "measured": OURS, "failed": "no|thing"}])
    assert f"| {OURS} | 1.5 |" in text and "| 9 |" not in text and "no/thing" in text


def test_kernels_that_do_not_compile_are_counted_and_the_others_are_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # restores the variable afterwards
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    good = Task("S3", "bottleneck", 32, 90)
    assert warm([Task("S3", "no such block", 32, 90), good, good], 1, 280) == 1
    assert any(tmp_path.rglob("*.cubin"))
    assert {task.block for task in tasks_of("tune:S3", 90)} >= {"enc_block_0", "up_0"}


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Scale:
    """A tiny one, with a plain network of 1 % too large logits: the kernels take minutes without a card."""
    from benchmarks.gpu import forward, training, tuning

    class Plain(nn.Module):
        def __init__(self, network: MedNeXt, dtype: torch.dtype, device: torch.device) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1.01 * self.network(x)

        def tiles(self) -> dict[Any, Any]:
            return {("rule", 1): "tile"}

    for module in (forward, tuning):
        monkeypatch.setattr(module, "TritonMedNeXt", Plain)
    monkeypatch.setattr(training, "use_triton_kernels", lambda *_: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    return TINY


def test_the_forward_job_tells_the_difference_and_the_ratio_to_torch(
    scale: Scale, capsys: pytest.CaptureFixture[str]
) -> None:
    measure("forward:S3", scale)
    records = list(told(capsys.readouterr().out.splitlines()))
    assert [record["measured"] for record in records] == [*HALVES, EAGER, f"{EAGER}, channels-last"]
    assert records[0]["difference"] == pytest.approx(0.01) and records[0]["ms"] > 0
    assert all(f"times {EAGER}" in record for record in records)


@pytest.mark.parametrize("part", PARTS)
def test_every_job_runs(part: str, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    measure(f"{part}:S3", scale)
    records = list(told(capsys.readouterr().out.splitlines()))
    assert records
    assert [record for record in records if "failed" in record] == []
    assert tables(records).count(f"### {part}:S3") == 1
