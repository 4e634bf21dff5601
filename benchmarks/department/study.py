"""Measure all of a study but its segmentation, with an archive on the same machine, and print a table.

python -m benchmarks.department.study --slices 300

A CT of 512×512 voxels a slice goes into Orthanc, and comes back as a batch retrieves it; labels of fourteen
balls stand for a result. The network's time is added by the tables of `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Testing"))

import numpy as np
from fixtures.images.dicom_files import write_series
from fixtures.models import bundles
from fixtures.servers import orthanc
from mednext import read_volume
from mednext.batch.dicom_segs import DicomSegs
from mednext.dicomweb.archive import Archive, Credentials
from mednext.dicomweb.retrieval import retrieved
from mednext.dicomweb.search import Selection, cases_in_archive
from mednext.dicomweb.storing import store
from mednext.images.geometry import Geometry
from mednext.model.description import Channel
from mednext.model.labels import Label
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.result import Segmentation

from ..report import Row, machine, table

SIDE = 512
STRUCTURES = 14


def _phantom(slices: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT `(Z, Y, X)` in HU with noise, and its labels."""
    z, y, x = np.ogrid[:slices, :SIDE, :SIDE]
    random = np.random.default_rng(0)
    voxels = random.normal(40, 20, (slices, SIDE, SIDE)).astype(np.float32)
    voxels[:, (y[0] - 256) ** 2 + (x[0] - 256) ** 2 > 200**2] = -1000
    labels = np.zeros(voxels.shape, np.uint8)
    for value in range(1, STRUCTURES + 1):
        middle = random.integers(120, SIDE - 120, 2)
        inside = ((z - slices / 2) * 1.5) ** 2 + (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 40**2
        labels[inside] = value
    return voxels, labels


def _measured(slices: int, folder: Path) -> list[Row]:
    """Seconds of each step, and those of this process on the processor."""
    voxels, labels = _phantom(slices)
    grid = Geometry((SIDE, SIDE, slices), (0.8, 0.8, 1.5))
    write_series(folder / "ct", voxels, grid)
    model = bundles.tiny_model(channels=(Channel("CT", "CT", "zscore"),))
    names = tuple(Label(value, f"structure {value}", (value, 100, 100)) for value in range(1, STRUCTURES + 1))
    rows: list[Row] = []

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        begin, own = time.monotonic(), time.process_time()
        yield
        taken = {"seconds": time.monotonic() - begin, "of our processor": time.process_time() - own}
        rows.append({"step": step, **taken})

    with orthanc.orthanc(folder) as running:
        running.add((folder / "ct").iterdir())
        archive = Archive(running.address, Credentials(user=orthanc.USER, password=orthanc.PASSWORD))
        with timed("find it in the archive"):
            (case,) = cases_in_archive(archive, model, Selection(query={"StudyDate": "20260101"}))
        with ExitStack() as stack:
            with timed("retrieve it"):
                local = stack.enter_context(retrieved(archive, case, folder))
            with timed("read and check it"):
                volume = read_volume(local.images[0])
            result = Segmentation(labels, volume.geometry, names, {"model": "balls", "task": "none"})
            segs = DicomSegs()
            with timed("check that a DICOM SEG can be made"):
                segs.check(local)
            with timed("write .seg.nrrd"):
                write_segmentation(folder / "ct.seg.nrrd", result)
            with timed("write DICOM SEG"):
                segs.write(folder / "ct.dcm", segs.named(result), local)
            with timed("store it"):
                store(archive, folder / "ct.dcm")
    return rows


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.department.study", description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = _measured(options.slices, Path(name))
        size = (Path(name) / "ct.dcm").stat().st_size / 2**20
    title = f"A CT of {SIDE}×{SIDE}×{options.slices} voxels; the DICOM SEG has {size:.1f} MiB"
    sys.stdout.write(f"{table(title, rows)}\n{machine()}.\n")


if __name__ == "__main__":
    main()
