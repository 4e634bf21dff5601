"""The memory of a run is reported before it begins, and so is a lack of memory or disk."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model
from fixtures.panel.driving import choose
from fixtures.worker.dialogue import Dialogue
from hypothesis import given
from hypothesis import strategies as st
from mednext.cli import main
from mednext.errors import GeometryError, MissingPackageError, OutOfMemoryError
from mednext.images.formats.image_files import write_image
from mednext.images.geometry import Geometry, Roi
from mednext.images.volume import Volume
from mednext.inference.memory import check as memory_check
from mednext.inference.memory.plan import (
    MIB,
    MemoryPlan,
    PlannedRun,
    parameters,
    plan_memory,
    planned_run,
    process_bytes,
)
from mednext.inference.options import Options
from mednext.library.model_by_name import load_bundle
from mednext.locating.memory import plan_of
from mednext.locating.segment import segment
from mednext.model.description import Channel, Fold, NetworkSpec
from mednext.system import free_memory as memory
from mednext.system.failed_import import explained
from mednext.worker.protocol import Order

CT = Geometry((512, 512, 400), (0.8, 0.8, 1.5))
INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)
S_RATIOS, S_BLOCKS = (2,) * 9, (2,) * 9
S_MODEL = tiny_model(
    network=NetworkSpec("S", 1, 14, 3, S_RATIOS, S_BLOCKS), patch=(128, 128, 128), spacing=(1.0, 1.0, 1.0)
)


def plan(model=S_MODEL, **changes):
    return plan_memory(model, replace(PlannedRun(CT, (INT16,), 1), **changes))


def test_planning_needs_no_torch():
    program = "import mednext.inference.memory.plan, sys; assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize(
    "network",
    [
        TINY_NETWORK,
        S_MODEL.network,
        replace(
            TINY_NETWORK,
            kernel_size=5,
            expansion=(3, 4, 8, 8, 8, 8, 8, 4, 3),
            blocks=(3, 4, 4, 4, 4, 4, 4, 4, 3),
        ),
        replace(TINY_NETWORK, dimensions=2, channels=16),
        replace(TINY_NETWORK, down_expansion=(3, 4, 8, 8)),
    ],
)
def test_the_size_of_a_network_is_known_to_a_few_per_cent(network):
    real = sum(parameter.numel() for parameter in network.build().parameters())
    assert parameters(network) == pytest.approx(real, rel=0.06)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process as Linux tells it")
def test_the_plan_of_a_real_run_is_above_its_peak_and_not_by_more_than_half(tmp_path):
    network = replace(TINY_NETWORK, channels=16, expansion=(2,) * 9)
    bundle = tiny_bundle(tmp_path / "wide", network=network, patch=(64, 64, 64), mirror_axes=())
    worker = Dialogue()
    worker.events_until("devices")
    worker.segment(1, tmp_path / "run", Order(str(bundle.path), Options("cpu")), (64, 64, 80))
    assert worker.events_until("done", "error")[-1]["event"] == "done"
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    worker.end()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    planned = plan_memory(bundle.model, PlannedRun(Geometry((80, 64, 64), (1, 1, 1)), (FLOAT32,), 1)).host
    assert peak < planned < 1.5 * peak


def test_a_torch_with_the_libraries_of_cuda_takes_more_memory_also_without_a_card(tmp_path, monkeypatch):
    before = process_bytes()
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    without = process_bytes()
    (tmp_path / "torch" / "lib" / "libtorch_cuda.so").touch()
    assert before >= without
    assert process_bytes() - without >= (380 - 219) * 0.99 * MIB


@pytest.mark.parametrize(("uncertainty", "measured_mib"), [(False, 2_497), (True, 3_760)])
def test_a_ct_of_512_x_512_x_400_voxels_is_planned_with_the_measured_memory(
    monkeypatch, uncertainty, measured_mib
):
    """The peaks of such runs on Linux, of which the first tiles were real, and Slicer's copy."""
    monkeypatch.setattr("mednext.inference.memory.plan.library_file", lambda: Path("library"))
    measured = measured_mib * MIB + math.prod(CT.size) * (5 if uncertainty else 1)
    planned = plan(replace(S_MODEL, mirror_axes=()), uncertainty=uncertainty).host
    assert measured < planned < 1.2 * measured


