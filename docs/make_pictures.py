"""Draw the pictures of the documentation, with the real panel and Slicer's own views on the stand-in.

python docs/make_pictures.py            all of them: a minute, with the default model on the CPU
python docs/make_pictures.py thumbnail  one

The head is the ICBM152 template: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("MedNeXtSegmentation", "Testing", "demo")]

import slicer  # noqa: E402 - found on the path that was just set
import slicer_standin  # noqa: E402

CORE = slicer_standin.start()

from MedNeXtSegmentationLib.icbm152 import BOX_MM, CENTRES_RAS  # noqa: E402 - needs Slicer
from MedNeXtSegmentationLib.sample_data import SAMPLE_NAME, cropAround  # noqa: E402
from panel_driving import MODULE, let_run  # noqa: E402
from slicer_standin.views import SliceView, ThreeDView  # noqa: E402
from template_head import template_file  # noqa: E402

ICONS = ROOT / "MedNeXtSegmentation" / "Resources" / "Icons"
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
PANEL_PX = 400
VIEW_PX = 300
SHOWN_RAS = (27, -18, -17)
COLORS = 256  # in a palette, which makes the files small enough for a repository


def write(file: Path, picture: np.ndarray) -> None:
    """Write a picture (rows, columns, RGB) as a PNG with a palette."""
    Image.fromarray(picture).quantize(COLORS, kmeans=2, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} kB")


def thumbnail() -> None:
    """The button of the sample data: where in the head it is."""
    slicer.mrmlScene.Clear(0)
    head = slicer.util.loadVolume(str(template_file()))
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    box.SetCenter(*CENTRES_RAS["right"])
    box.SetSize(*BOX_MM)
    box.CreateDefaultDisplayNodes()
    display = box.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    display.SetHandlesInteractive(False)
    display.SetFillVisibility(False)
    display.SetLineThickness(0.6)
    display.SetSelectedColor(1, 0.8, 0)
    box.SetNthControlPointVisibility(0, False)
    view = SliceView(CORE, "Thumbnail", "Sagittal", (260, 200))
    view.show(head)
    view.centre((27, -22, 0), 190)
    write(ICONS / f"{SAMPLE_NAME}.png", view.image())


@cache
def panel() -> Any:
    """The module's panel, as it is after the sample data was loaded."""
    slicer.mrmlScene.Clear(0)
    slicer_standin.load_module(MODULE)
    head = slicer.util.loadVolume(str(template_file()))
    cropAround(head, CENTRES_RAS["right"], "T1 right hippocampus")
    slicer.mrmlScene.RemoveNode(head)
    return slicer_standin.show_module("MedNeXtSegmentation")[1]


def crop() -> Any:
    return slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", "T1 right hippocampus")


@cache
def finished() -> Any:
    """The segmentation node, after a click on Segment."""
    if not slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        panel().ui.segmentButton.click()
        let_run(panel())
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]


def panel_picture(width_px: int = PANEL_PX) -> np.ndarray:
    """The panel as it is now (rows, columns, RGB)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "panel.png")
        slicer_standin.save_picture(panel().parent, file, width_px)
        return np.array(Image.open(file).convert("RGB"))


@cache
def slice_view(orientation: str) -> SliceView:
    return SliceView(CORE, f"Tutorial{orientation}", orientation)


@cache
def view_3d() -> ThreeDView:
    return ThreeDView(CORE)


def views(height_px: int) -> np.ndarray:
    """Slicer's layout "Four-Up": slices through both parts of the hippocampus, 3D on the upper right."""
    size = (VIEW_PX, height_px // 2)
    tiles = {}
    for orientation in ("Axial", "Coronal", "Sagittal"):
        view = slice_view(orientation)
        view.window.SetSize(*size)
        view.show(crop())
        view.show_orientation()
        view.node.JumpSlice(*SHOWN_RAS)
        tiles[orientation] = view.image()
    view_3d().window.SetSize(*size)
    view_3d().show_orientation()
    view_3d().look(from_ras=(1.0, 0.3, 0.4))
    upper, lower = [tiles["Axial"], view_3d().image()], [tiles["Coronal"], tiles["Sagittal"]]
    return np.vstack([np.hstack(upper), np.hstack(lower)])


def window() -> np.ndarray:
    """The panel beside the views."""
    panel_part = panel_picture()
    panel_part = panel_part[: len(panel_part) // 2 * 2]
    return np.hstack([panel_part, views(len(panel_part))])


def ready() -> None:
    """The panel when it is opened with the sample data."""
    write(SCREENSHOTS / "tutorial-ready.png", window())


def running() -> None:
    """Progress, and the button that cancels."""
    panel().ui.segmentButton.click()
    let_run(panel(), until=lambda: "left" in panel().ui.stageLabel.text)
    write(SCREENSHOTS / "tutorial-running.png", panel_picture())
    let_run(panel())


def result() -> None:
    """The panel after a run, and what the views show."""
    finished().CreateClosedSurfaceRepresentation()
    write(SCREENSHOTS / "tutorial-result.png", window())


ALL = (thumbnail, ready, running, result)
PICTURES: dict[str, Callable[[], None]] = {picture.__name__: picture for picture in ALL}


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
