"""`mednext segment-folder`: segment every image of a folder, resumably, with a report."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import IncompleteBatchError, OptionError
from .console import Console
from .run_options import add_run_options, options_of, server_of_run

if TYPE_CHECKING:
    from ..batch.case import Case
    from ..batch.case_finding import Found
    from ..batch.report import Row
    from ..batch.run import Told
    from ..inference.options import Options
    from ..remote.segmenter import Segmenter
    from ..worker.crew.schedule import Crew


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
    add("--workers", metavar="N", type=int, help="processes that share the cases, each with a card or cores")
    add(
        "--ray",
        metavar="ADDRESS",
        help="share the cases out to a Ray cluster: auto, or HOST:PORT of its head",
    )
    add("--list", action="store_true", help="only list the cases")
    add_run_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Segment all cases. Raises `IncompleteBatchError` when some failed."""
    from ..batch.case_finding import find_cases
    from ..remote.segmenter import segmenter

    runs = segmenter(options.model, server_of_run(options))
    chosen = options_of(options, runs.model)
    runs.check(chosen)
    found = find_cases(options.input, runs.model, options.output)
    cases = _with_scenes(found, options.input)
    if not cases:
        raise OptionError(f"{options.input} holds no images: give the folder with the images.")
    if options.list:
        console.done({"cases": [_listed(case) for case in cases]}, *map(_line, cases))
        return
    rows = _segmented(options, chosen, console, runs, cases)
    _report(options, console, rows)


def _with_scenes(found: Found, place: Path) -> list[Case]:
    """All cases, with scenes reported as left out, since only Slicer reads them."""
    from ..batch.case import Case, relative

    root = place if place.is_dir() else place.parent
    why = "Slicer's scenes are read by Slicer: use segmentFolder of the module there."
    scenes = (relative(scene, root) for scene in found.scenes)
    return [*found.cases, *(Case(scene, (), (), scene, left_out=why) for scene in scenes)]


def _segmented(
    arguments: argparse.Namespace, options: Options, console: Console, runs: Segmenter, cases: list[Case]
) -> list[Row]:
    def told(number: int, total: int, row: Row) -> None:
        console.say(f"[{number}/{total}] {row.case}: {_outcome(row)}")

    if arguments.workers is not None or arguments.ray is not None:
        return _by_many(arguments, options, runs, cases, told)
    from ..worker.segmenting_batch import segmenting_batch

    with segmenting_batch(
        arguments.output,
        runs,
        options,
        showing=console.segmentation_progress,
        resume=not arguments.no_resume,
        told=told,
    ) as batch:
        return batch.run(cases)


def _by_many(
    arguments: argparse.Namespace, options: Options, runs: Segmenter, cases: list[Case], told: Told
) -> list[Row]:
    """Segment all cases with the workers of this machine or of a Ray cluster."""
    from ..worker.crew.batch import jobs_of_this_machine, run_with_crew
    from ..worker.crew.job import CrewJob
    from ..worker.crew.processes import ProcessCrew
    from ..worker.protocol import Order

    model = str(Path(arguments.model).absolute()) if Path(arguments.model).is_dir() else arguments.model
    place, output = str(arguments.input.absolute()), arguments.output.absolute()
    job = CrewJob(Order(model, options), place, output, "", resume=not arguments.no_resume)
    if arguments.ray is None:
        jobs = jobs_of_this_machine(job, arguments.workers)

        def hire(seen: CrewJob) -> Crew:
            return ProcessCrew([replace(each, probe=seen.probe) for each in jobs])

    else:
        from ..worker.crew.on_ray import ray_crew

        def hire(seen: CrewJob) -> Crew:
            return ray_crew(arguments.ray, seen, arguments.workers)

    return run_with_crew(job, options.recipe_with(runs.model, None), cases, hire, told)


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
