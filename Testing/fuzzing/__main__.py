"""Fuzz the readers for minutes: `make fuzz`, or `python -m fuzzing --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import Outcome, Target, all_targets, fuzz


def main() -> int:
    """Fuzz the targets one after the other; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--target", action="append", help="name of a target; all by default")
    parser.add_argument("--executions", type=int, default=20_000, help="for each target (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="for each target, at most (%(default)s)")
    parser.add_argument("--seed", default="0", help="another one gives other mutations (%(default)s)")
    parser.add_argument("--only", type=int, help="number of one execution to repeat")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzzing"), help="place of the files")
    options = parser.parse_args()
    targets = all_targets()
    unknown = set(options.target or ()) - set(targets)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    outcomes = [_one(targets[name], options) for name in options.target or targets]
    found = sum(len(outcome.findings) for outcome in outcomes)
    executions = sum(outcome.executions for outcome in outcomes)
    sys.stdout.write(f"{executions} executions of {len(outcomes)} readers, {found} findings\n")
    return 1 if found else 0


def _one(target: Target, options: argparse.Namespace) -> Outcome:
    folder = options.folder.resolve() / target.name.replace(" ", "-")
    first, executions = (0, options.executions) if options.only is None else (options.only, 1)
    outcome = fuzz(target, folder, executions, options.seed, first, options.seconds)
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
