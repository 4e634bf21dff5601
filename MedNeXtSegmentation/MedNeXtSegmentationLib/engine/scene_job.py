"""Export of a part of the scene: the main thread copies it, a process of the engine writes the file."""

from __future__ import annotations

from typing import Any

from mednext.worker.run_folder import emptying, run_folder
from mednext.worker.scene.jobs import SceneJob

from .command import carrying_out
from .run import BUSY, Run, Steps


def start_job(job: SceneJob) -> Run[dict[str, Any]]:
    """Begin to write. `result` returns the result and raises the errors of `worker.scene.jobs.carry_out`.

    It also raises `OutputError` when the temporary folder cannot be written, and the errors of the job's
    arrays when the scene changes meanwhile.
    """

    def steps(run: Run[dict[str, Any]]) -> Steps[dict[str, Any]]:
        with run_folder() as folder:
            for _ in job.writing(folder):
                run.check_cancelled()
                yield BUSY
            done = yield from carrying_out(run, "scene-job", str(folder))
            for _ in emptying(folder):
                yield BUSY
        return done

    return Run(steps)
