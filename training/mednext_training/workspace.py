"""One folder for everything that nnU-Net reads and writes: raw data, preprocessed data, results.

nnU-Net takes its three folders from the environment when it is imported, so `Workspace.activate` comes first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders of one training machine.

    Attributes:
        root: the folder of all.
        raw_data: where data sets in nnU-Net's raw layout lie, if not in `root / "raw"`.
    """

    root: Path
    raw_data: Path | None = None

    @property
    def raw(self) -> Path:
        return self.raw_data or self.root / "raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def activate(self) -> None:
        """Make the folders and point nnU-Net to them."""
        for variable, folder in (
            ("nnUNet_raw", self.raw),
            ("nnUNet_preprocessed", self.preprocessed),
            ("nnUNet_results", self.results),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(folder)
