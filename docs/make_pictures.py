"""Draw the pictures of the documentation, with the real panel and Slicer's own views on the stand-in.

make pictures                               all of them: two minutes, with the default model on the CPU
python docs/make_pictures.py ready          one
python docs/make_pictures.py --output test  into another folder

Set SLICER_SOURCE to a checkout of Slicer, for the colours of the uncertainty; without it that picture is
skipped.

The head is the ICBM152 template: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("MedNeXtSegmentation", "Testing", "demo")
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]

import slicer  # noqa: E402 - found on the path that was just set
import slicer_standin  # noqa: E402
import vtk  # noqa: E402

CORE = slicer_standin.start()

from fixtures.panel.driving import MODULE, let_run  # noqa: E402
from mednext import __version__  # noqa: E402
from mednext.library.model_by_name import load_bundle  # noqa: E402
from mednext.remote.served_models import Hello, ServedModel  # noqa: E402
from mednext.worker.protocol import Greeting  # noqa: E402
from MedNeXtSegmentationLib.engine.run import WAITING, Run, Steps  # noqa: E402
from MedNeXtSegmentationLib.icbm152 import BOX_MM, CENTRES_RAS  # noqa: E402
from MedNeXtSegmentationLib.panel.run import server_view  # noqa: E402
from MedNeXtSegmentationLib.sample_data import SAMPLE_NAME, cropAround  # noqa: E402 - needs Slicer
from MedNeXtSegmentationLib.scene.result_record import uncertainty_of  # noqa: E402
from MedNeXtSegmentationLib.scene.results.uncertainty_node import places_of  # noqa: E402
from pictures import draw  # noqa: E402
from slicer_standin.views import SliceView, ThreeDView  # noqa: E402
from template_head import template_file  # noqa: E402

ICONS = ROOT / "MedNeXtSegmentation" / "Resources" / "Icons"
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
PANEL_PX = 400
VIEW_PX = 280
SHOWN_RAS = (27, -18, -17)
SPUR_RAS = (15, -9.5, -17)  # of the anterior part, at its inner corner
COLORS = 256  # in a palette, which makes the files small enough for a repository


def write(file: Path, picture: np.ndarray) -> None:
    """Write a picture (rows, columns, RGB) as a PNG with a palette."""
    file = (options().output or file.parent) / file.name
    Image.fromarray(picture).quantize(COLORS, kmeans=2, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.name}: {file.stat().st_size // 1024} kB")


def add_box() -> Any:
    """A region of interest around the right hippocampus, without handles."""
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Hippocampus")
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
    return box


def thumbnail() -> None:
    """The button of the sample data: where in the head it is."""
    slicer.mrmlScene.Clear(0)
    head = slicer.util.loadVolume(str(template_file()))
    add_box()
    view = SliceView(CORE, "Thumbnail", "Sagittal", (260, 200))
    view.show(head)
    view.centre((27, -22, 0), 190)
    write(ICONS / f"{SAMPLE_NAME}.png", view.image())


def hippocampi() -> None:
    """The picture of the extension for the catalog and the README."""
    slicer.mrmlScene.Clear(0)
    logic = slicer_standin.load_module(MODULE).MedNeXtSegmentationLogic()
    head = slicer.util.loadVolume(str(template_file()))
    both = logic.segment(head)
    both.CreateClosedSurfaceRepresentation()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hippocampi.png")
        draw(CORE, head, both, file)
        picture = Image.open(file).convert("RGB").resize((630, 630), Image.Resampling.LANCZOS)
    write(SCREENSHOTS / "hippocampi.png", np.array(picture))


@cache
def panel() -> Any:
    """The module's panel, as it is after the sample data was loaded."""
    slicer.mrmlScene.Clear(0)
    slicer_standin.load_module(MODULE)
    slicer.app.startupCompleted.emit()  # registers the sample data
    head = slicer.util.loadVolume(str(template_file()))
    cropAround(head, CENTRES_RAS["right"], "T1 right hippocampus")
    slicer.mrmlScene.RemoveNode(head)
    widget = slicer_standin.show_module("MedNeXtSegmentation")[1]
    widget.ui.uncertaintyBox.checked = True
    return widget


def crop() -> Any:
    panel()
    return slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", "T1 right hippocampus")


@cache
def finished() -> Any:
    """The segmentation node, after a click on Segment."""
    if not slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        panel().ui.segmentButton.click()
        let_run(panel())
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]


def panel_picture() -> np.ndarray:
    """The panel as it is now (rows, columns, RGB)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "panel.png")
        slicer_standin.save_picture(panel().parent, file, PANEL_PX)
        return np.array(Image.open(file).convert("RGB"))


def grabbed(widget: Any) -> np.ndarray:
    """A part of the panel (rows, columns, RGB)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "part.png")
        widget.grab().save(str(file))
        return np.array(Image.open(file).convert("RGB"))


@cache
def slice_view(orientation: str) -> SliceView:
    return SliceView(CORE, f"Tutorial{orientation}", orientation)


@cache
def view_3d() -> ThreeDView:
    return ThreeDView(CORE)


