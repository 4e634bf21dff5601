"""Malicious checkpoints neither end the process, nor fill the memory, nor take for ever."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mednext.checkpoints.pickles import torch_file
from mednext.checkpoints.pickles.reading import load_pickle, load_torch
from mednext.checkpoints.pickles.values import names_of_numpy, names_of_python
from mednext.errors import CheckpointError, UnsafeCheckpointError

ALL_TYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
    torch.uint16,
    torch.float8_e4m3fn,
]


def refusal(path: Path, content: bytes) -> str:
    """The message with which a pickle of this content is refused."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        load_pickle(path)
    return str(refused.value)


def torch_zip(
    path: Path, pickled: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """A zip as torch writes it, of any pickle and storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def tensor_pickle(shape: bytes, strides: bytes, offset: bytes = b"K\x00", count: bytes = b"K\x04") -> bytes:
    """A pickle of one tensor of the storage "0" of four numbers; the parts are pickled themselves."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + count
        + b"tQ"
    )
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89}tR."


def test_no_class_of_numpy_can_be_reached() -> None:
    reachable = [value for table in (names_of_numpy(), names_of_python()) for value in table.values()]
    assert not any(isinstance(value, type) for value in reachable)
    assert not any(getattr(value, "__module__", "").startswith("numpy") for value in reachable)


def test_a_state_of_an_array_that_does_not_fit_its_bytes_is_refused(tmp_path: Path) -> None:
    """Numpy's own `__setstate__` would take some of these, and end the process."""
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'%s'\nI00\nI01\ntR"
    for kind, shape, data in (
        (b"O8", b"(I2\nt", b"S'16 bytes of data'\n"),
        (b"f8", b"(I1000000\nt", b"S''\n"),
        (b"f8", b"(I-1\nt", b"C\x08" + bytes(8)),
        (b"f8", b"(I1\nt", b"I5\n"),
        (b"V8", b"(I1\nt", b"C\x08" + bytes(8)),
        (b"U99999999", b"(I1\nt", b"C\x08" + bytes(8)),
    ):
        state = b"(I1\n" + shape + dtype % kind + b"I00\n" + data + b"t"
        assert "plans.pkl" in refusal(tmp_path / "plans.pkl", head + state + b"b.")
    assert "plans.pkl" in refusal(tmp_path / "plans.pkl", head + b".")


@pytest.mark.parametrize("flags", [1, 63])
def test_numbers_that_claim_to_be_references_are_numbers(tmp_path: Path, flags: int) -> None:
    """Numpy would take these flags from the file, and follow the numbers as addresses."""
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    dtype = b"cnumpy\ndtype\n(S'i8'\nI00\nI01\ntR(I3\nS'<'\nNNNI-1\nI-1\nI%d\ntb" % flags
    (tmp_path / "plans.pkl").write_bytes(head + b"(I1\n(I2\nt" + dtype + b"I00\nC\x10" + b"A" * 16 + b"tb.")
    assert load_pickle(tmp_path / "plans.pkl").tolist() == [0x4141414141414141] * 2


def test_a_type_of_elements_takes_no_state_that_composes_it_of_others(tmp_path: Path) -> None:
    dtype = b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR"
    state = b"(I3\nS'|'\nN(S'a'\nt(dS'a'\n(" + dtype + b"I0\ntsI8\nI1\nI27\nt"
    assert "composed" in refusal(tmp_path / "plans.pkl", dtype + state + b"b.")


@pytest.mark.parametrize(
    "content",
    [
        b"]" + b"".join(b"q%c]h%cah%ca" % (n, n, n) for n in range(40)) + b".",
        b"(I1\nt" + b"2\x86" * 18 + b".",
        b"N" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(40)) + b".",
        b"N" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(40)) + b"}N0s.",
        b"}" + b"N" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(40)) + b"Ns.",
        b"(" * 100_000 + b".",
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b")" + b"\x85" * 100_000 + b".",
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"c__builtin__\nset\n(((((I1\ntttttR.",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x8a\xff" + b"\xff" * 255 + b"\x8b\x00\x10\x00\x00" + b"\x01" * 4096 + b".",
        b"I" + b"9" * 5000 + b"\n.",
        b"X\x03\x00\x00\x00\xed\xa0\x80.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"N",
        b"0.",
        b"a.",
        b"Nh\x01.",
        b"K\x01K\x02\x86R.",
        b"]}b.",
        b"(lp0\ng0\na.",
    ],
)
def test_a_pickle_of_a_few_bytes_that_would_never_end_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "plans.pkl" in refusal(tmp_path / "plans.pkl", content)


