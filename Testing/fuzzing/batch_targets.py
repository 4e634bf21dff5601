"""Targets: files of a batch's folder, scenes of Slicer, results to view, a training set, files of keys."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fixtures.models.bundles import tiny_bundle
from mednext.batch.case import Case
from mednext.batch.claims import Claims, claim_file
from mednext.batch.finished_case import fingerprint, finished, sealed, words_of
from mednext.batch.report import Report, Row, table_of
from mednext.batch.scene_files import files_of_scene
from mednext.dicomweb.storing import _recorded
from mednext.errors import OutputError
from mednext.images.geometry import Geometry
from mednext.library import first_use
from mednext.model.labels import Label
from mednext.model.model_file import read_model
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.result import Segmentation
from mednext.server.keys import KeyFile
from mednext.system.running_processes import signature
from mednext.training_set.dataset import DATASET_FILE, describe, read_description
from mednext.viewing.shown_result import read_result

from .targets import Target

GRID = Geometry((7, 6, 5), (1, 1.5, 2), (3, -4, 5))
LABELS = (Label(1, "=liver", (1, 2, 3)), Label(2, "spleen", (4, 5, 6)))
CASE = Case("a", (), (), "a.nii.gz")


def _result() -> Segmentation:
    labelmap = (np.arange(210).reshape(GRID.shape) % 3).astype(np.uint8)
    return sealed(
        Segmentation(labelmap, GRID, LABELS, {"model": "tiny", "options": "none"}), CASE, fingerprint(CASE)
    )


def _results(folder: Path) -> list[Path]:
    write_segmentation(folder / "a.seg.nrrd", _result())
    return [folder / "a.seg.nrrd"]


def _finished(path: Path) -> None:
    words_of(path)
    if finished(path, CASE, {"model": "tiny"}, LABELS) is None:
        raise OutputError("is done again")


def _shown(folder: Path) -> list[Path]:
    write_segmentation(folder / "a.seg.nrrd", _result())
    write_segmentation(folder / "b.nii.gz", _result())
    return [folder / "a.seg.nrrd"]


def _reports(folder: Path) -> list[Path]:
    row = Row("=a", "done", volumes_ml={"liver": 1.5}, intensities={})
    (folder / "report.csv").write_bytes(table_of([row, replace(row, case="b,\n")]))
    return [folder / "report.csv"]


def _read_report(path: Path) -> None:
    rows = Report(path).rows()
    list(csv.reader(io.StringIO(table_of(rows).decode("utf-8-sig"))))


def _claims(folder: Path) -> list[Path]:
    path = claim_file(folder / "a.seg.nrrd", 0)
    path.write_text(f"{signature()}-0123456789ab 00000004\n")
    return [path]


def _claim(path: Path) -> None:
    if not Claims()._lives(path):
        raise OutputError("may be taken over")


def _scenes(folder: Path) -> list[Path]:
    text = '<?xml version="1.0"?><MRML userTags=""><Volume id="a" fileName="data/a%20b.nrrd"></Volume></MRML>'
    (folder / "a.mrml").write_text(text)
    return [folder / "a.mrml"]


def _scene(path: Path) -> None:
    if not files_of_scene(path):
        raise OutputError("no files")


def _sets(folder: Path) -> list[Path]:
    model = tiny_bundle(folder / "tiny").model
    (folder / DATASET_FILE).write_text(json.dumps(describe(model)))
    return [folder / DATASET_FILE]


def _keys(folder: Path) -> list[Path]:
    KeyFile(folder / "keys.json").add("jane")
    return [folder / "keys.json"]


def _ledgers(folder: Path) -> list[Path]:
    files = {"https://a.example/m.zip": {"sha256": "0" * 64, "date": "2026-01-31"}}
    (folder / "ledger.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return [folder / "ledger.json"]


def _records(folder: Path) -> list[Path]:
    words = {"archive": "https://a.example", "sop_instance_uid": "1.2.3", "time": "2026-01-31"}
    (folder / "a.stored.json").write_text(json.dumps(words))
    return [folder / "a.stored.json"]


SMALL = {  # readers of small files, by the name of the seed; together in one child process, as each is quick
    ".claim-0.lock": (_claims, _claim),
    "a.mrml": (_scenes, _scene),
    DATASET_FILE: (_sets, lambda path: read_description(path.parent, read_model(path.parent / "tiny"))),
    "keys.json": (_keys, lambda path: KeyFile(path).listed()),
    "ledger.json": (_ledgers, first_use._read),
    "a.stored.json": (_records, _recorded),
}


def _small(folder: Path) -> list[Path]:
    return [path for seeds, _ in SMALL.values() for path in seeds(folder)]


def _read_small(path: Path) -> None:
    _, read = next(reader for end, reader in SMALL.items() if path.name.endswith(end))
    read(path)


TARGETS = (
    Target("result of a batch", _results, _finished),
    Target("result to view", _shown, read_result),
    Target("report of a batch", _reports, _read_report),
    Target("small file of ours", _small, _read_small),
)
