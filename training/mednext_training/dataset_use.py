"""Which commands work on a data set: those that train share it, one that changes its files has it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import escape
from typing import Literal

from mednext.errors import OptionError
from mednext.system.locks import locked, locked_if_free
from mednext.system.running_processes import signature

from .datasets import Dataset
from .workspace import Workspace

Command = Literal["convert", "plan", "train", "experiment", "baseline"]
_CHANGING = ("convert", "plan")
_USE = re.compile(r"([a-z]+)-[0-9a-f]{8}-(\d+)\.lock")


@contextmanager
def in_use(workspace: Workspace, dataset: Dataset, command: Command) -> Iterator[None]:
    """Hold a data set while a command works on it.

    Raises:
        OptionError: another process changes the data set, or works on what this command would change.
        OSError: the workspace cannot be written.
    """
    workspace.root.mkdir(parents=True, exist_ok=True)
    name = f".{dataset.folder_name}."
    with ExitStack() as held:
        with locked(workspace.root / f"{name}lock"):  # for a moment, in which nobody else begins
            _refuse_beside_others(workspace, dataset, command, name)
            held.enter_context(locked_if_free(workspace.root / f"{name}{command}-{signature()}.lock"))
        yield


def _refuse_beside_others(workspace: Workspace, dataset: Dataset, command: Command, name: str) -> None:
    for file in workspace.root.glob(f"{escape(name)}*-*.lock"):
        use = _USE.fullmatch(file.name.removeprefix(name))
        if use is None or not {command, use[1]} & {*_CHANGING}:
            continue
        with locked_if_free(file) as free:  # that of a process which was killed is removed here
            if not free:
                raise OptionError(
                    f"'mednext-train {use[1]}' (process {use[2]}) is working on {dataset.folder_name}: wait "
                    "until it has ended, or stop it."
                )