def test_keys_that_all_have_one_hash_are_refused(tmp_path: Path) -> None:
    content = pickle.dumps(dict.fromkeys(((2**61 - 1) << 10) * n for n in range(1, 50)))
    assert "plans.pkl" in refusal(tmp_path / "plans.pkl", content)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_pickles_of_numpy_1_and_2_are_read(tmp_path: Path, core: str, protocol: int) -> None:
    values: dict[str, Any] = {
        "c": np.arange(6, dtype=">f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "flags": np.array([True, False]),
        "texts": np.array(["a", "bc"]),
        "number": np.float16(0.5),
        "text": np.str_("spleen"),
        "bytes": (b"", bytearray(b""), bytearray(b"\xff"), b"\x80"),
        "flag": np.bool_(True),
        "complex": 1 + 2j,
        "nested": OrderedDict(a=[{"b": (1, 2)}, {3, 4}, None, "text", b"\xff\x00"]),
    }
    pickled = pickle.dumps(values, protocol)
    if protocol < 4:  # later ones have a length before each name
        pickled = pickled.replace(b"numpy._core", core.encode())
    (tmp_path / "plans.pkl").write_bytes(pickled)
    found = load_pickle(tmp_path / "plans.pkl")
    for key in ("c", "fortran", "flags", "texts"):
        assert np.array_equal(found[key], values[key])
    assert len(found["empty"]) == 0
    for key in ("number", "text", "bytes", "flag", "complex", "nested"):
        assert found[key] == values[key]


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_type_are_read_as_torch_reads_them(tmp_path: Path, zipped: bool) -> None:
    numbers = torch.arange(24).reshape(2, 3, 4)
    saved: dict[str, Any] = {str(kind): numbers.to(torch.float32).to(kind) for kind in ALL_TYPES}
    saved["transposed"] = numbers.permute(2, 1, 0)
    saved["part"] = numbers[1, ::2]
    saved["parameter"] = torch.nn.Parameter(torch.ones(3))
    saved["scalar"], saved["empty"] = torch.tensor(2.5), torch.zeros(0, 3)
    torch.save(saved, tmp_path / "all.pth", _use_new_zipfile_serialization=zipped)
    found = load_torch(tmp_path / "all.pth")
    assert found.keys() == saved.keys()
    for key, tensor in saved.items():
        assert found[key].dtype == tensor.dtype
        assert found[key].shape == tensor.shape
        assert torch.equal(found[key].to(torch.complex128), tensor.detach().to(torch.complex128))


def test_values_that_trainings_save_beside_weights_are_read(tmp_path: Path) -> None:
    network = torch.nn.Conv3d(1, 2, 3)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 1, 3, 3, 3)).sum().backward()
    optimizer.step()
    saved = {
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "random": torch.get_rng_state(),
        "type": torch.float16,
        "numbers": [np.float32(2), np.int64(3)],
    }
    torch.save(saved, tmp_path / "training.pth")
    found = load_torch(tmp_path / "training.pth")
    assert isinstance(found["state_dict"], OrderedDict)
    assert (found["device"], found["size"], found["type"]) == ("cpu", (1, 2), torch.float16)
    assert found["numbers"] == [2, 3]
    assert torch.equal(
        found["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )


def test_numbers_of_a_machine_of_the_other_byte_order_are_read(tmp_path: Path) -> None:
    path = torch_zip(
        tmp_path / "big.pth", tensor_pickle(b"K\x04\x85", b"K\x01\x85"), {"0": struct.pack(">4f", 1, 2, 3, 4)}
    )
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {"archive/byteorder": b"big"}).items():
            archive.writestr(name, data)
    assert load_torch(path).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "message"),
    [
        (b"J\x00\x00\x00\x40\x85", b"K\x00\x85", b"K\x00", "larger than its storage"),
        (b"K\x03K\x02\x86", b"K\x00K\x01\x86", b"K\x00", "larger than its storage"),
        (b"K\x04\x85", b"K\x02\x85", b"K\x00", "leaves its storage"),
        (b"K\x04\x85", b"K\x01\x85", b"K\x01", "leaves its storage"),
        (b"K\x02\x85", b"J\xff\xff\xff\xff\x85", b"K\x03", "impossible sizes"),
        (b"K\x00J\x00\x00\x00\x40\x86", b"K\x01K\x01\x86", b"K\x00", "larger than its storage"),
        (b"K\x04\x85", b")", b"K\x00", "argument"),
        (b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", b"K\x01\x85", b"K\x00", "impossible sizes"),
    ],
)
def test_a_tensor_that_exceeds_its_storage_is_refused(
    tmp_path: Path, shape: bytes, strides: bytes, offset: bytes, message: str
) -> None:
    path = torch_zip(tmp_path / "weights.pth", tensor_pickle(shape, strides, offset), {"0": bytes(16)})
    with pytest.raises(CheckpointError, match=message):
        load_torch(path)


