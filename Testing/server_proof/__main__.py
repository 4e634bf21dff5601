"""Run all trials, or those that are named, and write the outcomes into docs/server.md.

make server-proof
python -m server_proof twenty_clients killed_engines
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from fault_table import Tally
from mednext import __version__

from .service import Service
from .trials import IMAGES, TRIALS, expected, stopped

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
BEGIN, END = "<!-- proof: written by make server-proof -->", "<!-- end of proof -->"


def main() -> int:
    """Run the trials; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TRIAL", help=", ".join(t.__name__ for t in TRIALS))
    names = parser.parse_args().names
    chosen = [trial for trial in TRIALS if not names or trial.__name__ in names]
    lines, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), "--largest", "0.03", "--per-key", "6")
        for number in range(IMAGES):
            expected(service, number)  # not in the threads of clients: local runs share one network
        try:
            for trial in chosen:
                begun = time.monotonic()
                try:
                    told = trial(service)
                    lines.append(f"- {told}.")
                    _count(told)
                except Exception:  # noqa: BLE001  # boundary: the other trials go on
                    traceback.print_exc()
                    failed += 1
                    lines.append(f"- FAILED: {trial.__name__}.")
                sys.stdout.write(f"{lines[-1]} [{time.monotonic() - begun:.0f} s]\n")
                sys.stdout.flush()
        finally:
            if service.process.poll() is None:
                stopped(service)
            sys.stdout.write(service.log.read_text()[-3000:] if failed else "")
    if not names:
        _write(lines)
    return failed


def _count(told: str) -> None:
    """Keep a row for the table of `make faults`."""
    fault, _, outcome = told.partition(": ")
    number, _, what = fault.partition(" ")
    tally = Tally("a server", what if number.isdecimal() else fault)
    tally.add("injected", int(number) if number.isdecimal() else 1)
    tally.told = outcome
    tally.keep()


def _write(lines: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    when = f"Version {__version__}, {datetime.now(UTC):%Y-%m-%d}, two engines on the CPU of one machine:"
    PAGE.write_text(
        "\n".join([head + BEGIN, "", when, "", *lines, "", END + rest.partition(END)[2]]), encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
