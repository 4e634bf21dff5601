"""Inject faults of all groups, or of the named ones, and write the table of docs/reliability.md.

PYTHONPATH=. python Testing/faults
PYTHONPATH=. python Testing/faults --share 0.1 worker saving
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import machine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "build" / "faults"  # a folder for each group, with a file for each row of the table
BEGIN, END = "<!-- written by make faults -->", "<!-- end -->"
GROUPS = {
    "worker": ["pytest", "Testing/faults/test_worker_faults.py"],
    "scene": ["pytest", "Testing/faults/test_scene_faults.py"],
    "saving": ["pytest", "Testing/faults/test_saving.py"],
    "downloads": [
        "pytest",
        "Testing/faults/test_download_faults.py",
        "Testing/library/test_killed_installs.py",
    ],
    "batches": ["pytest", "Testing/batch/test_killed_batches.py"],
    "server": ["server_proof"],
}


def run(group: str, share: float, options: list[str]) -> bool:
    """Run the tests of a group, with their output in a file beside its rows; return whether they passed."""
    folder = KEPT / group
    if not options:  # otherwise only some rows are counted anew
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(ROOT / path) for path in (".", "MedNeXtSegmentation", "Testing", "Testing/fixtures")]
    environment = {
        **os.environ,
        "MEDNEXT_FAULTS": str(share),
        "MEDNEXT_FAULT_TABLE": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, "-m", *GROUPS[group], *options]
    log, begin = KEPT / f"{group}.log", time.monotonic()
    with log.open("w") as file:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    passed = ended.returncode == 0
    told = "passed" if passed else f"FAILED:\n{log.read_text()[-3000:]}"
    sys.stdout.write(f"{group}, {time.monotonic() - begin:.0f} s, {log.relative_to(ROOT)}: {told}\n")
    sys.stdout.flush()
    return passed


def table() -> str:
    """The table of all rows that were counted."""
    head = f"Counted on {machine().partition(', Python')[0]}."
    lines = [head, "", "| of | fault | injected | outcomes |", "|---|---|---:|---|"]
    total = 0
    for group in GROUPS:
        for file in sorted((KEPT / group).glob("*.json")):
            row = json.loads(file.read_text(encoding="utf-8"))
            outcomes = Counter(row["outcomes"])
            counts = "; ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            told = row["told"] or counts
            lines.append(f"| {row['subject']} | {row['fault']} | {outcomes.total()} | {told} |")
            total += outcomes.total()
    return "\n".join([*lines, f"| all | | {total} | |"])


def write() -> None:
    """Replace the table of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run the groups; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of injections")
    parser.add_argument(
        "--options", default="", help="for pytest, such as '-k killed', which keeps other rows"
    )
    chosen = parser.parse_args()
    names = chosen.groups or list(GROUPS)
    with ThreadPoolExecutor(2) as lanes:  # most of them wait for each other's processes, or for a clock
        passed = list(lanes.map(lambda name: run(name, chosen.share, shlex.split(chosen.options)), names))
    write()
    return passed.count(False)


if __name__ == "__main__":
    sys.exit(main())
