"""Predictions come back to the source grid as labels, as if they had been resampled as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from fixtures.models.bundles import tiny_model, tiny_regions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mednext.inference.labelling import label_writer, largest_components
from mednext.inference.labelling.label_decision import entropy
from mednext.inference.labelling.label_writer import LabelWriter
from mednext.inference.labelling.largest_components import keep_largest_components
from mednext.inference.labelling.region import plan_extent
from mednext.inference.preprocessing import Preprocessed
from mednext.inference.resampling.matrices import axis_weights
from mednext.inference.sliding_window import Block
from mednext.segmentation.label_boxes import label_boxes
from mednext.segmentation.uncertainty_storage import to_float32
from scipy.ndimage import gaussian_filter
from skimage.measure import label as skimage_label
from skimage.transform import resize

sides = st.integers(2, 24)


def smooth_logits(channels: int, shape: tuple[int, int, int]) -> torch.Tensor:
    noise = np.random.default_rng(3).normal(size=(channels, *shape))
    return torch.from_numpy(10 * gaussian_filter(noise, (0, 1, 1, 1))).float()


def write_in_pieces(
    model,
    logits: torch.Tensor,
    shape: tuple[int, int, int],
    cuts: Sequence[int] = (),
    line_cuts: Sequence[int] = (),
    with_entropy=False,
):
    """Labels (and entropy) on a grid of `shape`; the logits come in blocks, cut before these places."""
    labels = np.zeros(shape, dtype=np.uint8)
    uncertainty = np.zeros(shape, dtype=np.uint16) if with_entropy else None
    weights = [axis_weights(a, b, 1) for a, b in zip(logits.shape[1:], shape, strict=True)]
    writer = LabelWriter(model, weights, labels, uncertainty)
    for start, stop in pairwise([0, *cuts, logits.shape[1]]):
        for line, line_stop in pairwise([0, *line_cuts, logits.shape[2]]):
            first, first_line = max(0, start - 1), max(0, line - 1)
            writer.add(Block(first, first_line, logits[:, first:stop, first_line:line_stop]))
    return labels if uncertainty is None else (labels, to_float32(uncertainty))


def whole(logits: torch.Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack([resize(c.double().numpy(), shape, 1, mode="edge", anti_aliasing=False) for c in logits])


cuts_of_an_axis = st.sets(st.integers(1, 23)).map(sorted)


@given(st.tuples(sides, sides, sides), st.tuples(sides, sides, sides), cuts_of_an_axis, cuts_of_an_axis)
@settings(max_examples=40)
def test_labels_written_in_pieces_equal_those_of_the_whole(
    small: tuple[int, int, int], large: tuple[int, int, int], cuts: list[int], line_cuts: list[int]
) -> None:
    logits = smooth_logits(3, small)
    expected = whole(logits, large)
    cuts = [cut for cut in cuts if cut < small[0]]
    line_cuts = [cut for cut in line_cuts if cut < small[1]]
    labels = write_in_pieces(tiny_model(), logits, large, cuts, line_cuts)
    best_two = np.sort(expected, axis=0)[-2:]
    decided = best_two[1] - best_two[0] > 1e-4
    np.testing.assert_array_equal(labels[decided], expected.argmax(axis=0)[decided])


def test_slabs_of_one_row_give_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = smooth_logits(3, (12, 13, 14))
    labels = write_in_pieces(tiny_model(), logits, (30, 25, 20), [5])
    monkeypatch.setattr(label_writer, "SLAB_BYTES", 1)
    np.testing.assert_array_equal(write_in_pieces(tiny_model(), logits, (30, 25, 20), [5]), labels)


def test_slabs_of_one_row_give_the_same_uncertainty(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = smooth_logits(3, (12, 13, 14))
    both = torch.cat([logits, torch.softmax(logits, dim=0)])
    _, uncertainty = write_in_pieces(tiny_model(), both, (30, 25, 20), [5], [4], True)
    monkeypatch.setattr(label_writer, "SLAB_BYTES", 1)
    _, by_rows = write_in_pieces(tiny_model(), both, (30, 25, 20), [5], [4], True)
    assert uncertainty.max() > 0
    np.testing.assert_array_equal(by_rows, uncertainty)


def test_regions_are_painted_in_the_models_order_one_over_the_other() -> None:
    whole, core, enhancing = tiny_regions()["regions"]
    regions = (whole, replace(core, labels=(1, 3)), enhancing)
    model = tiny_model(**tiny_regions(regions=regions, regions_class_order=(2, 1, 3)))
    logits = torch.tensor([[1.0, 1, 1, 1, -1], [-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])
    labels = write_in_pieces(model, logits.view(3, 1, 1, 5), (1, 1, 5))
    assert labels.ravel().tolist() == [2, 1, 3, 3, 0]


def test_regions_of_v1_are_probabilities_above_one_half() -> None:
    model = tiny_model(**tiny_regions(), pipeline="nnunet_v1")
    probabilities = torch.tensor([[0.4, 0.6, 0.6], [0.1, 0.2, 0.9], [0.1, 0.2, 0.3]])
    labels = write_in_pieces(model, probabilities.view(3, 1, 1, 3), (1, 1, 3))
    assert labels.ravel().tolist() == [0, 1, 2]


def test_uncertainty_is_the_entropy_of_the_probabilities_behind_the_logits() -> None:
    logits = smooth_logits(3, (4, 5, 6))
    probabilities = torch.softmax(smooth_logits(3, (4, 5, 6)) / 10, dim=0)
    _, uncertainty = write_in_pieces(
        tiny_model(), torch.cat([logits, probabilities]), (4, 5, 6), [2], [1, 4], True
    )
    np.testing.assert_allclose(uncertainty, entropy(probabilities, "softmax"), atol=1e-5)


def test_entropy_is_one_where_nothing_is_known_and_zero_where_all_is() -> None:
    torch.testing.assert_close(entropy(torch.full((4, 1, 1, 1), 0.25), "softmax"), torch.ones(1, 1, 1))
    assert entropy(torch.tensor([1.0, 0, 0]).view(3, 1, 1, 1), "softmax").item() == 0
    regions = torch.tensor([0.5, 1.0, 0.0, 0.5]).view(4, 1, 1, 1)
    assert entropy(regions, "regions").item() == pytest.approx(0.5)
    two = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1)
    assert entropy(two, "softmax").item() == pytest.approx(
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    )


@pytest.mark.parametrize(("fully_connected", "connectivity"), [(True, 3), (False, 1)])
@pytest.mark.parametrize("slab_bytes", [1, 2**24], ids=["counted by planes", "counted together"])
def test_only_the_largest_component_of_a_label_stays(
    fully_connected: bool, connectivity: int, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest_components, "PLANES_BYTES", slab_bytes)
    labels = np.random.default_rng(4).choice([0, 1, 2], p=[0.7, 0.2, 0.1], size=(12, 13, 14)).astype(np.uint8)
    components = skimage_label(labels == 1, connectivity=connectivity)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    expected = labels.copy()
    expected[(labels == 1) & (sizes[components] < sizes.max())] = 0
    keep_largest_components(labels, (1,), fully_connected)
    np.testing.assert_array_equal(labels, expected)


@given(arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 0, 1, 2, 700])))
def test_the_box_of_a_label_holds_it_and_is_tight(labels: np.ndarray) -> None:
    boxes = label_boxes(labels, (1, 700, 3))
    assert set(boxes) == {1, 700} & set(np.unique(labels))
    for value, box in boxes.items():
        assert np.count_nonzero(labels[box] == value) == np.count_nonzero(labels == value)
        for axis in range(3):
            assert (labels[box].take(0, axis) == value).any()
            assert (labels[box].take(-1, axis) == value).any()


@pytest.mark.parametrize("fully_connected", [True, False])
def test_labels_are_cleaned_up_one_by_one_in_a_view_as_in_the_whole(fully_connected: bool) -> None:
    labels = np.random.default_rng(2).integers(0, 4, (9, 10, 11)).astype(np.uint8)
    labels[:2] = labels[..., 9:] = 0
    whole = labels.copy()
    keep_largest_components(whole, (1, 3), fully_connected)
    assert (whole != labels).any()
    assert ((whole == labels) | np.isin(labels, (1, 3))).all()
    around = np.full((12, 12, 12), 3, dtype=np.uint8)
    view = around[2:11, 1:11, :11].transpose(2, 0, 1)[::-1]
    view[...] = labels.transpose(2, 0, 1)[::-1]
    keep_largest_components(view, (1, 3), fully_connected)
    np.testing.assert_array_equal(view[::-1].transpose(1, 2, 0), whole)
    assert (around[:2] == 3).all() and (around[11:] == 3).all()


def test_components_of_equal_size_all_stay() -> None:
    labels = np.zeros((3, 3, 9), dtype=np.uint8)
    labels[1, 1, [1, 2, 5, 6, 8]] = 3
    keep_largest_components(labels, (3, 4), fully_connected=True)
    assert np.flatnonzero(labels[1, 1]).tolist() == [1, 2, 5, 6]


def test_the_networks_see_half_a_patch_around_the_region_and_at_least_one_patch() -> None:
    image = preprocessed((100, 100, 100))
    wanted = (slice(50, 60), slice(0, 4), slice(96, 100))
    extent = plan_extent(image, tiny_model(patch=(16, 32, 64)), wanted)
    assert extent is not None
    assert extent.target == wanted
    assert extent.source == (slice(42, 68), slice(0, 32), slice(36, 100))
    assert [tuple(weights.shape) for weights in extent.weights] == [(10, 26), (4, 32), (4, 64)]


def test_a_box_beside_the_crop_is_no_work() -> None:
    image = preprocessed((20, 20, 20), start=10)
    assert plan_extent(image, tiny_model(), (slice(0, 10), slice(0, 30), slice(0, 30))) is None


def preprocessed(shape: tuple[int, int, int], start: int = 0) -> Preprocessed:
    crop = tuple(slice(start, start + side) for side in shape)
    return Preprocessed(torch.zeros(1, *shape), crop, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
