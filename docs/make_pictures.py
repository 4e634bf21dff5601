"""Draw the pictures of the documentation, with the real panel and Slicer's own views on the stand-in.

python docs/make_pictures.py            all of them
python docs/make_pictures.py thumbnail  one

The head is the ICBM152 template: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("MedNeXtSegmentation", "Testing", "demo")]

import slicer  # noqa: E402 - found on the path that was just set
import slicer_standin  # noqa: E402

CORE = slicer_standin.start()

from MedNeXtSegmentationLib.icbm152 import BOX_MM, CENTRES_RAS  # noqa: E402 - needs Slicer
from MedNeXtSegmentationLib.sample_data import SAMPLE_NAME  # noqa: E402
from slicer_standin.views import SliceView, write_png  # noqa: E402
from template_head import template_file  # noqa: E402

ICONS = ROOT / "MedNeXtSegmentation" / "Resources" / "Icons"


def thumbnail() -> None:
    """The button of the sample data: where in the head it is."""
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
    write_png(ICONS / f"{SAMPLE_NAME}.png", view.image())


PICTURES = {picture.__name__: picture for picture in (thumbnail,)}


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
