"""What the numbers were measured on: processor, load and versions, in one line for above a table."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "monai", "nnunetv2", "openvino")


def machine() -> str:
    """Processor, cores, memory, operating system."""
    return f"{_processor()}, {os.cpu_count()} cores, {_memory()}{platform.system()}"


def conditions() -> str:
    """Day, versions of the peers, and how busy the machine was in the last minute besides this program."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    load = f"; load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}{load}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    found = f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"
    known = [name for name in ("avx2", "avx512f", "avx512_bf16") if name in facts.get("flags", "").split()]
    return f"{found} with {', '.join(known)}" if known else found


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return ""
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB, "


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