@pytest.mark.parametrize(("pipeline", "measured_mib"), [("nnunet_v1", 1_919), ("nnunet_v2", 1_511)])
def test_where_the_patient_is_takes_memory_while_an_image_is_prepared(monkeypatch, pipeline, measured_mib):
    """The peaks of such runs on Linux, with a network that takes nothing, and Slicer's copy."""
    monkeypatch.setattr("mednext.inference.memory.plan.library_file", lambda: Path("library"))
    grid = Geometry((400, 400, 300), (1.2, 1.2, 1.4))
    masked = replace(
        S_MODEL, channels=(Channel("MR", "MR", "zscore_masked"),), patch=(32, 32, 32), pipeline=pipeline
    )
    measured = measured_mib * MIB + math.prod(grid.size)
    assert measured < plan(masked, grid=grid, voxels=(FLOAT32,)).host < 1.2 * measured


@pytest.mark.parametrize(
    ("voxels", "size", "spacing", "measured_mib"),
    [
        ([np.int16], (512, 512, 300), (1.0, 1.0, 1.0), 1_124),
        ([np.int16], (400, 400, 200), (1.2, 1.2, 2.0), 1_117),
        ([np.uint16], (512, 512, 300), (0.53, 0.53, 1.0), 1_144),
        ([np.int16] * 4, (512, 512, 200), (0.53, 0.53, 1.0), 1_239),
        ([np.float32] * 4, (512, 512, 200), (0.53, 0.53, 1.0), 1_920),
    ],
    ids=["as large", "larger", "smaller, as float32", "four channels", "four channels of float32"],
)
def test_images_take_memory_in_their_type_and_while_they_are_resampled(
    monkeypatch, voxels, size, spacing, measured_mib
):
    """The peaks of such runs on Linux, with a network that takes next to nothing."""
    monkeypatch.setattr("mednext.inference.memory.plan.library_file", lambda: Path("library"))
    small = replace(S_MODEL, patch=(32, 32, 32), mirror_axes=())
    planned = plan(small, grid=Geometry(size, spacing), voxels=tuple(map(np.dtype, voxels))).worker
    assert measured_mib * MIB < planned < 1.2 * measured_mib * MIB


def test_mirrored_copies_take_memory_of_their_own_on_a_card():
    plain = replace(S_MODEL, mirror_axes=())
    assert plan(S_MODEL, device="cuda").device > plan(plain, device="cuda").device
    assert plan(S_MODEL, uncertainty=True) == plan(plain, uncertainty=True)


def test_the_plan_follows_the_quality():
    five = replace(S_MODEL, folds=tuple(Fold(index, f"fold_{index}", "0" * 64) for index in range(5)))

    def of(options, model=five, device="cpu"):
        return plan_memory(model, planned_run(model, options, CT, (INT16,), device))

    fast, best = Options(quality="fast"), Options(quality="best")
    assert of(fast) == of(Options(), replace(five, folds=five.folds[:1], mirror_axes=(), step=0.75))
    assert of(best) == of(Options(), replace(five, step=0.25))
    assert of(fast).host < of(Options()).host < of(best).host
    assert of(Options(mirroring=False), device="cuda").device < of(Options(), device="cuda").device


@given(
    st.tuples(*[st.integers(2, 700)] * 3),
    st.tuples(*[st.floats(0.1, 10)] * 3),
    st.integers(1, 5),
    st.sampled_from(["cpu", "cuda", "mps"]),
)
def test_more_work_never_takes_less(size, spacing, folds, device):
    run = PlannedRun(Geometry(size, spacing), (INT16,), folds, device)
    less = plan_memory(S_MODEL, run)
    larger = tuple(n + 10 for n in size)
    for more in (
        replace(run, folds=folds + 1),
        replace(run, grid=Geometry(larger, spacing)),
        replace(run, voxels=(INT16, INT16)),
        replace(run, uncertainty=True),
    ):
        planned = plan_memory(S_MODEL, more)
        assert planned.host >= less.host
        assert planned.device >= less.device
        assert planned.disk >= less.disk


def test_a_region_takes_less_and_must_lie_in_the_image():
    region = Roi((-200.0, -200.0, 100.0), (-150.0, -150.0, 150.0))
    assert plan(roi=region, uncertainty=True).host < plan(uncertainty=True).host
    with pytest.raises(GeometryError):
        plan(roi=Roi((1e4, 1e4, 1e4), (2e4, 2e4, 2e4)))


