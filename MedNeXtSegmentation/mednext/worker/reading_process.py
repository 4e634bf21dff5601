"""Read images in a separate process, so that a file that crashes a library ends nothing else.

The process, `python -m mednext.worker.reading_process PARENT`, receives requests as lines of JSON. It answers
with a line of JSON, followed by the voxels of the volumes as in memory:

    {"images": ["/data/a.nrrd"], "insist": false}
    {"volumes": [{"array": {"shape": [1, 24, 32, 40], "dtype": "<i2"}, "geometry": {...}, ...}]}
    {"event": "error", "run": null, "error": "UnreadableImageError", "message": "a.nrrd is empty ...", ...}
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import EngineProcessError, MedNeXtError, OutOfMemoryError, UnreadableImageError
from ..images.volume import Volume, read_volume
from ..system.child_processes import child_environment, guard_this_process
from ..system.json_values import from_json, to_json
from ..system.running_processes import is_running
from .protocol import error_event, error_from_event

_KILLED = -9  # exit code of a process that Linux ended when memory ran out
_LOOKING_S = 1.0
_CLOSING_S = 1.0

logger = logging.getLogger(__name__)


class ReadingProcess:
    """Reads images in a separate process, which starts when it is needed, and again after a crash.

        with ReadingProcess() as reading:
            volumes = reading.read(["head_T1.nii.gz", "head_T2.nii.gz"])

    Only one thread at a time may use it, except for `stop`.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ReadingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin and process.stdout
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def pid(self) -> int | None:
        """The number of the process; None before the first image and after an end."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End a call of `read` in another thread, which then raises an error."""
        process = self._process
        if process is not None:
            process.kill()

    def read(self, images: Sequence[str], insist: bool = False) -> list[Volume]:
        """The result of `read_volume` for each of these images.

        Raises the errors of `read_volume`; `UnreadableImageError` where reading crashed the process,
        `OutOfMemoryError` where the system ended it, `EngineProcessError` when it cannot be started.
        """
        process = self._process = self._process or _started()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps({"images": list(images), "insist": insist}).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline() or b"null")
            if answer and "volumes" in answer:
                return [_received(each, process.stdout) for each in answer["volumes"]]
        except (OSError, EOFError, json.JSONDecodeError):  # the process was killed, perhaps within its answer
            answer = None
        if answer is None:
            raise self._explained_end(images)
        error = error_from_event(answer)
        if answer["details"]:
            logger.error("Reading %s failed:\n%s", ", ".join(images), answer["details"])
        raise error

    def _explained_end(self, images: Sequence[str]) -> MedNeXtError:
        assert self._process
        names = ", ".join(Path(image).name for image in images)
        try:
            code = self._process.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:
            code = 0
        self.__exit__()
        if code == _KILLED:
            return OutOfMemoryError(f"The system ended the reading of {names}, probably for lack of memory.")
        return UnreadableImageError(
            f"Reading {names} crashed the process that reads images (exit code {code}): the file is damaged "
            "in an unusual way. Export or convert it again."
        )


def _started() -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - this Python, and no shell
            [sys.executable, "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,  # Ctrl+C is for the waiting process alone
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except (OSError, ValueError) as error:
        raise EngineProcessError(f"{sys.executable} could not be started ({error}).") from error


def _received(told: dict[str, Any], pipe: Any) -> Volume:
    array = np.empty(**told["array"])
    left = memoryview(array.reshape(-1).view(np.uint8))
    while left:
        count = pipe.readinto(left)
        if not count:
            raise EOFError
        left = left[count:]
    return from_json(Volume, {**told, "array": array})


def main(parent: int) -> None:
    """Answer requests until standard input ends or the process `parent` has ended."""
    guard_this_process()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the answers
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    for line in sys.stdin.buffer:
        _answer(json.loads(line), answers)
        answers.flush()


def _end_with(parent: int) -> None:
    while is_running(parent):
        time.sleep(_LOOKING_S)
    os._exit(0)


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    arrays: list[np.ndarray] = []

    def outlined(array: np.ndarray) -> dict[str, Any]:
        arrays.append(array)
        return {"shape": array.shape, "dtype": array.dtype.str}

    try:
        volumes = [read_volume(image, request["insist"]) for image in request["images"]]
        line = json.dumps({"volumes": to_json(volumes)}, default=outlined)
    except MedNeXtError as error:
        line = json.dumps(error_event(None, error))
    except MemoryError:
        no_memory = OutOfMemoryError("There is not enough memory to read this image.")
        line = json.dumps(error_event(None, no_memory))
    except Exception as error:  # noqa: BLE001  # boundary: readers of foreign formats; the traceback is logged
        sentence = f"The image cannot be read ({type(error).__name__}: {error})."
        line = json.dumps(error_event(None, UnreadableImageError(sentence), traceback.format_exc()))
    answers.write(line.encode() + b"\n")
    for array in arrays:
        answers.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
