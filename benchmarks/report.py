"""Markdown tables of measurements, and the machine and versions that they belong to."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "monai", "nnunetv2", "openvino")

Value = str | float | None
Row = Mapping[str, Value]


def table(title: str, rows: Iterable[Row]) -> str:
    """A Markdown table with four digits of each number; the keys of the rows are its columns."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, ["---"] * len(columns)]
    cells += [[_shown(row.get(name)) for name in columns] for row in rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in cells), ""])


def _shown(value: Value) -> str:
    if value is None or isinstance(value, str):
        return " ".join((value or "").split()).replace("|", "/")
    if value and abs(value) < 1e-3:
        return f"{value:.0e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine() -> str:
    """Processor with its instruction sets, cores, system, day, load of the last minute, versions of peers."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts = {name.strip(): value.split() for name, value in lines}
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16") if name in facts.get("flags", [])]
    processor = " ".join(facts.get("model name", [platform.machine()]))
    load = f"load {os.getloadavg()[0]:.1f}, " if hasattr(os, "getloadavg") else ""
    installed = {found.name: found.version for found in metadata.distributions() if found.name in PACKAGES}
    versions = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
    return (
        f"{', '.join([processor, *sets])}; {os.cpu_count()} cores; {platform.system()}; "
        f"{datetime.now(UTC):%Y-%m-%d}; {load}Python {platform.python_version()}, {versions}"
    )