def test_networks_on_a_card_take_its_memory_and_less_of_the_computers(monkeypatch):
    monkeypatch.setattr("mednext.inference.memory.plan.library_file", lambda: None)
    assert plan(device="cpu").device == 0
    assert plan(device="cuda").device > 2**30
    assert plan(device="cuda").host < plan(device="cpu").host
    assert plan(device="mps").device == 0  # it is the computer's own


def test_a_card_holds_the_image_and_while_that_is_made_more_of_it():
    image = 410 * 410 * 600 * 4  # at 1 mm
    one, two = (plan(device="cuda", voxels=(INT16,) * channels).device for channels in (1, 2))
    assert one > 4 * image  # the result, and a channel at, before and after a step
    assert image < two - one < 1.2 * image
    assert plan(device="cuda").host < plan(device="cpu").host - image  # none of it


def test_free_memory_on_linux_is_the_available_memory_within_the_limit_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.free_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:  9000 kB\nMemAvailable:    8000 kB\nHugePages_Total: 0\n"
    )
    assert memory.free_memory(tmp_path) == 8000 * 1024
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text("6000000\n")
    (cgroup / "memory.stat").write_text("anon 5000000\ninactive_file 500000\n")
    assert memory.free_memory(tmp_path) == 8000 * 1024
    (cgroup / "memory.max").write_text("7000000\n")
    assert memory.free_memory(tmp_path) == memory.obtainable_memory(tmp_path) == 1_500_000
    (cgroup / "memory.high").write_text("6500000\n")
    assert memory.free_memory(tmp_path) == 1_000_000


