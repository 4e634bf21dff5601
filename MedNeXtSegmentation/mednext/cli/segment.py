"""`mednext segment`: segment the image files of one patient."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, OutputError
from .console import Console
from .run_options import add_run_options, options_of, server_of_run

if TYPE_CHECKING:
    from ..model.labels import Label, Region
    from ..segmentation.result import Segmentation


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "segment",
        help="segment an image",
        description="Segment an image, or several channels of one patient, with a model.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="NIfTI, NRRD or MetaImage file, or DICOM folder; one per channel",
    )
    add("--output", "-o", metavar="FILE", type=Path, required=True, help="the suffix says the format")
    add(
        "--format",
        metavar="FORMAT",
        help="seg.nrrd, nrrd, nifti, metaimage or dicom (default: as the suffix says); dicom-binary or "
        "dicom-labelmap for a DICOM SEG of that type, which otherwise depends on the number of structures",
    )
    add("--uncertainty", metavar="FILE", type=Path, help="also write the uncertainty, 0 to 1, as an image")
    add("--overwrite", action="store_true", help="replace files that are there already")
    add_run_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Check the options, segment and write."""
    from ..images.volume import write_image
    from ..segmentation.export import FORMATS, format_of, write_segmentation
    from ..system.atomic import together

    format = format_of(options.output, options.format)
    dicom = options.images[0] if FORMATS[format].of_series else None
    _check_places(options, dicom)
    segmentation = _segmentation(options, console, format)
    with together():  # write both, or keep both former files
        write_segmentation(options.output, segmentation, format, source=dicom)
        if segmentation.uncertainty is not None:
            write_image(options.uncertainty, segmentation.uncertainty, segmentation.geometry)
    _report(options, console, segmentation)


def _check_places(options: argparse.Namespace, dicom: str | None) -> None:
    from ..segmentation.export import FORMATS, format_of
    from ..segmentation.formats.dicom_seg import check_dicom_seg
    from ..segmentation.output_places import check_apart
    from ..system.atomic import check_place

    places = [options.output]
    if options.uncertainty is not None:
        if not FORMATS[format_of(options.uncertainty)].values_only:
            raise OptionError(
                f"{options.uncertainty} cannot hold an uncertainty: name it *.nii.gz, *.nrrd or *.mha."
            )
        places.append(options.uncertainty)
    check_apart(places, options.images)
    for place in places:
        if place.exists() and not options.overwrite and _holds_something(place):
            raise OutputError(f"{place} is there already. Choose another name, or add --overwrite.")
        check_place(place)
    if dicom is not None:
        check_dicom_seg(dicom)


def _holds_something(place: Path) -> bool:
    """Whether a place holds data; an empty file may only reserve its name."""
    return not place.is_file() or place.stat().st_size > 0


def _segmentation(options: argparse.Namespace, console: Console, format: str) -> Segmentation:
    from ..images.volume import handed_over, read_volume
    from ..remote.segmenter import segmenter
    from ..segmentation.formats.dicom_seg import LABELMAP, check_apart_in_labelmap

    runs = segmenter(options.model, server_of_run(options))
    model = runs.model
    if format == f"dicom-{LABELMAP}":
        check_apart_in_labelmap(model.regions, model.labels)
    volumes = [read_volume(image, options.insist) for image in options.images]
    asked = options_of(options, model)
    runs.check_memory(volumes, asked)
    with console.segmentation_progress() as progress:
        return runs.segment(handed_over(volumes), asked, progress)


def _report(options: argparse.Namespace, console: Console, segmentation: Segmentation) -> None:
    from ..model.sides import ASYMMETRY
    from ..segmentation.intensities import of_structures

    volumes = segmentation.volumes_ml()
    document: dict[str, Any] = {
        "output": str(options.output),
        "uncertainty": options.uncertainty and str(options.uncertainty),
        "volumes_ml": volumes,
        "regions": {
            region.name: {"labels": list(region.labels), "volume_ml": volumes[region.name]}
            for region in segmentation.regions
        },
        "intensities": of_structures(segmentation.provenance, list(volumes)),
        "warning": segmentation.provenance.get("warning", ""),
        "provenance": dict(segmentation.provenance),
    }
    width = max(len(name) for name in volumes)
    together = {region.name: _together(region, segmentation.labels) for region in segmentation.regions}
    lines = [f"{name:<{width}} {ml:10.2f} mL{together.get(name, '')}" for name, ml in volumes.items()]
    lines += [f"{name}: {value:.6g}" for name, value in document["intensities"].items()]
    if ASYMMETRY in segmentation.provenance:
        difference = f"{segmentation.provenance[ASYMMETRY]} %"
        lines.append(f"{'left - right':<{width}} {difference:>13} of the mean")
    if not any(volumes.values()):
        lines.append("No structure was found: check that image and model belong together.")
    console.done(document, *lines, f"Written to {options.output}.")


def _together(region: Region, labels: Sequence[Label]) -> str:
    names = [label.name for label in labels if label.value in region.labels]
    return f"  = {' + '.join(names)}" if names != [region.name] else ""
