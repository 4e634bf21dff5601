"""The processes that read the mutated files, and print the begin and the end of each execution.

    python -m fuzzing.child

The process imports all targets once, which takes seconds, and forks for each request: a line of JSON on
standard input, [MODULE, TARGET, SCRATCH, FOLDER, SEED, FIRST, COUNT]. With the seed "former" the numbers are
those of `former_findings`. Where there is no fork, the process itself carries out its first request and ends.

The seeds are written into `SCRATCH/seeds`, and mutated there; files that led to findings are copied into
`FOLDER`. Lines on standard output: `process PID`; for each execution `begin NUMBER FILE`, then
`end NUMBER HOW`, or `bad NUMBER HOW` for an exception that is not in the tree; after the end of a fork
`gone CODE`, with its exit code or the negative number of a signal.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from mednext.errors import MedNeXtError

from .former_findings import FORMER, former_case
from .targets import Target, all_targets, targets_of


def main() -> None:
    """Carry out requests, each in a process of its own, until standard input ends."""
    all_targets()
    for line in sys.stdin:
        child = os.fork() if hasattr(os, "fork") else 0
        if child:
            _, status = os.waitpid(child, 0)
            _say(f"gone {os.waitstatus_to_exitcode(status)}")
            continue
        _say(f"process {os.getpid()}")
        module, name, scratch, folder, seed, first, count = json.loads(line)
        carry_out(module, name, Path(scratch), Path(folder), seed, range(first, first + count))
        return


def carry_out(module: str, name: str, scratch: Path, folder: Path, seed: str, numbers: range) -> None:
    """Carry out the executions with these numbers."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    target = next(target for target in targets_of(module) if target.name == name)
    tempfile.tempdir = str(scratch)
    place = scratch / "seeds"
    place.mkdir()
    paths = [Path(path) for path in target.seeds(place)]
    for path in paths:  # late imports count as memory of the idle process
        target.run(path)
    _limit_memory(target.memory_mb)
    for number in numbers:
        chance = random.Random(f"{target.name} {seed} {number}")
        path = chance.choice(paths)
        sound = path.read_bytes()
        if seed == FORMER:
            path, sound, damaged = former_case(target.name, paths, number)
        else:
            damaged = target.mutate(sound, chance)
        path.write_bytes(damaged)
        _say(f"begin {number} {path}")
        how, expected = _end(target, path)
        if not expected:
            shutil.copyfile(path, kept_at(folder, number, path))
        _say(f"{'end' if expected else 'bad'} {number} {how}")
        path.write_bytes(sound)


def kept_at(folder: Path, number: int, path: Path) -> Path:
    """The path where a file that led to a finding is kept."""
    return folder / f"{number}-{path.name}"


def _end(target: Target, path: Path) -> tuple[str, bool]:
    """Read a file; return the end in a word or a line, and True if it is allowed."""
    try:
        target.run(path)
    except MedNeXtError as error:
        return type(error).__name__, True
    except BaseException as error:  # noqa: BLE001 - boundary: everything else is a finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{text[:200]} ({Path(last.filename).name}:{last.lineno})", False
    return "read", True


def _limit_memory(megabytes: int) -> None:
    """Limit the memory beyond that of the process now; Windows and macOS cannot."""
    if not Path("/proc/self/statm").exists():
        return
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _say(line: str) -> None:
    sys.stdout.write(line.encode("ascii", "replace").decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
