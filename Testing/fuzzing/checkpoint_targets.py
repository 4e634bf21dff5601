"""Targets: pickles, files of torch, results folders, model.json, weights."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fixtures.models.bundles import tiny_bundle
from fixtures.models.results_folders import v1_plans, write_v1_folder, write_v2_folder
from mednext.checkpoints import ImportOptions, weights_in_file
from mednext.checkpoints.import_report import ImportNotes
from mednext.checkpoints.nnunet.v1 import read_v1
from mednext.checkpoints.nnunet.v2 import read_v2
from mednext.checkpoints.pickles.reading import load_pickle, load_torch
from mednext.model.description_consistency import check_model
from mednext.model.model_file import read_model
from mednext.model.weights_file import check_weights

from .mutation import mutated
from .targets import Target

OPTIONS = ImportOptions(orientation="RAS", labels={1: "spleen", 2: "liver"})

# Instructions that build values, and the names that a pickle may use.
_INSTRUCTIONS = [bytes([code]) for code in b"()]}N0aebRtdlsu\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94Q\x81"]
_INSTRUCTIONS += [
    b"h\x00",
    b"h\x01",
    b"h\x05",
    b"q\x00",
    b"q\x05",
    b"K\x00",
    b"K\xff",
    b"\x8a\x08" + b"\xff" * 8,
]
_INSTRUCTIONS += [
    b"I-1\n",
    b"G\x7f\xf8" + bytes(6),
    b"C\x08" + bytes(8),
    b"X\x02\0\0\0f8",
    b"X\x03\0\0\0\xed\xa0\x80",
]
_INSTRUCTIONS += [
    b"c" + name.replace(".", "\n").encode() + b"\n"
    for name in (
        "numpy.dtype",
        "numpy.ndarray",
        "builtins.set",
        "builtins.bytearray",
        "collections.OrderedDict",
    )
]
_INSTRUCTIONS += [b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n"]
_INSTRUCTIONS += [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ctorch\nSize\n"]


def _pickles(folder: Path) -> list[Path]:
    paths = [folder / f"{protocol}.pkl" for protocol in (0, 2, 4, 5)]
    for path, protocol in zip(paths, (0, 2, 4, 5), strict=True):
        plans = {**v1_plans(), "further": [{1, 2}, b"\xff", bytearray(2), np.array(["a"]), 1j, np.float16(1)]}
        path.write_bytes(pickle.dumps(plans, protocol))
    return paths


def _other_instructions(content: bytes, chance: random.Random) -> bytes:
    """Replace some instructions of a pickle, or change bytes as in any file."""
    if chance.random() < 0.4:
        return mutated(content, chance)
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(len(data), 1))
        added = b"".join(chance.choices(_INSTRUCTIONS, k=chance.randint(1, 6)))
        data[place : place + chance.choice((0, 0, 1, 2, 10))] = added
    return bytes(data)


def _saved() -> dict[str, Any]:
    weights = {
        f"w{n}": torch.ones(2, 3, dtype=kind) for n, kind in enumerate((torch.float32, torch.bfloat16))
    }
    return {
        "state_dict": weights,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "n": np.float64(1),
        "i": {3: None},
    }


def _zips(folder: Path) -> list[Path]:
    torch.save(_saved(), folder / "zip.pth")
    return [folder / "zip.pth"]


def _legacy(folder: Path) -> list[Path]:
    torch.save(_saved(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    return [folder / "legacy.pth"]


def _within_the_zip(content: bytes, chance: random.Random) -> bytes:
    """Change one member, with a correct checksum, or the zip itself."""
    if chance.random() < 0.3:
        return mutated(content, chance)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    changed = pickled if chance.random() < 0.8 else chance.choice(list(members))
    members[changed] = _other_instructions(members[changed], chance)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _v1(folder: Path) -> list[Path]:
    write_v1_folder(folder / "v1", told_plans=False)
    (folder / "v1" / "postprocessing.json").write_text(json.dumps({"for_which_classes": [[1, 2], 2]}))
    (folder / "v1" / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "a", "2": "b"}})
    )
    names = ("plans.pkl", "postprocessing.json", "dataset.json", "fold_0/model_final_checkpoint.model.pkl")
    return [folder / "v1" / name for name in names]


def _v2(folder: Path) -> list[Path]:
    write_v2_folder(folder / "v2", told_plans=False)
    return [folder / "v2" / "plans.json", folder / "v2" / "dataset.json"]


_checkpoints: dict[Path, Any] = {}


def _load_once(path: Path, removed: list[str] | None = None) -> Any:
    """A checkpoint beside the mutated files, which nothing changes."""
    if path not in _checkpoints:
        _checkpoints[path] = load_torch(path, removed)
    return _checkpoints[path]


def _reading(read: Callable[..., Any], name: str) -> Callable[[Path], None]:
    """A function that reads the results folder of this name around a file."""

    def run(path: Path) -> None:
        weights_in_file.load_torch = _load_once  # type: ignore[attr-defined]
        folder = next(parent for parent in path.parents if parent.name == name)
        model, _ = read(folder, "model", OPTIONS, ImportNotes())
        check_model(model)

    return run


def _models(folder: Path) -> list[Path]:
    return [tiny_bundle(folder / "tiny", accuracy={"source": "a test", "dice": 0.5}).path / "model.json"]


def _weights(folder: Path) -> list[Path]:
    return [tiny_bundle(folder / "tiny").path / "fold_0.safetensors"]


TARGETS = (
    Target("pickle", _pickles, load_pickle, _other_instructions),
    Target("torch zip", _zips, load_torch, _within_the_zip),
    Target("torch legacy", _legacy, load_torch, _other_instructions),
    Target("nnU-Net v1 results", _v1, _reading(read_v1, "v1")),
    Target("nnU-Net v2 results", _v2, _reading(read_v2, "v2")),
    Target("model.json", _models, lambda path: read_model(path.parent)),
    Target(
        "safetensors",
        _weights,
        lambda path: check_weights(path, hashlib.sha256(path.read_bytes()).hexdigest()),
    ),
)
