"""Compile all kernels of networks, with or without a card, and print their registers and spills.

    python -m benchmarks.gpu.compiling --networks S3 L5

Compiled kernels lie in Triton's cache, from which the first pass on a card loads them. Triton brings its own
compiler and assembler; only the launch needs a card.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Bytes of shared memory for a program, by compute capability.
SHARED_BYTES = {80: 166912, 86: 101376, 89: 101376, 90: 232448}
_BLOCKS = (
    *(f"{part}_{level}" for level in range(4) for part in ("enc_block", "down")),
    "bottleneck",
    *(f"up_{level}" for level in (3, 2, 1, 0)),
    "dec_block_0",  # with stem and head; its other blocks are those of the encoder
)
_ADDING = "adding"  # mirrored copies and tiles; the same for all networks
_TRAINING = tuple(f"training_{level}" for level in range(5))


@dataclass(frozen=True)
class Compiled:
    """A kernel with its launch, and the assembler's report on it."""

    kernel: str
    options: str
    registers: int
    stack: int  # bytes of spilled registers
    shared: int

    def __str__(self) -> str:
        return (
            f"{self.kernel:26} {self.registers:3} registers, {self.stack} B spilled, {self.shared:6} shared: "
            f"{self.options}"
        )


class AbsentCard:
    """The methods of a driver that Triton calls before a launch."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@dataclass(frozen=True)
class Task:
    """Kernels that one process compiles: those of a block of a network, or of a level of training."""

    network: str
    block: str
    side: int
    capability: int
    all_tiles: bool = False
    dtype: str = "float16"
    images: int = 1


def compile_task(task: Task) -> list[Compiled]:
    """Compile the kernels of a task; the process must not have Triton interpret."""
    from mednext.network.triton_kernels.tile_choice import Choice
    from triton.runtime import driver
    from triton.runtime.errors import OutOfResources
    from triton.runtime.jit import JITFunction

    seen: list[Compiled] = []

    def instead_of_launching(self: Any, grid: tuple[int, ...]) -> Any:
        def compiled(*arguments: Any, **options: Any) -> None:
            code = self.warmup(*arguments, grid=grid, **options)
            limit = SHARED_BYTES.get(task.capability, SHARED_BYTES[80])
            if code.metadata.shared > limit:
                raise OutOfResources(code.metadata.shared, limit, "shared memory")
            seen.append(_described(self.__name__, options, code))

        return functools.wraps(self.fn)(compiled)

    def launch_all(self: Any, run: Callable[[Any], None]) -> None:
        for tile in self.tiles:
            try:
                run(tile)
            except OutOfResources:
                continue

    driver.set_active(AbsentCard(task.capability))
    JITFunction.__getitem__ = instead_of_launching
    launch = Choice.launch  # the process has other tasks after this one
    Choice.launch = launch_all if task.all_tiles else launch  # type: ignore[method-assign]
    try:
        (_train if task.block in _TRAINING else _add if task.block == _ADDING else _infer)(task)
    finally:
        Choice.launch = launch  # type: ignore[method-assign]
    return list(dict.fromkeys(seen))


def _infer(task: Task) -> None:
    import torch
    from mednext.network.blocks import DownBlock, MedNeXtBlock, UpBlock
    from mednext.network.triton_kernels.block_launches import Answer, TritonBlock, Workspace
    from mednext.network.triton_kernels.stem_and_head_launches import Head, Stem

    from ..candidates import CLASSES
    from .scale import FULL

    meta, dtype = torch.device("meta"), getattr(torch, task.dtype)
    parts = FULL.network(task.network).get_submodule(task.block).modules()
    plain = next(part for part in parts if isinstance(part, MedNeXtBlock))
    block = TritonBlock(plain, dtype, meta)
    level = 4 if task.block == "bottleneck" else int(task.block[-1]) + isinstance(plain, UpBlock)

    def grid(level: int) -> Any:
        return torch.empty(task.images, *(task.side >> level,) * 3, 32 << level, dtype=dtype, device=meta)

    x = grid(level)
    resampled = {DownBlock: level + 1, UpBlock: level - 1}.get(type(plain))
    workspace = Workspace()
    if task.block != "dec_block_0":
        block.run(x, x if resampled is None else grid(resampled), workspace)
        return
    head = Head(torch.empty(32, CLASSES), torch.empty(CLASSES), 32, dtype, meta)
    image, logits = (
        torch.empty(task.images, channels, *x.shape[1:4], device=meta) for channels in (1, CLASSES)
    )
    Stem(torch.empty(32, 1), torch.empty(32), meta).run(image, x)
    block.first_pass(x, x, workspace)
    block.second_pass(x, x, workspace, Answer(head, logits))
    head.run(x, logits)  # where not one program holds all hidden channels


def _add(task: Task) -> None:
    """For models of either pipeline, with uncertainty and without."""
    import torch
    from mednext.inference.tile_sums import Averaged, Copies, Target
    from mednext.inference.triton_kernels.accumulation_launches import add_copies, add_tile

    from ..candidates import CLASSES

    sides, meta = (task.side,) * 3, torch.device("meta")
    logits = torch.empty(8, CLASSES, *sides, device=meta)
    shares = [torch.empty(side, device=meta) for side in sides]
    for regions in (False, True):
        for of_logits, of_probabilities in ((True, False), (False, True), (True, True)):
            averaged = Averaged(CLASSES, of_logits, of_probabilities, regions)
            mean = torch.empty(averaged.outputs, *sides, device=meta)
            add_copies(logits, [Copies(mean, [(1, 3)] * 8, divisor=8)], averaged)
    add_tile([Target(mean, (0, 0, 0))], mean, shares)


def _train(task: Task) -> None:
    import torch
    from mednext_training.network import triton_layers as layers

    kernel, level = int(task.network[1:]), int(task.block[-1])
    side, channels = task.side >> level, 32 << level
    meta, dtype = torch.device("meta"), getattr(torch, task.dtype)

    def grid(side: int) -> Any:
        return torch.empty(2, channels, *(side,) * 3, dtype=dtype, device=meta)

    x, weight = grid(side), torch.empty(channels, 1, *(kernel,) * 3, device=meta)
    vector, affine = torch.empty(channels, device=meta), torch.empty(2, 2, channels, device=meta)
    layers.launch_depthwise(x, weight, 1, False)
    layers.launch_norm(x, vector, vector, 1e-5)
    layers.launch_norm_gradient(x, x, affine, vector)
    layers.launch_kernel_gradient(x, x, kernel, 1)
    if level < 4:  # halved
        layers.launch_depthwise(x, weight, 2, False)
        layers.launch_kernel_gradient(x, grid(side // 2), kernel, 2)
    if level > 0:  # doubled
        layers.launch_depthwise(x, weight, 2, True)
        layers.launch_kernel_gradient(grid(2 * side - 1), x, kernel, 2)


def _described(kernel: str, options: dict[str, Any], code: Any) -> Compiled:
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(code.asm["cubin"])
        run = subprocess.run([program, "-res-usage", cubin], capture_output=True, text=True, check=False)
    found = re.search(r"REG:(\d+) STACK:(\d+)", run.stdout)
    registers, stack = (int(number) for number in found.groups()) if found else (0, -1)
    numbers = {name: value for name, value in options.items() if not isinstance(value, bool)}
    shown = ", ".join(f"{name.lower()} {value}" for name, value in numbers.items())
    return Compiled(kernel, shown, registers, stack, code.metadata.shared)


def warm(tasks: Iterable[Task], processes: int, longest_s: float) -> int:
    """Compile for at most this time, and return the number of tasks that failed or were not finished."""
    os.environ["TRITON_INTERPRET"] = "0"  # of the processes
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        done, left = wait([pool.submit(compile_task, task) for task in dict.fromkeys(tasks)], longest_s)
        return len(left) + sum(future.exception() is not None for future in done)
    finally:
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


def tasks_of(job: str, capability: int) -> list[Task]:
    """The tasks whose kernels a job of `benchmarks.gpu` launches."""
    part, _, name = job.partition(":")
    if part == "training":
        return [Task(name, block, 128, capability) for block in _TRAINING]
    ways_of_parts: dict[str, list[dict[str, Any]]] = {
        "forward": [{"dtype": dtype} for dtype in ("float16", "bfloat16")],
        "batches": [{"images": images} for images in (1, 2, 4, 8)],
        "end_to_end": [{"side": 32}, {"images": 8}],
        "tune": [{"all_tiles": True}],
    }
    tasks = [
        Task(name, block, **{"side": 128, "capability": capability, **way})
        for way in ways_of_parts.get(part, [{}])
        for block in _BLOCKS
    ]
    return [*tasks, Task(name, _ADDING, 128, capability)] if part == "end_to_end" else tasks


def main() -> None:
    """Compile, and print the kernels."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.compiling", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["S3"])
    blocks = [*_BLOCKS, _ADDING, *_TRAINING]
    parser.add_argument("--blocks", nargs="+", default=blocks, help="such as enc_block_0, adding, training_0")
    parser.add_argument("--side", type=int, default=128, help="side of the cube in voxels")
    parser.add_argument("--capability", type=int, default=90, help="compute capability, 90 for 9.0")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    arguments = parser.parse_args()
    os.environ["TRITON_INTERPRET"] = "0"
    seen: list[Compiled] = []
    for network in arguments.networks:
        for block in arguments.blocks:
            task = Task(network, block, arguments.side, arguments.capability, dtype=arguments.dtype)
            found = compile_task(task)
            sys.stdout.write(f"{network} {block}\n" + "".join(f"    {kernel}\n" for kernel in found))
            seen += found
    spilled = sum(kernel.stack > 0 for kernel in seen)
    sys.stdout.write(f"{len(seen)} kernels compiled, {spilled} of them spill registers.\n")


if __name__ == "__main__":
    main()
