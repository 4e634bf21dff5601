"""Run all trials, or those that are named, and write the outcomes into docs/server.md.

make server-proof
python -m server_proof --resume     # only those that an interrupted call has not done
python -m server_proof twenty_clients killed_engines
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from fixtures.faults.fault_table import Tally
from mednext import __version__

from benchmarks.report import machine

from .service import Service
from .trials import IMAGES, TRIALS, expected, stopped

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
DONE = Path(__file__).parents[2] / "build" / "server-proof.jsonl"
BEGIN, END = "<!-- proof: written by make server-proof -->", "<!-- end of proof -->"


def main() -> int:
    """Run the trials; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TRIAL", help=", ".join(t.__name__ for t in TRIALS))
    parser.add_argument("--resume", action="store_true", help="do only what an interrupted call has left")
    given = parser.parse_args()
    names = given.names
    done = _done() if given.resume else {}
    if not names and not given.resume:
        DONE.unlink(missing_ok=True)
    chosen = [trial for trial in TRIALS if not names or trial.__name__ in names]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), "--largest", "0.03", "--per-key", "6")
        for number in range(IMAGES):
            expected(service, number)  # not in the threads of clients: local runs share one network
        try:
            for trial in chosen:
                if trial.__name__ in done:
                    continue
                begun = time.monotonic()
                try:
                    told = trial(service)
                    done[trial.__name__] = f"- {told}."
                    _note(trial.__name__, done[trial.__name__])
                    _count(told)
                except Exception:  # noqa: BLE001  # boundary: the other trials go on
                    traceback.print_exc()
                    failed += 1
                    done[trial.__name__] = f"- FAILED: {trial.__name__}."
                sys.stdout.write(f"{done[trial.__name__]} [{time.monotonic() - begun:.0f} s]\n")
                sys.stdout.flush()
        finally:
            if service.process.poll() is None:
                stopped(service)
            sys.stdout.write(service.log.read_text()[-3000:] if failed else "")
    if not names:
        _write([done[trial.__name__] for trial in TRIALS])
    return failed


def _count(told: str) -> None:
    """Keep a row for the table of `make faults`."""
    fault, _, outcome = told.partition(": ")
    number, _, what = fault.partition(" ")
    tally = Tally("a server", what if number.isdecimal() else fault)
    tally.add("injected", int(number) if number.isdecimal() else 1)
    tally.told = outcome
    tally.keep()


def _note(name: str, line: str) -> None:
    """Keep an outcome for a call that resumes this one."""
    DONE.parent.mkdir(exist_ok=True)
    with DONE.open("a", encoding="utf-8") as file:
        file.write(json.dumps([name, line]) + "\n")


def _done() -> dict[str, str]:
    """The outcomes of an interrupted call. The last trial, the end of the server, is done again."""
    lines = DONE.read_text(encoding="utf-8").splitlines() if DONE.exists() else []
    outcomes: dict[str, str] = dict(json.loads(line) for line in lines)
    outcomes.pop(TRIALS[-1].__name__, None)
    return outcomes


def _write(lines: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    where = machine().partition(", Python")[0]
    when = f"Version {__version__}, two engines on one machine without a card ({where}):"
    PAGE.write_text(
        "\n".join([head + BEGIN, "", when, "", *lines, "", END + rest.partition(END)[2]]), encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
