"""`mednext segment-folder`: segment every image of a folder, resumably, with a report."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import IncompleteBatchError, OptionError
from .console import Console
from .run_options import add_run_options, options_of

if TYPE_CHECKING:
    from ..batch.case import Case
    from ..batch.case_finding import Found
    from ..batch.report import Row
    from ..batch.run import Alive, CarryOut
    from ..images.volume import Volume
    from ..inference.options import Options
    from ..inference.progress import Progress
    from ..model.bundle import Bundle
    from ..segmentation.result import Segmentation


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "segment-folder",
        help="segment every image of a folder",
        description="Segment every image of a folder and of the folders below it: a .seg.nrrd for each case, "
        "and report.csv. Running it again segments only missing and failed cases. Several processes may use "
        "the same folders.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("input", metavar="INPUT", type=Path, help="folder of images, of cases with channels, or of DICOM")
    add("output", metavar="OUTPUT", type=Path, help="folder of the results; made if it is not there")
    add(
        "--uncertainty",
        action="store_true",
        help="also write <case>.uncertainty.nii.gz, 0 to 1, for each case",
    )
    add("--no-resume", action="store_true", help="segment finished cases again; corrected results stay")
    add("--list", action="store_true", help="only list the cases")
    add_run_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Segment all cases. Raises `IncompleteBatchError` when some failed."""
    from ..batch.case_finding import find_cases
    from ..library.model_by_name import load_bundle

    bundle, chosen = load_bundle(options.model), options_of(options)
    for fold in chosen.folds_of(bundle.model):
        bundle.fold(fold)
    found = find_cases(options.input, bundle.model, options.output)
    cases = _with_scenes(found, options.input)
    if not cases:
        raise OptionError(f"{options.input} holds no images: give the folder with the images.")
    if options.list:
        console.done({"cases": [_listed(case) for case in cases]}, *map(_line, cases))
        return
    rows = _segmented(options, chosen, console, bundle, cases)
    _report(options, console, rows)


def _with_scenes(found: Found, place: Path) -> list[Case]:
    """All cases, with scenes reported as left out, since only Slicer reads them."""
    from ..batch.case import Case, relative

    root = place if place.is_dir() else place.parent
    why = "Slicer's scenes are read by Slicer: use segmentFolder of the module there."
    scenes = (relative(scene, root) for scene in found.scenes)
    return [*found.cases, *(Case(scene, (), (), scene, left_out=why) for scene in scenes)]


def _segmented(
    arguments: argparse.Namespace, options: Options, console: Console, bundle: Bundle, cases: list[Case]
) -> list[Row]:
    from ..batch.run import Batch
    from ..worker.reading_process import ReadingProcess

    def told(number: int, total: int, row: Row) -> None:
        console.say(f"[{number}/{total}] {row.case}: {_outcome(row)}")

    with ReadingProcess() as reading:
        batch = Batch.of(
            arguments.output,
            bundle.model,
            options,
            lambda case: reading.read(case.images, options.insist),
            _carry_out(options, console, bundle),
            resume=not arguments.no_resume,
            told=told,
            stop_reading=reading.stop,
        )
        return batch.run(cases)


def _carry_out(options: Options, console: Console, bundle: Bundle) -> CarryOut:
    """A function that segments in this process and keeps the networks loaded."""
    from ..inference.loaded_networks import LoadedNetworks

    networks = LoadedNetworks()

    def carry_out(_case: Case, volumes: list[Volume], alive: Alive) -> Segmentation:
        from ..inference.segment import segment  # torch takes seconds: a finished folder needs none

        with console.segmentation_progress() as show:

            def progress(step: Progress) -> None:
                alive()
                if show:
                    show(step)

            return segment(
                volumes,
                bundle,
                options,
                progress=progress,
                networks=networks,
            )

    return carry_out


def _report(options: argparse.Namespace, console: Console, rows: list[Row]) -> None:
    from ..batch.report import DONE, FAILED, REPORT_FILE

    report = options.output / REPORT_FILE
    done, failed = (sum(row.status == status for row in rows) for status in (DONE, FAILED))
    document = {"report": str(report), "cases": [asdict(row) for row in rows]}
    if failed:
        raise IncompleteBatchError(
            f"{failed} of {done + failed} cases failed, the others are done: see {report}.", document
        )
    console.done(document, f"{done} cases are done. Report: {report}.")


def _outcome(row: Row) -> str:
    if row.message:
        return f"{row.status}. {row.message}"
    found = ", ".join(f"{name} {ml:.2f} mL" for name, ml in row.volumes_ml.items() if ml)
    return f"{row.status}, {found or 'no structure was found'}{f'. {row.warning}' if row.warning else ''}"


def _listed(case: Case) -> dict[str, str]:
    why = str(case.problem or case.left_out)
    return {"case": case.name, "files": case.source, "why_not": why if case.problem or case.left_out else ""}


def _line(case: Case) -> str:
    told = _listed(case)
    return f"{told['case']}: {told['files']}" + (f" ({told['why_not']})" if told["why_not"] else "")
