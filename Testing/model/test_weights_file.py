"""Files of weights are checked without torch."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.models.bundles import tiny_bundle
from mednext.errors import BundleIntegrityError
from mednext.model.weights_file import check_weights

ENGINE = Path(__file__).parents[2] / "MedNeXtSegmentation"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    bundle = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    return (bundle.path / bundle.model.folds[0].file).read_bytes()


def check(folder: Path, data: bytes) -> None:
    """Check a file against its own hash."""
    path = folder / "fold_0.safetensors"
    path.write_bytes(data)
    check_weights(path, hashlib.sha256(data).hexdigest())


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_sound_weights_pass(weights: bytes, tmp_path: Path) -> None:
    check(tmp_path, weights)


def test_a_file_with_another_digest_is_refused(weights: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fold_0.safetensors"
    path.write_bytes(weights)
    with pytest.raises(BundleIntegrityError, match="damaged or were changed"):
        check_weights(path, "0" * 64)
    with pytest.raises(BundleIntegrityError, match="cannot be read"):
        check_weights(tmp_path / "missing", "0" * 64)


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "v": 1},
        {"w": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2.0], "data_offsets": [0.0, 8.0]}},
        {},
        [],
    ],
)
def test_a_header_that_does_not_describe_its_file_is_refused(header: object, tmp_path: Path) -> None:
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        check(tmp_path, safetensors(header, bytes(8)))


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"w": %s, "w": %s}' % ((b'{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}',) * 2),
    ],
)
def test_a_deeply_nested_or_ambiguous_header_is_refused(header: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        check(tmp_path, struct.pack("<Q", len(header)) + header + bytes(8))


@pytest.mark.parametrize("length", [0, 7, 8, 100])
def test_a_truncated_file_is_refused(length: int, weights: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        check(tmp_path, weights[:length])


def test_models_are_installed_exported_and_removed_without_torch(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    program = f"""
import os, sys
from pathlib import Path
os.environ["MEDNEXT_MODELS"] = {str(tmp_path / "models")!r}
sys.modules["torch"] = None
from mednext.library import store
store.install_from_folder({str(tmp_path / "tiny")!r})
store.export_zip("tiny", {str(tmp_path / "tiny.zip")!r})
store.remove("tiny")
store.install_from_zip({str(tmp_path / "tiny.zip")!r})
print(store.installed_names())
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ENGINE, check=False
    )
    assert "'tiny'" in result.stdout, result.stderr
