"""`python -m slicer_contract MODULE_FOLDER ...`: exit code 1 if one uses members that Slicer lacks."""

from __future__ import annotations

import sys
from pathlib import Path

from .module_folder import check_module


def main(folders: list[str]) -> int:
    findings = [finding for folder in folders for finding in check_module(Path(folder))]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
