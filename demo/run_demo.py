"""Segment the hippocampi of a head with the default model, through the Slicer module but without its window.

python demo/run_demo.py                        the ICBM152 head, an average of 152 people
python demo/run_demo.py --image my_t1.nii.gz   your own T1 image: a head, or a crop around one hippocampus
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "MedNeXtSegmentation"), str(ROOT / "Testing")]

import slicer  # noqa: E402 - found on the path that was just set
import slicer_standin  # noqa: E402
from mednext.errors import MedNeXtError, OutputError  # noqa: E402
from mednext.images.volume import read_volume  # noqa: E402
from pictures import draw  # noqa: E402
from template_head import template_file  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = parse(arguments)
    begin = time.monotonic()
    try:
        run(options)
    except MedNeXtError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return error.exit_code
    print(f"Done in {time.monotonic() - begin:.0f} s. Results are in {options.output}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image", type=Path, default=template_file(), help="a T1-weighted MR image")
    parser.add_argument(
        "--output",
        type=lambda text: Path(text).resolve(),  # MRML takes a relative path for one in the scene's folder
        default=ROOT / "demo" / "output",
        help="folder for the results",
    )
    parser.add_argument("--model", default="hippocampus", help="name or folder of a model")
    parser.add_argument("--no-mirror", action="store_true", help="8 times faster, a little less accurate")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Load, segment, save, draw."""
    read_volume(options.image)  # refuses an unreadable image before Slicer starts
    core = slicer_standin.start()
    module = slicer_standin.load_module(ROOT / "MedNeXtSegmentation" / "MedNeXtSegmentation.py")
    logic = module.MedNeXtSegmentationLogic()
    image = slicer.util.loadVolume(str(options.image))

    print(f"Segmenting {image.GetName()}")
    result = logic.segment(
        image, options.model, mirroring=not options.no_mirror, progressCallback=show_progress
    )
    print_volumes(result)
    save(core, image, result, options.output)
    if options.image == template_file():
        shutil.copyfile(options.image, options.output / "head.nii.gz")  # for the README's commands


def print_volumes(result: slicer.vtkMRMLSegmentationNode) -> None:
    """Print the volume of each segment, and the run's warning if it has one."""
    from MedNeXtSegmentationLib.scene.result_record import provenance_of, volumes_of  # needs Slicer

    for name, volume in volumes_of(result).items():
        print(f"{name:30} {volume:6.2f} mL")
    print(provenance_of(result).get("warning", ""))


def show_progress(event: dict[str, Any]) -> None:
    if event["stage"] == "network":
        print(f"  tile {event['done']} of {event['total']}", flush=True)


def save(
    core: slicer_standin.Core,
    image: slicer.vtkMRMLScalarVolumeNode,
    result: slicer.vtkMRMLSegmentationNode,
    folder: Path,
) -> None:
    """Write the segmentation, the scene and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    written = slicer.util.saveNode(result, str(folder / "hippocampi.seg.nrrd"), properties={})
    result.CreateClosedSurfaceRepresentation()
    if not (written and slicer.util.saveScene(str(folder / "hippocampi.mrb"))):
        raise OutputError(f"The results could not be written to {folder}: choose another folder.")
    draw(core, image, result, folder / "hippocampi.png")


if __name__ == "__main__":
    sys.exit(main())
