"""OpenVINO gives the reference's logits, in float32 and without a word to anybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundles import tiny_bundle
from mednext import openvino_cache
from mednext.network import MedNeXt
from mednext.openvino_network import OpenVinoMedNeXt, is_installed
from torch import Tensor

if not is_installed():
    pytest.skip("the optional package openvino is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mednext" / "openvino"


@pytest.fixture
def network() -> MedNeXt:
    torch.manual_seed(0)
    return MedNeXt(2, 3, (2,) * 9, (1,) * 9, channels=8, grn=True).eval()


@torch.inference_mode()
def difference(network: MedNeXt, converted: OpenVinoMedNeXt, sides: tuple[int, ...]) -> float:
    image = torch.randn(1, 2, *sides)
    expected = network(image)
    assert isinstance(expected, Tensor)
    return float((converted(image) - expected).abs().max() / expected.abs().max())


def test_one_conversion_serves_images_of_several_shapes(network: MedNeXt) -> None:
    converted = OpenVinoMedNeXt(network)
    for sides in ((32, 32, 32), (16, 48, 32), (32, 32, 32)):
        assert difference(network, converted, sides) < 1e-5


def test_a_network_is_converted_once_and_other_weights_anew(network: MedNeXt, cache: Path) -> None:
    OpenVinoMedNeXt(network)
    (folder,) = cache.iterdir()
    written = (folder / "model.xml").stat().st_mtime_ns
    assert difference(network, OpenVinoMedNeXt(network), (32, 32, 32)) < 1e-5
    assert (folder / "model.xml").stat().st_mtime_ns == written
    with torch.no_grad():
        network.get_parameter("stem.weight").mul_(2)
    assert difference(network, OpenVinoMedNeXt(network), (32, 32, 32)) < 1e-5
    assert len(list(cache.iterdir())) == 2


SECOND_PROCESS = """
import sys
sys.path[:0] = {paths!r}
import openvino, torch
from mednext.bundle import load_bundle
from mednext.openvino_network import OpenVinoMedNeXt

def refuse(*_arguments, **_options):
    sys.exit("converted anew")

openvino.convert_model = refuse
torch.manual_seed(0)
image = torch.randn(1, 1, 32, 32, 32)
network = load_bundle({bundle!r}).network(0)
with torch.inference_mode():
    print(float((OpenVinoMedNeXt(network)(image) - network(image)).abs().max()))
"""


def test_a_second_process_reads_what_the_first_one_kept(tmp_path: Path, cache: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    OpenVinoMedNeXt(bundle.network(0))
    program = SECOND_PROCESS.format(paths=sys.path, bundle=str(bundle.path))
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 1e-4
    openvino_cache.forget([bundle.fold(0).sha256])  # as when the model is removed
    assert not list(cache.iterdir())


def test_a_damaged_conversion_is_made_anew(network: MedNeXt, cache: Path) -> None:
    OpenVinoMedNeXt(network)
    (file,) = cache.glob("*/model.bin")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 64
    file.write_bytes(data)
    assert difference(network, OpenVinoMedNeXt(network), (32, 32, 32)) < 1e-5
    assert openvino_cache.is_whole(file.parent)


def test_a_network_that_cannot_be_kept_runs_all_the_same(
    network: MedNeXt, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.parent.mkdir(parents=True, exist_ok=True)
    cache.parent.write_text("a file where the folder should be", encoding="utf-8")
    assert difference(network, OpenVinoMedNeXt(network), (32, 32, 32)) < 1e-5
    assert len(caplog.records) == 1
    assert "is not kept" in caplog.text


def test_openvinos_telemetry_is_never_loaded(network: MedNeXt) -> None:
    OpenVinoMedNeXt(network)
    assert sys.modules["openvino_telemetry"] is None
    assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
