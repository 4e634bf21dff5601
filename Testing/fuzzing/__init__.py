"""Readers of foreign files on damaged and malicious ones: they refuse with a sentence, or they read.

A *target* is a name, a function that writes sound files into a folder (the seeds), and a function that reads
one file. For each execution one seed is mutated where it lies, beside the files that belong to it, and read.
Only a `MedNeXtError` may come out of that: no signal, no hang, no lack of memory, no other exception.

    # Testing/fuzzing/color_targets.py: every module called *_targets is found, no list is to be kept
    def seeds(folder: Path) -> list[Path]:
        (folder / "colors.txt").write_text("1 liver 221 130 101 255\\n")
        return [folder / "colors.txt"]  # those to be mutated; other files in the folder stay as they are

    TARGETS = (Target("colour table", seeds, read_color_table),)

Executions run in batches, in one child process each, that has a limit of memory; a child that crashes or
hangs is ended, the file that did it is kept, and the next child goes on behind it. The same number of an
execution is the same mutation on every machine: `python -m fuzzing --target "colour table" --only 17` repeats
one.

`Testing/project/test_fuzzing.py` spends seconds on each target, `make fuzz` minutes.
"""

from __future__ import annotations

from .targets import Finding, Outcome, Target, all_targets
from .watching import fuzz

__all__ = ["Finding", "Outcome", "Target", "all_targets", "fuzz"]
