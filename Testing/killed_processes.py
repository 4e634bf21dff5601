"""A process is killed at each of its changes to the file system, one after the other, and the next one looks.

    python killed_processes.py install|remove ZIP MODELS

`ZIP` holds the model `tiny`, `MODELS` is a folder of models that each process begins with. Writes a line of
JSON for each: the change that it was killed before (null where it came to its end), the versions of `tiny`
that the next process finds, and the folder's content and the versions once that has installed again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mednext import store
from mednext.bundle import Bundle, load_bundle
from mednext.errors import UnknownModelError

_CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _killed_at(number: int, action: Callable[[], object]) -> list[Any] | None:
    """Run the action in a process that kills itself before its change of this number; returns the change."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        left = number

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event not in _CHANGES and not (event == "open" and arguments[2] & _WRITING):
                return
            left -= 1
            if left < 0:
                os.write(writer, json.dumps([event, str(arguments[0])]).encode())
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        action()
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        change = pipe.read()
    if os.WIFSIGNALED(status):
        return json.loads(change)
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def _found() -> list[str]:
    """Versions of the model that a new process finds, with all their weights."""
    try:
        bundle: Bundle = load_bundle("tiny")
    except UnknownModelError:
        return []
    bundle.check()
    return [bundle.model.version]


def main(action: str, zip_file: str, models: str) -> None:
    actions: dict[str, Callable[[], object]] = {
        "install": lambda: store.install_from_zip(zip_file, overwrite=True),
        "remove": lambda: store.remove("tiny"),
    }
    for number in range(10_000):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "models"
            shutil.copytree(models, place)
            os.environ["MEDNEXT_MODELS"] = str(place)
            change = _killed_at(number, actions[action])
            found = _found()
            store.install_from_zip(zip_file, overwrite=True)
            left = sorted(path.name for path in place.iterdir())
            fate = {"change": change, "found": found, "left": left, "after": _found()}
            sys.stdout.write(json.dumps(fate) + "\n")
        if change is None:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
