"""One folder for everything that nnU-Net reads and writes: raw data, preprocessed data, results.

nnU-Net takes its three folders from the environment when it is imported, so `Workspace.activate` comes first.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from mednext.errors import OptionError

logger = logging.getLogger(__name__)


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
        """Make the folders and point nnU-Net to them.

        Raises:
            OptionError: a number of processes in the environment is none.
        """
        for variable, least in (("nnUNet_n_proc_DA", 0), ("nnUNet_def_n_proc", 1)):
            text = os.environ.get(variable, str(least))
            if not text.isdecimal() or int(text) < least:
                raise OptionError(
                    f"${variable} is {text!r}, no whole number from {least} on: unset or correct it."
                )
        for variable, folder in (
            ("nnUNet_raw", self.raw),
            ("nnUNet_preprocessed", self.preprocessed),
            ("nnUNet_results", self.results),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            if os.environ.get(variable, str(folder)) != str(folder):
                logger.warning("$%s is not used: --workspace chooses %s.", variable, folder)
            os.environ[variable] = str(folder)
