"""The job that every worker of a batch gets first, and the messages that follow, as lines of JSON.

To the worker:

    {"job": {...}}
    {"case": {...}, "number": 4, "target": "/results/liver.seg.nrrd"}
    {"cancel": true}                                write the last result, and end
    {"end": true}                                   there are no more cases

From the worker, which has at most one case in work, one read ahead and one being written:

    {"event": "ready", "mednext": "0.1.0", "machine": "node7", "recipe": {...}}
    {"event": "wants"}                              a case to read
    {"event": "row", "number": 4, "row": {...}}
    {"event": "alive"}                              every few seconds
    {"event": "error", "error": "BundleError", ...} it cannot work; nor could it with other cases
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...dicomweb.archives import Archives
from ...errors import EngineProcessError
from ...system.json_values import from_json
from ..protocol import Order

Message = dict[str, Any]


@dataclass(frozen=True)
class CrewJob:
    """The work that all workers share.

    Attributes:
        order: the model and the options.
        place: folder or file of the images, which every worker must see under this path; or an archive.
        output: folder of the results; the same.
        probe: name of a file in `output` that proves that a worker sees the same folder.
        resume: skip finished cases.
        alive_s: seconds between two signs of life.
        archives: that images come from and results go to.
    """

    order: Order
    place: str
    output: Path
    probe: str
    resume: bool = True
    alive_s: float = 5.0
    archives: Archives = Archives()  # noqa: RUF009 - frozen

    def with_options(self, **changes: Any) -> CrewJob:
        """The job for a worker with other options, such as `threads` or `device`."""
        return replace(self, order=replace(self.order, options=replace(self.order.options, **changes)))

    @classmethod
    def read(cls, told: Any) -> CrewJob:
        """The inverse of `to_json`. Raises `EngineProcessError` for half a job."""
        try:
            return from_json(cls, told)
        except ValueError as cause:
            raise EngineProcessError(f"The job of this worker is not complete: {cause}.") from cause
