"""The plot of docs/performance.md, drawn from its own tables."""

from __future__ import annotations

import re
from pathlib import Path

from .page import PAGE, ROOT

PICTURE = ROOT / "Resources" / "Screenshots" / "performance.png"
COLORS = {  # peers grey, ours blue
    "MONAI": "#d0d0d0",
    "reference": "#9a9a9a",
    "torch.compile, channels-last": "#b5b5b5",
    "OpenVINO fp32": "#777777",
    "lean": "#9ecae1",
    "native fp32": "#3182bd",
    "native bf16": "#08306b",
}

_TABLE = re.compile(r"^### (MedNeXt-\S+ k\d), (\d+)³.*\n\n((?:\|.*\n)+)", re.MULTILINE)


def draw(page: Path = PAGE, picture: Path = PICTURE) -> None:
    """How many times as fast as the reference, by network."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    tables = _ratios(page.read_text(encoding="utf-8"))
    names = [name for name in COLORS if any(name in ratios for ratios in tables.values())]
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [group + (number - (len(names) - 1) / 2) * width for group in range(len(tables))]
        heights = [ratios.get(name, 0.0) for ratios in tables.values()]
        bars = axes.bar(places, heights, width, label=name, color=COLORS[name])
        axes.bar_label(bars, [f"{height:.1f}" if height else "" for height in heights], fontsize=6)
    axes.set_xticks(range(len(tables)), list(tables))
    axes.set_ylabel("times as fast as the reference")
    axes.axhline(1, color="grey", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _ratios(text: str) -> dict[str, dict[str, float]]:
    """The column "times the reference" of each table, by the network that it is about."""
    found = {}
    for network, side, table in _TABLE.findall(text):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]
        if len(rows[0]) == 5:  # name, seconds, ratio, difference, memory
            found[f"{network.removeprefix('MedNeXt-')}, {side}³"] = {row[0]: float(row[2]) for row in rows}
    return found