def views(height_px: int, volume: Any, through_ras: Sequence[float]) -> np.ndarray:
    """Slicer's layout "Four-Up": slices through a place, 3D on the upper right."""
    size = (VIEW_PX, height_px // 2)
    tiles = {}
    for orientation in ("Axial", "Coronal", "Sagittal"):
        view = slice_view(orientation)
        view.window.SetSize(*size)
        view.show(volume)
        view.show_orientation()
        view.node.JumpSlice(*through_ras)
        tiles[orientation] = view.image()
    view_3d().window.SetSize(*size)
    view_3d().show_orientation()
    view_3d().look(from_ras=(1.0, 0.3, 0.4))
    upper, lower = [tiles["Axial"], view_3d().image()], [tiles["Coronal"], tiles["Sagittal"]]
    return np.vstack([np.hstack(upper), np.hstack(lower)])


def window(volume: Any, through_ras: Sequence[float] = SHOWN_RAS) -> np.ndarray:
    """The panel beside the views; by default they show both parts of the hippocampus."""
    panel_part = panel_picture()
    panel_part = panel_part[: len(panel_part) // 2 * 2]
    return np.hstack([panel_part, views(len(panel_part), volume, through_ras)])


def ready() -> None:
    """The panel when it is opened with the sample data."""
    write(SCREENSHOTS / "tutorial-ready.png", window(crop()))


def running() -> None:
    """Progress, and the button that cancels."""
    panel().ui.segmentButton.click()
    let_run(panel(), until=lambda: "tile 6 of 8" in panel().ui.stageLabel.text)
    write(SCREENSHOTS / "tutorial-running.png", panel_picture())
    let_run(panel())


def result() -> None:
    """The panel after a run, and what the views show."""
    finished().CreateClosedSurfaceRepresentation()
    write(SCREENSHOTS / "tutorial-result.png", window(crop()))


def uncertain() -> None:
    """The most uncertain place, with the uncertainty over the image."""
    if "SLICER_SOURCE" not in os.environ:
        print("tutorial-uncertain.png: skipped, set SLICER_SOURCE to draw it in Slicer's colours")
        return
    node = finished()
    panel().ui.showUncertaintyButton.click()
    panel().ui.nextPlaceButton.click()
    place = places_of(uncertainty_of(node))[0]
    write(SCREENSHOTS / "tutorial-uncertain.png", window(crop(), place))
    panel().ui.showUncertaintyButton.click()


def erase(centre_ras: tuple[float, float, float], radius_mm: float) -> None:
    """Erase with a sphere brush in all segments, as the Segment Editor's effect does."""
    node = finished()
    ijk_to_ras = vtk.vtkMatrix4x4()
    crop().GetIJKToRASMatrix(ijk_to_ras)
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras)
    for name in node.GetSegmentation().GetSegmentIDs():
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, crop())
        k, j, i = np.nonzero(voxels)
        ras = np.stack([i, j, k], axis=1) @ matrix[:3, :3].T + matrix[:3, 3]
        near = np.linalg.norm(ras - centre_ras, axis=1) < radius_mm
        voxels[k[near], j[near], i[near]] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, name, crop())


def corrected() -> None:
    """Before and after a correction, on an axial slice."""
    finished()
    view = slice_view("Axial")
    view.window.SetSize(VIEW_PX, VIEW_PX)
    view.show(crop())
    view.centre((25, -14, SPUR_RAS[2]), 30)
    before = view.image()
    erase(SPUR_RAS, 3)
    write(SCREENSHOTS / "tutorial-corrected.png", np.hstack([before, view.image()]))


def environment() -> None:
    """The section that checks and repairs."""
    ui = panel().ui
    ui.advancedButton.collapsed = ui.environmentButton.collapsed = False
    ui.checkButton.click()
    while not ui.checkButton.enabled:
        slicer.app.processEvents()
    panel_picture()  # lays it out
    write(SCREENSHOTS / "tutorial-environment.png", grabbed(ui.environmentButton))
    ui.advancedButton.collapsed = ui.environmentButton.collapsed = True


class Department:
    """Answers like the server of a department."""

    def greeting(self) -> Run[Greeting]:
        model = load_bundle("hippocampus").model
        served = ServedModel(model.name, model.version, model.title, "")
        lines = Hello(__version__, 2, 0, 2**31, 3600.0, (served,)).lines

        def steps(_run: Run[Greeting]) -> Steps[Greeting]:
            yield WAITING
            return Greeting(tuple(lines), (model,))

        return Run(steps)


def server() -> None:
    """The section Advanced with a server, whose test has just succeeded."""
    ui = panel().ui
    ui.advancedButton.collapsed = False
    with mock.patch.object(server_view, "remote_client", lambda _server: Department()):
        ui.placeBox.setCurrentIndex(1)
        ui.serverAddressEdit.text, ui.serverKeyEdit.text = "https://gpu.example:8443", "a key"
        ui.serverAddressEdit.editingFinished.emit()
        while "The connection works" not in ui.serverStatusLabel.text:
            slicer.app.processEvents()
    panel_picture()  # lays it out
    write(SCREENSHOTS / "tutorial-server.png", grabbed(ui.advancedButton))
    ui.placeBox.setCurrentIndex(0)
    ui.advancedButton.collapsed = True


def own_image() -> None:
    """A whole head, of which only a region is segmented."""
    panel()
    slicer.mrmlScene.Clear(0)
    head = slicer.util.loadVolume(str(template_file()))
    head.SetName("My T1")
    panel().ui.roiSelector.setCurrentNode(add_box())
    panel().ui.segmentButton.click()
    let_run(panel())
    slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0].CreateClosedSurfaceRepresentation()
    write(SCREENSHOTS / "tutorial-own-image.png", window(head))


# Each group in a process of its own: two 3D views in one scene are not drawn well.
GROUPS = (
    (thumbnail,),
    (hippocampi,),
    (ready, running, result, uncertain, corrected, environment, server, own_image),
)
PICTURES: dict[str, Callable[[], None]] = {picture.__name__: picture for group in GROUPS for picture in group}


@cache
def options() -> argparse.Namespace:
    """The arguments of this script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; by default all")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="instead of their usual folders")
    return parser.parse_args()


if __name__ == "__main__":
    for name in options().names:
        PICTURES[name]()
    if not options().names:
        for group in GROUPS:
            names = [picture.__name__ for picture in group]
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *names], check=True)
