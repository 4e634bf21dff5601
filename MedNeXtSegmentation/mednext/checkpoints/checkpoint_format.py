"""A kind of foreign checkpoint: how to know it, and how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.description import Model
from .import_options import ImportOptions
from .import_report import ImportNotes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CheckpointFormat:
    """A format of checkpoints; `importing.FORMATS` lists them all.

    Attributes:
        name: for messages.
        accepts: whether a folder or a file is a checkpoint of this format, judged by names.
        read: the model in it, and the weights of each fold; it takes notes for the report.
        plans_file: the file that a results folder of this format holds, for messages.
    """

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path, str, ImportOptions, ImportNotes], tuple[Model, dict[int, dict[str, Tensor]]]]
    plans_file: str = ""
