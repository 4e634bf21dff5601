"""Run the jobs one after the other, keep their records, and make tables of them; see the package."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import __doc__ as about
from .records import Record, append, read, tables, told

# By importance: jobs that the goals need first, the longest ones last.
JOBS = (
    "check:S3", "forward:S3", "forward:L3", "forward:B3", "forward:M3", "forward:L5",
    "end to end:S3", "training:S3", "adding:S3", "check:L5", "compiled:S3", "batches:S3", "kernels:S3",
    "kernels:L3", "compiled:L3", "training:L3", "compiled:L5", "compiled:B3", "compiled:M3", "training:L5",
)  # fmt: skip
TUNING = ("tune:S3", "tune:L3", "tune:L5", "tune:B3", "tune:M3")
LONGEST_S = {"compiled": 150.0, "training": 240.0, "end to end": 150.0, "tune": 240.0}
_USUAL_S = 90.0
_LEAST_S = 15.0  # with less time left no job starts
_COMPILING_S = 120.0


def main() -> None:
    """Measure, write and print, even if jobs fail."""
    arguments = _arguments()
    end = time.monotonic() + arguments.seconds
    folder = arguments.output or (Path(os.environ["OUT"]) if os.environ.get("OUT") else None)
    records = finished(read(arguments.resume)) if arguments.resume else []
    if not _has_card():
        if not arguments.smoke:
            sys.stdout.write("no CUDA device here\n")
            return
        os.environ["TRITON_INTERPRET"] = "1"  # of the jobs
    file = _file(folder, records)
    jobs = [job for job in arguments.jobs if job not in {record.job for record in records}]

    def keep(record: Record) -> None:
        records.append(record)
        if file:
            append(file, record)

    if not arguments.smoke and not arguments.no_warming:
        keep(_warmed(jobs, arguments.processes, end))
    for job in jobs:
        left = end - time.monotonic()
        if left < _LEAST_S:
            keep(Record("skipped", job, {"why": "no time"}))
            continue
        command = [sys.executable, "-m", "benchmarks.gpu.job", job, *(["--smoke"] if arguments.smoke else [])]
        longest = LONGEST_S.get(job.partition(":")[0], _USUAL_S)
        for record in run_job(job, command, left if arguments.smoke else min(left, longest), folder):
            keep(record)
    text = f"{_machine()}\n\n{tables(records, arguments.smoke)}"
    if folder:
        (folder / "gpu.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def finished(records: Sequence[Record]) -> list[Record]:
    """The records of jobs that ended well; the other jobs are to be repeated."""
    failed = {record.what for record in records if record.job in ("failed", "skipped")}
    return [record for record in records if record.job not in (*failed, "failed", "skipped")]


def run_job(job: str, command: Sequence[str], longest_s: float, folder: Path | None) -> Iterator[Record]:
    """Yield a job's records as they come, then its failure, if it failed, and its seconds."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace") as process,
    ):
        timer = threading.Timer(longest_s, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if record := told(line):
                yield record
        code = process.wait()
        timer.cancel()
        log.seek(0)
        said = log.read()
    seconds = time.monotonic() - started
    if code:
        why = f"ended after {seconds:.0f} s" if code == -9 else f"exit code {code}"
        yield Record("failed", job, {"why": f"{why}: {' '.join(said.split())[-300:]}"})
    if code and folder:
        with (folder / "errors.txt").open("a", encoding="utf-8") as errors:
            errors.write(f"===== {job}\n{said}\n")
    yield Record("seconds", job, {"s": seconds})


def _warmed(jobs: Sequence[str], processes: int, end: float) -> Record:
    """Compile the kernels of all jobs in parallel: the jobs' first passes would do so one by one."""
    from .compiling import tasks_of, warm

    started = time.monotonic()
    tasks = [task for job in jobs for task in tasks_of(job, _capability())]
    missing = warm(tasks, processes, min(_COMPILING_S, end - started))
    return Record("seconds", "compiling", {"s": time.monotonic() - started, "tasks missing": float(missing)})


def _file(folder: Path | None, records: Sequence[Record]) -> Path | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "gpu.jsonl"
    for old in (file, folder / "errors.txt"):
        old.unlink(missing_ok=True)
    for record in records:
        append(file, record)
    return file


def _has_card() -> bool:
    import torch

    return torch.cuda.is_available()


def _capability() -> int:
    import torch

    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


def _machine() -> str:
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no card: Triton's interpreter"
    return f"{card}, torch {torch.__version__}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), help=f"of {', '.join((*JOBS, *TUNING))}")
    parser.add_argument("--seconds", type=float, default=560, help="after which no job starts")
    parser.add_argument("--resume", type=Path, help="gpu.jsonl of an earlier run, whose jobs are skipped")
    parser.add_argument("--output", type=Path, help="folder of the results (default: $OUT)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="number that compile")
    parser.add_argument("--no-warming", action="store_true", help="do not compile all kernels first")
    parser.add_argument("--smoke", action="store_true", help="tiny, on Triton's interpreter")
    return parser.parse_args()


if __name__ == "__main__":
    main()
