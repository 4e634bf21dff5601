"""Models of the catalog that others published: fetched and imported once their terms are accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.downloads.fetched_file import SHORT
from fixtures.downloads.http_server import Server, serve, status
from fixtures.downloads.remote_zips import Ranges, write_record
from fixtures.models.bundles import tiny_weights
from fixtures.models.four_channels import NETWORK, write_brats_record
from fixtures.models.results_folders import v2_plans
from mednext.checkpoints.installing import Installing
from mednext.checkpoints.remote.catalogued import install_elsewhere
from mednext.cli import main
from mednext.errors import DownloadError, DownloadIntegrityError, OptionError
from mednext.library import folder_locations, store
from mednext.library.catalog_source import load_catalog
from mednext.library.model_by_name import load_bundle
from mednext.model.description import Model
from safetensors.torch import save_file

NAME = "brats24-glioma-l5"
BRATS_DATASET = {
    "channel_names": {"0": "t1n", "1": "t1c", "2": "t2w", "3": "t2f"},
    "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The record with tiny networks of four channels, whose plans name the channels wrongly, as it does."""
    path = write_brats_record(tmp_path_factory.mktemp("record"))
    yield path
    path.unlink()


@pytest.fixture
def server(record: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the record; the catalog's models lie there instead of at their publishers."""
    with Server() as running:
        archive = running.answer("/record.zip?download=1", Ranges(record))
        shipped = folder_locations.shipped_models_folder() / "catalog.json"
        catalog = json.loads(shipped.read_text(encoding="utf-8"))
        for model in catalog["models"]:
            if place := model.get("elsewhere"):
                if place["archive"]:
                    place["archive"] = archive
                else:
                    place["folder"] = running.address + "/" + model["name"]
        folder = tmp_path / "Resources" / "Models"
        folder.mkdir(parents=True)
        (folder / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")
        monkeypatch.setattr(folder_locations, "PACKAGE", tmp_path)
        yield running


def install(name: str = NAME, folds: Sequence[int] | None = None, **choices: Any) -> Model:
    catalog = load_catalog()
    published = catalog.model(name)
    assert published is not None
    task = catalog.task(published.task)
    assert task is not None
    return install_elsewhere(published, task, folds, Installing(patience=SHORT, **choices))[0]


def test_the_glioma_model_has_the_channels_and_labels_of_the_catalog(server: Server) -> None:
    model = install()
    assert [channel.name for channel in model.channels] == ["T1ce", "T1", "FLAIR", "T2"]
    assert {label.value: label.name for label in model.labels} == {
        1: "FLAIR hyperintensity",
        2: "non-enhancing tumor core",
        3: "enhancing tumor",
        4: "resection cavity",
    }
    assert all(label.terminology for label in model.labels)
    assert {region.name: region.labels for region in model.regions} == {
        "whole tumor": (1, 2, 3),
        "tumor core": (2, 3),
        "enhancing tumor": (3,),
    }
    assert model.orientation == "LPS" and model.mirror_axes == (0, 1, 2)
    assert "MIT" in model.licence and "14001262" in model.citation
    assert load_bundle(NAME).network(0)


def test_the_first_fold_is_fetched_and_others_on_request(server: Server) -> None:
    assert [fold.index for fold in install().folds] == [0]
    assert [fold.index for fold in install(folds=(0, 1), overwrite=True).folds] == [0, 1]
    with pytest.raises(OptionError, match="no fold 7: choose among 0, 1, 2, 3, 4"):
        install(folds=(7,), overwrite=True)


def test_an_installed_model_is_not_replaced_unasked(server: Server) -> None:
    install()
    asked = len(server.requests)
    with pytest.raises(OptionError, match="installed already"):
        install()
    assert len(server.requests) == asked


def test_files_with_addresses_of_their_own_are_fetched_and_compared(server: Server, record: Path) -> None:
    folder = record.parent / "results" / "fold_0"
    contents = {file: (folder / file).read_bytes() for file in ("model_best.model", "model_best.model.pkl")}
    for file, content in contents.items():
        server.answer(f"/brats26-metastases-l5/{file}", serve(content, hang_up_after=100_000), serve(content))
    model = install("brats26-metastases-l5")
    assert [channel.name for channel in model.channels] == ["T1", "T1ce", "T2", "FLAIR"]
    assert model.skull == "removed" and load_bundle("brats26-metastases-l5").network(0)
    assert server.requests[-1].path.startswith("/brats26")
    server.answer("/brats26-metastases-l5/model_best.model", serve(contents["model_best.model"] + b"#"))
    for left in (store.models_folder() / ".downloads").glob("*/fold_0/*"):
        left.unlink()
    with pytest.raises(DownloadIntegrityError, match=r"was [0-9a-f]{64}, and is [0-9a-f]{64} now"):
        install("brats26-metastases-l5", overwrite=True)


def test_a_model_that_its_publisher_has_removed_is_explained(server: Server) -> None:
    with pytest.raises(DownloadError, match=r"HTTP 404.*not any more.*page of this model is https://hugging"):
        install("brats26-metastases-l5")
    server.answer("/record.zip?download=1", status(410))
    with pytest.raises(DownloadError, match=r"HTTP 410.*page of this model is https://zenodo"):
        install()


@pytest.mark.parametrize("has_dataset", [False, True], ids=["plans alone", "the data set in the metadata"])
def test_five_folds_of_safetensors_with_plans_are_fetched_and_imported(
    server: Server, tmp_path: Path, has_dataset: bool
) -> None:
    plans = v2_plans(normalization_schemes=["ZScoreNormalization"] * 4, use_mask_for_norm=[True] * 4)
    network = replace(NETWORK, num_classes=4)
    server.answer("/brats23-glioma-b/plans.json", serve(json.dumps(plans).encode()))
    for fold in range(5):
        told = {"trainer_name": "nnUNetTrainerMedNeXtBaseline", "configuration": "3d_mednext", "fold": fold}
        if has_dataset:
            told["init_args"] = {"dataset_json": BRATS_DATASET}
        save_file(tiny_weights(network, seed=fold), tmp_path / "model.safetensors")
        folder = f"/brats23-glioma-b/fold_{fold}"
        server.answer(f"{folder}/model.safetensors", serve((tmp_path / "model.safetensors").read_bytes()))
        server.answer(f"{folder}/metadata.json", serve(json.dumps(told).encode()))
    model = install("brats23-glioma-b", folds=range(5))
    assert [fold.index for fold in model.folds] == [0, 1, 2, 3, 4]
    assert [label.name for label in model.labels] == [
        "necrotic tumor core",
        "peritumoral edema",
        "enhancing tumor",
    ]
    assert model.mirror_axes == ()


def test_a_record_without_the_member_is_refused_by_its_name(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    write_record(other, {})
    server.answer("/record.zip?download=1", Ranges(other))
    with pytest.raises(DownloadError, match="no member"):
        install()


def test_terms_are_shown_and_have_to_be_accepted(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "install", NAME]) == 2
    told = capsys.readouterr()
    for words in ("MIT in the repository", "doi:10.5281", "Not tested", "T1ce, T1, FLAIR, T2", "757 MB"):
        assert words in told.out
    assert "--accept-terms" in told.err
    assert not server.requests
    assert main(["models", "install", NAME, "--accept-terms", "--folds", "0,1"]) == 0
    assert f"Installed {NAME}" in capsys.readouterr().out
    assert NAME in store.installed_names()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_a_person_at_a_terminal_is_asked(
    answer: str, code: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["models", "install", NAME]) == code


def test_facts_are_shown_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "about", "brats24-meningioma-l5", "--json"]) == 0
    told: Mapping[str, Any] = json.loads(capsys.readouterr().out)["model"]
    assert told["labels"] == {"meningioma": 1} and told["channels"] == ["T1ce"]
    assert main(["models", "about", "hippocampus"]) == 2
    assert "those are: brats23-glioma-b" in capsys.readouterr().err
