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
    from ..dicomweb.archives import Archives
    from ..inference.options import Options
    from ..model.description import Model
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
    add(
        "input",
        metavar="INPUT",
        help="folder of images, of cases with channels, or of DICOM; or https:// of DICOMweb",
    )
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
    add("--dicom-seg", action="store_true", help="also write <case>.dcm, a DICOM SEG, for each DICOM series")
    add("--store", metavar="URL", help="also store each DICOM SEG in this DICOMweb archive")
    add("--study", metavar="UID", action="append", default=[], help="of the archive INPUT: this study")
    add("--series", metavar="UID", action="append", default=[], help="of the archive INPUT: only this series")
    add(
        "--query",
        metavar="ATTRIBUTE=VALUE",
        action="append",
        default=[],
        help="of the archive INPUT: studies such as StudyDate=20260101-20260131",
    )
    add("--plain-http", action="store_true", help="allow a DICOMweb connection without encryption")
    add("--list", action="store_true", help="only list the cases")
    add_run_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Segment all cases. Raises `IncompleteBatchError` when some failed."""
    from ..remote.segmenter import segmenter

    runs = segmenter(options.model, server_of_run(options))
    chosen = options_of(options, runs.model)
    runs.check(chosen)
    archives = _archives(options)
    cases = _cases(options, archives, runs.model)
    if options.list:
        console.done({"cases": [_listed(case) for case in cases]}, *map(_line, cases))
        return
    rows = _segmented(options, chosen, console, runs, archives, cases)
    _report(options, console, rows)


def _archives(options: argparse.Namespace) -> Archives:
    """The archives of this command, opened once so that a wrong address is refused at the beginning."""
    from ..dicomweb.archive import Credentials, checked_address, is_address
    from ..dicomweb.archives import Archives

    source = options.input if is_address(options.input) else ""
    source, sink = (
        checked_address(each, options.plain_http) if each else "" for each in (source, options.store or "")
    )
    if not source and (options.study or options.series or options.query):
        raise OptionError("--study, --series and --query select from an archive: give its address as INPUT.")
    return Archives(source, sink, options.dicom_seg, options.plain_http, Credentials.from_environment())


def _cases(options: argparse.Namespace, archives: Archives, model: Model) -> list[Case]:
    """The cases of the folder or the archive. Raises `OptionError` where there are none."""
    if archives.source:
        from ..dicomweb.search import Selection, cases_in_archive

        selection = Selection.of(options.study, options.series, options.query)
        cases = cases_in_archive(archives.open(archives.source), model, selection)
        if not cases:
            raise OptionError("Nothing in the archive fits the selection.")
        return cases
    from ..batch.case_finding import find_cases

    place = Path(options.input)
    cases = _with_scenes(find_cases(place, model, options.output), place)
    if not cases:
        raise OptionError(f"{place} holds no images: give the folder with the images.")
    return cases


def _with_scenes(found: Found, place: Path) -> list[Case]:
    """All cases, with scenes reported as left out, since only Slicer reads them."""
    from ..batch.case import Case, relative

    root = place if place.is_dir() else place.parent
    why = "Slicer's scenes are read by Slicer: use segmentFolder of the module there."
    scenes = (relative(scene, root) for scene in found.scenes)
    return [*found.cases, *(Case(scene, (), (), scene, left_out=why) for scene in scenes)]


def _segmented(
    arguments: argparse.Namespace,
    options: Options,
    console: Console,
    runs: Segmenter,
    archives: Archives,
    cases: list[Case],
) -> list[Row]:
    def told(number: int, total: int, row: Row) -> None:
        console.say(f"[{number}/{total}] {row.case}: {_outcome(row)}")

    if arguments.workers is not None or arguments.ray is not None:
        return _by_many(arguments, options, runs, archives, cases, told)
    from ..worker.segmenting_batch import segmenting_batch

    with segmenting_batch(
        arguments.output,
        runs,
        options,
        archives,
        showing=console.segmentation_progress,
        resume=not arguments.no_resume,
        told=told,
    ) as batch:
        return batch.run(cases)


def _by_many(
    arguments: argparse.Namespace,
    options: Options,
    runs: Segmenter,
    archives: Archives,
    cases: list[Case],
    told: Told,
) -> list[Row]:
    """Segment all cases with the workers of this machine or of a Ray cluster."""
    from ..worker.crew.batch import jobs_of_this_machine, run_with_crew
    from ..worker.crew.job import CrewJob
    from ..worker.crew.processes import ProcessCrew
    from ..worker.protocol import Order

    model = str(Path(arguments.model).absolute()) if Path(arguments.model).is_dir() else arguments.model
    place = archives.source or str(Path(arguments.input).absolute())
    resume = not arguments.no_resume
    job = CrewJob(
        Order(model, options), place, arguments.output.absolute(), "", resume=resume, archives=archives
    )
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
    told = "1 case is done" if done == 1 else f"{done} cases are done"
    console.done(document, f"{told}. Report: {report}.")


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
