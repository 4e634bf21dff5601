"""The options of a run: their checks, their JSON form and their words in a result's provenance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fixtures.models.bundles import tiny_bundle, tiny_model
from mednext import Geometry, Roi, Volume, segment
from mednext.errors import OptionError
from mednext.inference.options import CUSTOM, QUALITIES, STANDARD, Options

ROI = Roi((-20.0, -30.0, 1.0), (-2.0, -3.0, 12.5))
ALL_CHANGED = Options("cpu", (0, 1), False, ROI, True, 0.25, "bfloat16", 1, True)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("device", "gpu", "no device 'gpu': choose one of auto, cuda"),
        ("device", None, "no device None"),
        ("folds", (), r"at least one, and each once; not \[\]"),
        ("folds", (1, 1), r"each once; not \[1, 1\]"),
        ("folds", ("0",), r"numbers such as \(0, 1\), not \('0',\)"),
        ("folds", "all", "numbers such as"),
        ("folds", 0.5, "numbers such as"),
        ("mirroring", "no", "mirroring must be True or False, not 'no'"),
        ("roi", (1, 2, 3, 4, 5, 6), r"must be a Roi, such as .* not \(1, 2"),
        ("step", 0.05, "0.1 to 1 of a patch, not 0.05"),
        ("step", float("nan"), "not nan"),
        ("step", "0.5", "0.1 to 1"),
        ("precision", "float16", "no precision 'float16': choose one of float32, bfloat16"),
        ("threads", 0, "at least 1, not 0"),
        ("threads", 1.5, "at least 1, not 1.5"),
        ("insist", None, "insist must be True or False"),
        ("quality", "good", "no quality 'good': choose one of fast, standard, best"),
        ("quality", None, "no quality None"),
        ("quality", ["fast"], "no quality"),
    ],
)
def test_a_bad_option_is_refused_with_its_value_and_the_remedy(option, value, sentence):
    with pytest.raises(OptionError, match=sentence):
        Options(**{option: value})


def test_numbers_of_numpy_are_options_too():
    options = Options(
        folds=np.arange(2), step=np.float64(0.5), threads=np.int64(2), mirroring=np.bool_(False)
    )
    assert options.folds == (0, 1)
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize("options", [Options(), ALL_CHANGED])
def test_options_survive_json(options):
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_an_option_that_is_unknown_is_refused():
    with pytest.raises(TypeError, match="mirror"):
        segment([], "hippocampus", mirror=False)


def test_the_defaults_are_the_models(tmp_path):
    model = tiny_bundle(tmp_path / "tiny", (0, 2), step=0.75).model
    words = Options().recipe(model)
    assert (words["folds"], words["step"], words["mirror_axes"]) == ("0 2", "0.75", "0 1 2")


def test_a_recipe_names_the_structures_that_a_result_keeps():
    assert Options().recipe_with(tiny_model(), [2])["structures"] == "liver"
    assert Options().recipe_with(tiny_model(), None)["structures"] == ""
    with pytest.raises(OptionError, match="no structure 'heart'"):
        Options().recipe_with(tiny_model(), ["heart"])


def test_options_and_keywords_give_the_same_result_and_keywords_win(tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny", (0, 1))
    voxels = np.random.default_rng(0).normal(500, 200, (1, 20, 36, 24)).astype(np.float32)
    volume = Volume(voxels, Geometry((24, 36, 20), (1.0, 1.0, 1.0)))
    keywords = segment(volume, bundle, **{**vars(ALL_CHANGED), "folds": [1]})
    options = segment(volume, bundle, ALL_CHANGED, folds=[1])
    np.testing.assert_array_equal(keywords.labelmap, options.labelmap)
    recipe = Options(**{**vars(ALL_CHANGED), "folds": [1]}).recipe(bundle.model)
    for result in (keywords, options):
        assert recipe.items() <= result.provenance.items()
    assert recipe["folds"] == "1"


def trade(options, model):
    """The values that a quality sets, for a model."""
    words = options.recipe(model)
    return words["folds"], words["mirror_axes"], words["step"], words["precision"]


@pytest.mark.parametrize(
    ("quality", "values"),
    [
        ("fast", ("1", "", "0.75", "bfloat16")),
        ("standard", ("1 3", "0 1 2", "0.6", "float32")),
        ("best", ("1 3", "0 1 2", "0.25", "float32")),
    ],
)
def test_a_quality_sets_folds_mirroring_step_and_precision(tmp_path, quality, values):
    model = tiny_bundle(tmp_path / "tiny", (1, 3), step=0.6).model
    assert trade(Options(quality=quality), model) == values
    assert Options(quality=quality).quality_of(model) == quality


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_single_option_wins_over_the_quality(tmp_path, quality):
    model = tiny_bundle(tmp_path / "tiny", (1, 3)).model
    chosen = Options(quality=quality, folds=(3,), mirroring=True, step=0.4, precision="float32")
    assert trade(chosen, model) == ("3", "0 1 2", "0.4", "float32")
    assert chosen.quality_of(model) == CUSTOM


def test_the_values_of_a_quality_given_one_by_one_are_that_quality(tmp_path):
    model = tiny_bundle(tmp_path / "tiny", (1, 3)).model
    assert Options(folds=(1,), mirroring=False, step=0.75, precision="bfloat16").quality_of(model) == "fast"
    assert (
        Options(
            quality="fast", folds=(1, 3), mirroring=True, step=model.step, precision="float32"
        ).quality_of(model)
        == STANDARD
    )


def test_the_default_quality_is_the_former_default():
    """Results of earlier versions stay finished: their recipe is that of today's standard."""
    former = Options(folds=None, mirroring=True, step=None, precision="float32")
    assert former.recipe(tiny_model()) == Options().recipe(tiny_model())
    assert "quality" not in Options().recipe(tiny_model())


def test_the_result_tells_its_quality(tmp_path):
    quality, bundle = "fast", tiny_bundle(tmp_path / "tiny", (0, 1))
    voxels = np.random.default_rng(0).normal(500, 200, (1, 20, 36, 24)).astype(np.float32)
    volume = Volume(voxels, Geometry((24, 36, 20), (1.0, 1.0, 1.0)))
    found = segment(volume, bundle, device="cpu", quality=quality)
    assert found.provenance["quality"] == quality
    assert Options(quality=quality).recipe(bundle.model).items() <= found.provenance.items()
    assert segment(volume, bundle, Options("cpu", quality=quality), step=0.9).provenance["quality"] == CUSTOM