def test_a_storage_that_is_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    pickled = tensor_pickle(b"K\x04\x85", b"K\x01\x85", count=b"J\x00\x00\x00\x40")
    with pytest.raises(CheckpointError, match="storage 0 has 16 bytes"):
        load_torch(torch_zip(tmp_path / "weights.pth", pickled, {"0": bytes(16)}))


def test_many_tensors_of_one_storage_may_not_fill_the_memory(tmp_path: Path) -> None:
    whole = torch.ones(1000)
    torch.save([whole[:] for _ in range(20)], tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="far larger than the file"):
        load_torch(tmp_path / "weights.pth")
    torch.save([whole[:] for _ in range(4)], tmp_path / "tied.pth")
    assert len(load_torch(tmp_path / "tied.pth")) == 4


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    pickled = tensor_pickle(b"K\x04\x85", b"K\x01\x85")
    path = torch_zip(tmp_path / "weights.pth", pickled, {"0": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        load_torch(path)


def test_a_zip_with_a_member_twice_is_refused(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "weights.pth", tensor_pickle(b"K\x04\x85", b"K\x01\x85"), {"0": bytes(16)})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="members twice"):
        load_torch(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_program_of_torchscript_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "program.pt")
    with pytest.raises(CheckpointError, match=r"save its state_dict\(\)"):
        load_torch(tmp_path / "program.pt")


def test_a_tar_of_torch_before_version_0_1_10_is_refused_with_the_remedy(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), BytesIO())
    with pytest.raises(CheckpointError, match="newer torch"):
        load_torch(tmp_path / "old.pth")


def test_a_bare_tensor_of_an_unlisted_kind_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 2).to_sparse(), tmp_path / "sparse.pth")
    with pytest.raises(UnsafeCheckpointError, match="_rebuild_sparse_tensor"):
        load_torch(tmp_path / "sparse.pth")


@pytest.mark.skipif(os.name == "nt", reason="pipes have names on POSIX only")
@pytest.mark.parametrize("load", [load_pickle, load_torch])
def test_a_named_pipe_is_refused(tmp_path: Path, load: Any) -> None:
    os.mkfifo(tmp_path / "plans.pkl")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load(tmp_path / "plans.pkl")


def test_the_error_of_a_reader_is_logged_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_value: Any) -> None:
        raise AssertionError("never seen before")

    monkeypatch.setattr(torch_file._Tensors, "checked", lambda _self, value, _removed: fail(value))
    torch.save({}, tmp_path / "weights.pth")
    caplog.set_level("DEBUG")
    with pytest.raises(CheckpointError, match="never seen before"):
        load_torch(tmp_path / "weights.pth")
    assert "Traceback" in caplog.text
