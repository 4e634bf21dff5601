"""Inject faults of all groups, or of the named ones, and renew their rows in docs/reliability.md.

PYTHONPATH=. python Testing/faults
PYTHONPATH=. python Testing/faults --share 0.1 --add worker saving
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import machine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "build" / "faults"  # a folder for each group, with a file for each row counted last
BEGIN, END = "<!-- written by make faults -->", "<!-- end -->"
GROUPS = {
    "worker": ["pytest", "Testing/faults/test_worker_faults.py"],
    "scene": ["pytest", "Testing/faults/test_scene_faults.py"],
    "saving": ["pytest", "Testing/faults/test_saving.py"],
    "places": ["pytest", "Testing/faults/test_broken_places.py"],
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
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = [str(ROOT / path) for path in (".", "MedNeXtSegmentation", "Testing")]
    environment = {
        **os.environ,
        "MEDNEXT_FAULTS": str(share),
        "MEDNEXT_FAULT_TABLE": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, "-m", *GROUPS[group], *options]
    log, begin = KEPT / f"{group}-{time.strftime('%Y%m%d-%H%M%S')}.log", time.monotonic()
    with log.open("w") as file:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    passed = ended.returncode == 0
    told = "passed" if passed else f"FAILED:\n{log.read_text()[-3000:]}"
    sys.stdout.write(f"{group}, {time.monotonic() - begin:.0f} s, {log.relative_to(ROOT)}: {told}\n")
    sys.stdout.flush()
    return passed


def table(text: str, groups: Sequence[str], adds: bool, part: bool) -> str:
    """The table in a page's text, with the rows of these groups counted anew.

    `adds`: their counts are added to those of the table. `part`: only some tests of the groups were run, so
    that rows of the table which were not counted anew stay.
    """
    rows = {}
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if len(cells) == 4 and cells[2].isdecimal() and cells[0] != "all":
            rows[cells[:2]] = (int(cells[2]), cells[3])
    files = [file for group in groups for file in sorted((KEPT / group).glob("*.json"))]
    fresh = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if not (adds or part):
        subjects = {row["subject"] for row in fresh}
        rows = {key: row for key, row in rows.items() if key[0] not in subjects}
    for row in fresh:
        key, outcomes = (row["subject"], row["fault"]), Counter(row["outcomes"])
        if adds and not row["told"] and key in rows:
            outcomes += _counts(rows[key][1])
        counts = "; ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        rows[key] = (outcomes.total(), row["told"] or counts)
    kinds = list(dict.fromkeys(subject.partition(":")[0] for subject, _ in rows))
    lines = [f"Counted on {machine().partition(', Python')[0]}.", ""]
    lines += ["| of | fault | injected | outcomes |", "|---|---|---:|---|"]
    for key in sorted(rows, key=lambda key: (kinds.index(key[0].partition(":")[0]), *key)):
        lines.append(f"| {' | '.join(key)} | {rows[key][0]} | {rows[key][1]} |")
    return "\n".join([*lines, f"| all | | {sum(count for count, _ in rows.values())} | |"])


def _counts(told: str) -> Counter[str]:
    """The outcomes of a row: "3 right result; 2 explained error"."""
    parts = (part.partition(" ") for part in told.split("; "))
    return Counter({outcome: int(count) for count, _, outcome in parts})


def write(groups: Sequence[str], adds: bool, part: bool) -> None:
    """Renew the rows of these groups in the table of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    former, _, after = rest.partition(END)
    new = table(former, groups, adds, part)
    PAGE.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run the groups; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of injections")
    parser.add_argument(
        "--options", default="", help="for pytest, such as '-k killed', which keeps other rows"
    )
    parser.add_argument("--add", action="store_true", help="to the counts of the table")
    chosen = parser.parse_args()
    names = chosen.groups or list(GROUPS)
    with ThreadPoolExecutor(2) as lanes:  # most of them wait for each other's processes, or for a clock
        passed = list(lanes.map(lambda name: run(name, chosen.share, shlex.split(chosen.options)), names))
    write(names, chosen.add, bool(chosen.options))
    return passed.count(False)


if __name__ == "__main__":
    sys.exit(main())
