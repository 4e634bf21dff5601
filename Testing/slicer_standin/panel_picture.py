"""Pictures of a panel, drawn by Qt without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

ROUNDS_OF_LAYOUT = 8  # Qt passes a changed height on from one nested layout to the next


def save_picture(
    panel: Any, file: Path, width_px: int = 500, height_px: int | None = None
) -> tuple[int, int]:
    """Write a picture of a panel as PNG, by default as high as its contents need.

    Returns width and height in pixels. Wider than asked means that the contents cannot be narrower and Slicer
    would need a horizontal scroll bar. OSError: the file cannot be written.
    """
    panel.show()
    for _ in range(ROUNDS_OF_LAYOUT):
        panel.resize(width_px, height_px or _natural_height(panel, width_px))
        slicer.app.processEvents()
    image = panel.grab()
    if not image.save(str(file)):
        raise OSError(f"Qt could not write a picture to {file}")
    return image.width(), image.height()


def _natural_height(panel: Any, width_px: int) -> int:
    layout = panel.layout()
    return layout.heightForWidth(width_px) if layout.hasHeightForWidth() else panel.sizeHint.height()
