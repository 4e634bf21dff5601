"""Run the jobs one after the other, keep their records, and make tables of them; see the package."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from .. import ROOT
from . import __doc__ as about
from .compiling import tasks_of, warm
from .records import WHOLE, Record, line_of, tables, told
from .scale import FULL, TINY, Scale

PARTS = {  # the modules of the functions that measure them
    "forward": "forward",
    "compiled": "forward",
    "batches": "forward",
    "end_to_end": "end_to_end",
    "training": "training",
    "tune": "tuning",
}
# By importance: jobs that the goals need first, the longest ones last.
JOBS = (
    "forward:S3", "forward:L3", "forward:B3", "forward:M3", "forward:L5", "end_to_end:S3", "training:S3",
    "compiled:S3", "batches:S3", "compiled:L3", "training:L3", "compiled:L5", "compiled:B3", "compiled:M3",
    "training:L5",
)  # fmt: skip
LONGEST_S = {"forward": 90.0, "batches": 90.0, "training": 240.0, "tune": 240.0}
_USUAL_S = 150.0
_LEAST_S = 15.0  # with less time left no job starts
_COMPILING_S = 120.0


def main() -> None:
    """Measure, write and print, even if jobs fail."""
    arguments = _arguments()
    if arguments.in_this_process:
        measure(arguments.jobs[0], TINY if arguments.smoke else FULL)
        return
    if not torch.cuda.is_available():
        if not arguments.smoke:
            sys.stdout.write("no CUDA device here\n")
            return
        os.environ["TRITON_INTERPRET"] = "1"  # of the jobs
    end = time.monotonic() + arguments.seconds
    records = (
        list(told(arguments.resume.read_text(encoding="utf-8").splitlines())) if arguments.resume else []
    )
    jobs = unfinished(arguments.jobs, records)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.smoke:
        major, minor = torch.cuda.get_device_capability()
        tasks = [task for job in jobs for task in tasks_of(job, 10 * major + minor)]
        warm(tasks, os.cpu_count() or 1, _COMPILING_S)  # the jobs' first passes would compile one by one
    with (arguments.output / "gpu.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(map(line_of, records))
        for job in jobs:
            left = end - time.monotonic()
            longest = min(left, LONGEST_S.get(job.partition(":")[0], _USUAL_S))
            if left < _LEAST_S:
                break
            command = [sys.executable, "-m", __package__, "--in-this-process", "--jobs", job]
            command += ["--smoke"] if arguments.smoke else []
            for record in run_job(job, command, left if arguments.smoke else longest):
                records.append(record)
                file.write(line_of(record))
                file.flush()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no card: Triton's interpreter"
    text = f"{card}, torch {torch.__version__}\n\n{tables(records)}"
    (arguments.output / "gpu.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def unfinished(jobs: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The jobs without a record that they ended well."""
    ended = {record["job"] for record in records if record["measured"] == WHOLE and "failed" not in record}
    return [job for job in jobs if job not in ended]


def run_job(job: str, command: Sequence[str], longest_s: float) -> Iterator[Record]:
    """Yield a job's records as they come, then its seconds, with its failure if it failed."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace") as process,
    ):
        timer = threading.Timer(longest_s, process.kill)
        timer.start()
        yield from told(process.stdout or ())
        code = process.wait()
        timer.cancel()
        log.seek(0)
        said = log.read()
    failed = {"failed": f"exit code {code}: {said[-2000:]}"} if code else {}
    yield {"job": job, "measured": WHOLE, "s": time.monotonic() - started, **failed}


def measure(job: str, scale: Scale) -> None:
    """Measure one job in this process, such as "forward:S3", and print its records."""
    # The reference computes in fp32, not in the tensor cores' shorter float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # as nnU-Net has it
    part, _, name = job.partition(":")
    getattr(importlib.import_module(f".{PARTS[part]}", __package__), part)(job, name, scale)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), help=f"{', '.join(PARTS)}, each as PART:S3")
    parser.add_argument("--seconds", type=float, default=560, help="after which no job starts")
    parser.add_argument("--resume", type=Path, help="gpu.jsonl of an earlier run, whose jobs are skipped")
    output = Path(os.environ.get("OUT") or ROOT / "build" / "gpu")
    parser.add_argument("--output", type=Path, default=output, help="folder of the results (default: $OUT)")
    parser.add_argument("--smoke", action="store_true", help="tiny, on Triton's interpreter")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
