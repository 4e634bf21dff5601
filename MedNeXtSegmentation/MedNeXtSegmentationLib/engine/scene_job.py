"""A file of what lies in the scene: copied by the main thread, written by a process of the engine."""

from __future__ import annotations

from typing import Any

from mednext.worker.run_folder import emptying, run_folder
from mednext.worker.scene.jobs import SceneJob

from .command import carrying_out
from .run import BUSY, Run, Steps


def start_job(job: SceneJob) -> Run[dict[str, Any]]:
    """Begin to write; the result is that of `scene.jobs.carry_out`, which tells the errors, too.

    Raises from `result` `OutputError` when the temporary folder cannot be written, and whatever the job's own
    arrays raise when the scene was changed meanwhile.
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
