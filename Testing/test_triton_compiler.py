"""Triton's compiler takes the kernels, which its interpreter cannot tell. It needs no card for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: its kernels are not tested")

ENGINE = Path(__file__).parents[1] / "MedNeXtSegmentation"


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_a_card(capability: int, tmp_path: Path) -> None:
    script = Path(__file__).with_name("compile_triton_kernels.py")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ENGINE),
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, script, str(capability)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    compiled = {line.split(":")[0] for line in run.stdout.splitlines()}
    kernels = {"depthwise_same", "depthwise_down", "depthwise_up", "norm_affine", "pointwise", "pointwise_up"}
    assert compiled == {*kernels, "combine"}