@pytest.mark.parametrize(
    ("line", "folder", "limit", "used", "cached"),
    [
        ("0::/user/job/step", "user/job", "memory.max", "memory.current", "inactive_file"),
        (
            "4:memory:/slurm/job/step",
            "memory/slurm/job",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_a_job_around_the_process_counts(
    tmp_path, monkeypatch, line, folder, limit, used, cached
):
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 8000 kB\nSwapFree: 2000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text(f"9:cpu:/elsewhere\n{line}\n")
    assert memory.free_memory(tmp_path) == 8000 * 1024
    assert memory.obtainable_memory(tmp_path) == 10000 * 1024
    group = tmp_path / "sys/fs/cgroup" / folder
    group.mkdir(parents=True)
    for file, text in ((limit, "7000000"), (used, "6000000"), ("memory.stat", f"{cached} 500000")):
        (group / file).write_text(f"{text}\n")
    assert memory.free_memory(tmp_path) == memory.obtainable_memory(tmp_path) == 1_500_000


def under_limit(program: str, limit: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a shell with a limit such as "-v 4000000" (KiB)."""
    command = ["sh", "-c", f'ulimit {limit}; exec "$0" "$@"', sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command += map(str, arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how much of the limit is taken")
@pytest.mark.parametrize("limit", ["-v 4000000", "-d 4000000"])
def test_the_limit_of_a_shell_counts(limit):
    answer = under_limit("import mednext.system.free_memory as memory; print(memory.free_memory())", limit)
    assert 0 < int(answer.stdout) < 4_000_000 * 1024


ONE_GB = """
import sys
from mednext.cli import main

code = main(["segment", *sys.argv[1:]])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory of a process")
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1"])
def test_a_machine_with_too_little_memory_is_told_the_numbers_before_torch_takes_any(tmp_path, device):
    network = replace(S_MODEL.network, num_classes=3)
    bundle = tiny_bundle(tmp_path / "small", network=network, patch=(128, 128, 128))
    voxels = np.arange(300 * 128 * 128).astype(np.int16).reshape(300, 128, 128)
    write_image(tmp_path / "in.nrrd", voxels, Geometry((128, 128, 300), (1.0, 1.0, 1.0)))
    output = tmp_path / "out.nrrd"
    arguments = [tmp_path / "in.nrrd", "-o", output, "--model", bundle.path, "--device", device]
    answer = under_limit(ONE_GB, "-v 1000000", *arguments)
    assert answer.returncode == 2, answer.stderr
    assert re.search(r"needs about \d\.\d GB of memory, and 0\.\d GB are available", answer.stderr)
    assert not output.exists()


def test_torch_that_finds_no_memory_is_not_taken_for_a_broken_one():
    told = explained(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
    assert isinstance(told, OutOfMemoryError)
    assert re.search(r"not enough memory for the engine, [\d.]+ GB are available .*limit", str(told))
    assert isinstance(explained(ImportError("No module named 'torch'")), MissingPackageError)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory of a process")
def test_a_limit_below_what_the_command_itself_needs_is_explained_too(tmp_path):
    program = "import sys; from mednext.cli import main; sys.exit(main(sys.argv[1:]))"
    write_image(tmp_path / "in.nrrd", np.eye(200)[None].repeat(200, 0), Geometry((200, 200, 200), (1, 1, 1)))
    arguments = ["segment", tmp_path / "in.nrrd", "-o", tmp_path / "out.nrrd"]
    answer = under_limit(program, "-v 300000", *arguments)
    assert answer.returncode == 2
    assert re.search(r"^mednext: .*not enough memory.*\.$", answer.stderr, re.M)


HEAD = Geometry((512, 512, 320), (0.5, 0.5, 0.6), (-128.0, -128.0, -96.0))


def test_where_both_sides_are_found_only_their_boxes_are_planned_for_the_networks():
    model = load_bundle("hippocampus").model
    found, whole = (
        plan_of(model, Options("cpu", locate=locate), HEAD, [FLOAT32], "cpu") for locate in ("auto", "none")
    )
    assert found.worker < 0.9 * whole.worker
    assert found.host - found.worker == whole.host - whole.worker  # the result has the whole grid
    boxes = {"left": Roi((-45, -48, -31), (-9, 4, 9)), "right": Roi((9, -48, -31), (45, 4, 9))}
    given = plan_of(model, Options("cpu", boxes=boxes), HEAD, [FLOAT32], "cpu")
    assert given.worker <= found.worker


def test_a_run_in_boxes_is_refused_before_anything_is_looked_for(monkeypatch):
    monkeypatch.setattr(memory_check, "obtainable_memory", lambda: 100_000_000)
    array = np.random.default_rng(0).integers(0, 200, (1, 320, 256, 256), np.uint8)
    head = Volume(array, Geometry((256, 256, 320), (1.0, 1.0, 0.6)))
    with pytest.raises(OutOfMemoryError, match=r"256 x 256 x 320 voxels .* 0\.1 GB are available"):
        segment(head, "hippocampus", device="cpu", insist=True)


@pytest.fixture
def micrometres(tmp_path, monkeypatch):
    """A good image and one of 50 µm whose spacing was stored as 50 mm, on a machine of 8 GB."""
    monkeypatch.setattr(memory_check, "obtainable_memory", lambda: 8_000_000_000)
    image = np.random.default_rng(0).normal(100, 20, (16, 32, 32)).astype(np.float32)
    write_image(tmp_path / "in.nrrd", image, Geometry((32, 32, 16), (1.0, 1.0, 1.0)))
    write_image(tmp_path / "a.nrrd", image, Geometry((32, 32, 16), (50.0, 50.0, 50.0)))
    return tmp_path


def test_an_image_that_becomes_too_large_is_refused_with_spacing_size_and_memory(
    micrometres, tmp_path_factory, capsys
):
    model = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path
    options = ["--model", str(model), "--device", "cpu"]
    assert main(["segment", str(micrometres / "a.nrrd"), "-o", str(micrometres / "o.nrrd"), *options]) == 2
    words = (
        r"32 x 32 x 16 voxels of \(50, 50, 50\) mm.* 1600 x 1600 x \d+ voxels.*[\d.]+ GB.* 8\.0 GB.*spacing"
    )
    assert re.search(words, capsys.readouterr().err)
    assert main(["segment-folder", str(micrometres), str(micrometres / "out"), *options]) == 3
    assert (micrometres / "out" / "in.seg.nrrd").exists()
    assert "a: failed" in capsys.readouterr().out


def test_free_memory_on_a_mac_is_counted_in_pages():
    pages = {"vm.page_free_count": 10, "vm.page_purgeable_count": 5, "vm.page_pageable_external_count": None}
    assert memory.macos_free({**pages, "hw.pagesize": 16384}) == 15 * 16384
    assert memory.macos_free(dict.fromkeys([*pages, "hw.pagesize"])) is None


def test_free_disk_of_a_folder_that_is_not_there_is_unknown(tmp_path):
    assert memory.free_disk(tmp_path) > 0
    assert memory.free_disk(tmp_path / "absent") is None


@pytest.fixture
def view():
    """The module of the panel's part, after Slicer's classes are there."""
    from MedNeXtSegmentationLib.panel.run import memory_view

    return memory_view


def update(widget):
    """As after any change of a choice."""
    widget.ui.mirroringBox.checked = not widget.ui.mirroringBox.checked


def test_the_panel_shows_the_needed_and_the_free_memory(ready, view, monkeypatch):
    monkeypatch.setattr(view, "free_memory", lambda: 14_200_000_000)
    update(ready)
    assert ready.ui.memoryLabel.text == "About 0.4 GB; 14.2 GB are free."
    assert not ready.ui.warningLabel.visible


def test_temporary_files_in_memory_count(ready, view, monkeypatch):
    monkeypatch.setattr(view, "plan_of", lambda *_: MemoryPlan(1_000_000_000, 0, 2_000_000_000, 900_000_000))
    monkeypatch.setattr(view, "free_memory", lambda: 14_200_000_000)
    for in_memory, needed in ((True, "3.0"), (False, "1.0")):
        monkeypatch.setattr(view, "lies_in_memory", lambda _, answer=in_memory: answer)
        update(ready)
        assert ready.ui.memoryLabel.text == f"About {needed} GB; 14.2 GB are free."


def test_a_folder_in_memory_is_known_by_its_mount(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    mounts = (
        f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path}/in tmpfs rw 0 0\n/dev/vdb {tmp_path}/in/disk xfs rw 0 0\n"
    )
    (tmp_path / "proc/self/mounts").write_text(mounts)
    answers = {
        name: memory.lies_in_memory(tmp_path / name, tmp_path) for name in ("in/a", "in/disk/a", "out")
    }
    assert answers == {"in/a": True, "in/disk/a": False, "out": False}
    assert not memory.lies_in_memory(tmp_path, tmp_path / "absent")


def test_a_task_without_weights_takes_no_memory(ready):
    ready.ui.advancedButton.collapsed = False
    assert ready.ui.memoryLabel.visible
    choose(ready, "BTCV")
    assert not ready.ui.memoryLabel.visible
    assert not ready.ui.memoryTitle.visible


def test_too_little_memory_or_disk_is_a_warning_with_a_remedy(ready, view, monkeypatch):
    monkeypatch.setattr(view, "free_memory", lambda: 100_000_000)
    monkeypatch.setattr(view, "free_disk", lambda _: 1000)
    update(ready)
    text = ready.ui.warningLabel.text
    assert "of memory, and 0.1 GB are free: close other programs, or limit the run to a region." in text
    assert "GB for temporary files" in text
    assert ready.ui.segmentButton.enabled  # the user may know better


def test_a_small_card_is_warned_of_once_the_engine_has_told_of_it(ready, view, monkeypatch):
    from mednext.system.devices import Accelerator

    class Client:
        told = None

        def accelerators(self):
            return self.told

    client = Client()
    monkeypatch.setattr(view, "shared_client", lambda: client)
    ready.ui.deviceBox.setCurrentIndex(ready.ui.deviceBox.findText("auto"))
    assert not ready.ui.warningLabel.visible
    client.told = (Accelerator("cuda", "Tiny card", 400_000_000),)
    import slicer

    begin = time.monotonic()
    while not ready.ui.warningLabel.visible and time.monotonic() - begin < 100:
        slicer.app.processEvents()
    assert "on Tiny card, which has 0.4 GB: it may go on on the CPU" in ready.ui.warningLabel.text
    assert "On Tiny card about" in ready.ui.memoryLabel.text
    ready.ui.deviceBox.setCurrentIndex(ready.ui.deviceBox.findText("cpu"))
    assert not ready.ui.warningLabel.visible


def test_a_second_fold_is_checked_beside_the_activations_of_the_first(monkeypatch: pytest.MonkeyPatch):
    """Five folds of S took 2,176 MiB, where no more than their weights had been added to the plan of one."""
    monkeypatch.setattr("mednext.inference.memory.plan.library_file", lambda: Path("library"))
    one, two = (plan(grid=Geometry((128, 128, 96), (1, 1, 1)), folds=folds).worker for folds in (1, 2))
    weights = 3 * 4 * parameters(S_MODEL.network)
    assert two - one > weights + 300 * MIB
