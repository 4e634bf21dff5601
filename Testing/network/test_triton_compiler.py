"""Triton's compiler accepts the kernels, which the interpreter cannot check. It needs no card."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: its kernels are not tested")

ROOT = Path(__file__).parents[2]
INFERENCE = {
    "depthwise_same",
    "depthwise_down",
    "depthwise_up",
    "norm_affine",
    "pointwise",
    "pointwise_up",
    "combine",
    "stem",
    "head",
}
ADDING = {"copies_to_mean", "tile_to_sums"}
TRAINING = {
    "depthwise_scatter", "depthwise_kernel_gradient", "channel_moments", "normalise", "normalise_sums",
    "normalise_gradient",
}  # fmt: skip


@pytest.mark.parametrize(
    ("capability", "blocks", "kernels"),
    [
        (80, ["dec_block_0"], {"depthwise_same", "norm_affine", "pointwise", "stem"}),
        # up_3 is so small that its hidden channels are split
        (
            90,
            ["down_0", "up_3", "dec_block_0", "adding", "training_1"],
            INFERENCE | ADDING | TRAINING,
        ),
    ],
)
def test_the_kernels_compile_for_a_card_without_spilling_registers(
    capability: int, blocks: list[str], kernels: set[str], tmp_path: Path
) -> None:
    paths = [ROOT, ROOT / "MedNeXtSegmentation", ROOT / "training"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "TRITON_CACHE_DIR": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu.compiling",
        "--networks",
        "S3",
        "--side",
        "64",
    ]
    run = subprocess.run(
        [*command, "--capability", str(capability), "--blocks", *blocks],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert kernels <= set(re.findall(r"^    (\w+) ", run.stdout, re.MULTILINE))
    assert " 0 of them spill registers" in run.stdout, run.stdout
