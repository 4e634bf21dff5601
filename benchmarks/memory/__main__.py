"""`python -m benchmarks.memory`: measure the cases that are not measured yet, and write the table.

Each case runs in a process of its own, as in the worker, whose peak Linux tells. A second call goes on after
the cases that are in the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..children import numbers_of
from .cases import cases

_CHILD = f"{__package__}.child"


def main(arguments: list[str]) -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("build/memory.jsonl"), help="measurements, kept")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of cases")
    parser.add_argument("--again", action="store_true", help="measure cases again")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    options.file.parent.mkdir(exist_ok=True)
    known = measured(options.file)
    for case in cases():
        wanted = not options.only or any(part in case.name for part in options.only)
        if not wanted or (case.name in known and not options.again):
            continue
        if time.monotonic() - begin > options.seconds:
            return
        with tempfile.TemporaryDirectory() as folder:
            prepare_and_measure(case.name, folder, options.file)


def prepare_and_measure(name: str, folder: str, file: Path) -> None:
    """Measure a case and add it to the file."""
    subprocess.run([sys.executable, "-m", _CHILD, "prepare", name, folder], check=True)
    plan, peak, idle, computed, seconds = numbers_of(_CHILD, "measure", name, folder)
    line = {"name": name, "plan": plan, "peak": peak, "idle": idle, "computed": computed, "seconds": seconds}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
    sys.stdout.write(f"{name:45} {plan:8.0f} {peak:8.0f} {plan / peak:6.2f} {seconds:6.1f} s\n")
    sys.stdout.flush()


def measured(file: Path) -> dict[str, dict[str, float]]:
    """The last measurement of each case."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.pop("name"): line for line in map(json.loads, lines)}


if __name__ == "__main__":
    main(sys.argv[1:])
