"""Fuzz the readers for minutes: `make fuzz`, or `python -m fuzzing --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.report import machine

from . import Outcome, Target, all_targets, fuzz
from .counting import Counts, write_page


def main() -> int:
    """Fuzz the targets one after the other; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--target", action="append", help="name of a target; all by default")
    parser.add_argument(
        "--executions",
        type=int,
        default=20_000,
        help="for each target; those of former calls with this seed count (%(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each target, at most (%(default)s)")
    parser.add_argument("--seed", default="0", help="another one gives other mutations (%(default)s)")
    parser.add_argument("--only", type=int, help="number of one execution to repeat")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzzing"), help="place of the files")
    parser.add_argument("--page", action="store_true", help="write the counts into docs/reliability.md")
    options = parser.parse_args()
    targets = all_targets()
    unknown = set(options.target or ()) - set(targets)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    counts = Counts(options.folder / "counts.jsonl")
    outcomes = [_one(targets[name], options, counts) for name in options.target or targets]
    found = sum(len(outcome.findings) for outcome in outcomes)
    executions = sum(outcome.executions for outcome in outcomes)
    sys.stdout.write(f"{executions} executions of {len(outcomes)} readers, {found} findings\n")
    if options.page:
        counted_on = machine().partition(", Python")[0]
        write_page(f"Counted on {counted_on}.\n\n{counts.table(targets)}")
    return 1 if found else 0


def _one(target: Target, options: argparse.Namespace, counts: Counts) -> Outcome:
    folder = options.folder.resolve() / target.name.replace(" ", "-")
    if options.only is not None:
        outcome = fuzz(target, folder, 1, options.seed, options.only)
    else:
        first = counts.done(target.name, options.seed)
        outcome = fuzz(target, folder, options.executions - first, options.seed, first, options.seconds)
        counts.add(target.name, options.seed, outcome)
    _print(target, outcome)
    return outcome


def _print(target: Target, outcome: Outcome) -> None:
    ends = ", ".join(f"{count} {end}" for end, count in outcome.ends.most_common())
    lines = [f"{target.name}: {outcome.executions} executions in {outcome.seconds:.0f} s: {ends}"]
    lines += [f"  FOUND {finding.number}: {finding.end}: {finding.file}" for finding in outcome.findings]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
