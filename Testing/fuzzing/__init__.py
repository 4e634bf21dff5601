"""Fuzz the readers of foreign files: they read a damaged or malicious file, or refuse it with a sentence.

A *target* is a name, a function that writes sound files into a folder (the seeds), and a function that reads
one file. Each execution mutates one seed in its place, beside the files that belong to it, and reads it.
The only error may be a `MedNeXtError`: no signal, no hang, no lack of memory, no other exception.

    # Testing/fuzzing/color_targets.py: every module called *_targets is found
    def seeds(folder: Path) -> list[Path]:
        (folder / "colors.txt").write_text("1 liver 221 130 101 255\\n")
        return [folder / "colors.txt"]  # the files to mutate; others in the folder stay as they are

    TARGETS = (Target("colour table", seeds, read_color_table),)

Executions run in batches, each in a child process with limited memory. If a child crashes or hangs, it is
ended, the file is kept, and the next child continues with the next file. The number of an execution gives the
same mutation on every machine: `python -m fuzzing --target "colour table" --only 17` repeats one.

`Testing/project/test_fuzzing.py` spends seconds on each target, `make fuzz` minutes.
"""

from __future__ import annotations

from .targets import Finding, Outcome, Target, all_targets
from .watching import fuzz

__all__ = ["Finding", "Outcome", "Target", "all_targets", "fuzz"]
