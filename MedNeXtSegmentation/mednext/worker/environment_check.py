"""Check this Python for all that the engine needs: `python -m mednext.worker.environment_check`.

Importing a broken PyTorch may crash or hang the process, so this is a program of its own. It prints its facts
as a line of JSON before every step that may crash, and at the end; the last line counts. It needs nothing but
Python itself.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from ..library.folder_locations import models_folder
from .environment_facts import Card, Facts, PackageFacts, TorchFacts

PACKAGES = ("numpy", "SimpleITK", "requests", "safetensors")

_MIB = 2**20
_NVIDIA_SMI_S = 20.0


def main() -> int:
    """Print the facts; return the exit code."""
    facts = Facts(
        pid=os.getpid(),
        python=platform.python_version(),
        platform=platform.platform(),
        machine=platform.machine(),
        system=sys.platform,
        prefix=sys.prefix,
        site_packages=sysconfig.get_paths()["purelib"],
        long_paths=_long_paths(),
        memory_mib=_memory_mib(),
    )
    _measure_disks(facts)
    facts.packages = {name: PackageFacts(_version(name)) for name in PACKAGES}
    facts.torch = TorchFacts(_version("torch"), folder=_folder_of("torch"))
    _step(facts, "nvidia-smi")
    facts.nvidia_cards = _nvidia_cards()
    for name, package in facts.packages.items():
        _step(facts, f"import {name}")
        package.error = _import_error(name)
    _step(facts, "import torch")
    facts.torch.error = _import_error("torch")
    if not facts.torch.error:
        _step(facts, "use torch")
        _look_at_torch(facts)
        _step(facts, "import the engine")
        facts.engine_error = _import_error("safetensors.torch") or _import_error("mednext.inference.segment")
    _step(facts, "done")
    return 0


def _step(facts: Facts, step: str) -> None:
    facts.step = step
    sys.stdout.write(f"\n{facts.to_line()}\n")  # a library may have printed half a line
    sys.stdout.flush()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _folder_of(package: str) -> str | None:
    """The folder of a package, found without importing it."""
    spec = importlib.machinery.PathFinder.find_spec(package)
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return str(Path(places[0]).parents[1 if spec.origin else 0]) if places else None


def _import_error(module: str) -> str | None:
    """Why a module cannot be imported; None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  # boundary: a broken package raises anything
        sys.stderr.write(traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return None


def _look_at_torch(facts: Facts) -> None:
    """Add PyTorch's build and devices, and the outcome of a trial computation, to the facts."""
    import torch

    found = facts.torch
    try:
        found.version = str(torch.__version__)
        found.build = _build(torch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.cuda = torch.cuda.is_available()
            found.mps = torch.backends.mps.is_available()
        found.warnings = [str(warning.message) for warning in caught]
        if found.cuda:
            cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
            facts.devices = [Card(card.name, memory_mib=card.total_memory // _MIB) for card in cards]
        elif found.mps:
            facts.devices = [Card(f"Apple {platform.machine()} (MPS)")]
        _compute(torch, "cuda" if found.cuda else "mps" if found.mps else "cpu")
    except Exception as error:  # noqa: BLE001  # boundary: a broken PyTorch raises anything
        sys.stderr.write(traceback.format_exc())
        found.trial_error = f"{type(error).__name__}: {error}"


def _build(torch: Any) -> str:
    if torch.version.cuda:
        return f"cu{torch.version.cuda.replace('.', '')}"
    if torch.version.hip:
        return f"rocm{torch.version.hip}"
    return "cpu"


def _compute(torch: Any, device: str) -> None:
    """Compute a little on a device. Raises where numpy, PyTorch and the card do not fit together."""
    import numpy as np

    total = (torch.from_numpy(np.ones((1, 1, 4, 4), np.float32)).to(device) * 2).sum().item()
    if total != 32:
        raise ArithmeticError(f"16 times 2 is {total} on {device}")


def _nvidia_cards() -> list[Card]:
    """The cards according to the NVIDIA driver; none without a driver."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - the driver's program, and no shell
            [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_NVIDIA_SMI_S,
            check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    return [Card(row[0], row[1], int(row[2]) if row[2].isdecimal() else 0) for row in rows if len(row) == 3]


def _measure_disks(facts: Facts) -> None:
    facts.folders = {
        "temporary": tempfile.gettempdir(),
        "models": str(models_folder()),
        "packages": facts.site_packages,
    }
    for name, folder in facts.folders.items():
        there = next((path for path in (Path(folder), *Path(folder).parents) if path.exists()), None)
        if there:
            facts.free_mib[name] = shutil.disk_usage(there).free // _MIB


def _memory_mib() -> int | None:
    if sys.platform == "win32":
        kib = ctypes.c_ulonglong()
        told = ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kib))
        return kib.value // 1024 if told else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    except (ValueError, OSError):
        return None


def _long_paths() -> bool | None:
    if sys.platform != "win32":
        return None
    import winreg

    key = r"SYSTEM\CurrentControlSet\Control\FileSystem"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return bool(winreg.QueryValueEx(opened, "LongPathsEnabled")[0])
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
