"""Uncertain places: the worst first, apart from each other, on the patient and not beside him."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fixtures.panel.driving import standstill
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mednext.images.geometry import Geometry
from mednext.segmentation.uncertain_places import APART_MM, MOST_PLACES, uncertain_places

GRID = Geometry((40, 50, 30), (1.0, 1.5, 2.0), (10.0, -20.0, 5.0))


def field(*blobs, geometry=GRID):
    """Zero but for boxes: (k, j, i) of their middle, half their size, and value."""
    uncertainty = np.zeros(geometry.shape, dtype=np.float32)
    for middle, half, value in blobs:
        uncertainty[tuple(slice(max(0, n - half), n + half + 1) for n in middle)] = value
    return uncertainty


def index_of(place, geometry=GRID):
    """The index (k, j, i) of a place's position."""
    return (np.linalg.inv(geometry.ijk_to_ras) @ [*place.position, 1.0])[2::-1]


def test_the_place_with_more_uncertainty_comes_first():
    small, large = ((5, 10, 10), 1, 0.6), ((20, 35, 28), 3, 0.6)
    places = uncertain_places(field(small, large), GRID)
    assert [tuple(np.round(index_of(place)).astype(int)) for place in places] == [large[0], small[0]]
    assert places[0].amount > places[1].amount


def test_where_nothing_is_uncertain_there_is_no_place():
    assert uncertain_places(np.zeros(GRID.shape, dtype=np.float32), GRID) == []
    assert uncertain_places(np.full(GRID.shape, 0.01, dtype=np.float32), GRID) == []


def test_weak_uncertainty_beside_a_strong_one_does_not_count():
    places = uncertain_places(field(((10, 10, 10), 4, 0.2), ((20, 40, 30), 2, 0.9)), GRID)
    assert len(places) == 1


def test_a_place_tells_between_which_labels_the_model_was_undecided():
    border, inside, missed = ((5, 10, 10), 1, 0.6), ((20, 35, 28), 3, 0.6), ((5, 40, 10), 2, 0.6)
    labelmap = np.zeros(GRID.shape, dtype=np.uint8)
    labelmap[:15, :20, :10], labelmap[:15, :20, 10:] = 3, 7
    labelmap[15:] = 2
    places = uncertain_places(field(border, inside, missed), GRID, labelmap)
    found = {tuple(np.round(index_of(place)).astype(int)): place.labels for place in places}
    assert found == {border[0]: (7, 3), inside[0]: (2,), missed[0]: ()}


def test_an_uncertain_border_all_around_is_several_places_on_it():
    k, j, i = np.indices((60, 60, 60))
    distance = np.sqrt((k - 30) ** 2 + (j - 30) ** 2 + (i - 30) ** 2)
    shell = np.where(np.abs(distance - 22) < 1, 0.7, 0).astype(np.float32)
    grid = Geometry((60, 60, 60), (1.0, 1.0, 1.0))
    places = uncertain_places(shell, grid)
    assert len(places) > 6
    for place in places:
        k, j, i = np.round(index_of(place, grid)).astype(int)
        assert shell[k, j, i] > 0


@settings(max_examples=30)
@example(8562, (0.5, 0.5, 5.0))  # whose worst voxels of two cells were nearer than their cells
@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0, 1.0), (0.5, 0.5, 5.0), (3.0, 2.0, 1.0)]))
def test_places_are_uncertain_apart_and_in_order(seed, spacing):
    grid = Geometry((30, 26, 22), spacing)
    uncertainty = (np.random.default_rng(seed).random(grid.shape) ** 6).astype(np.float32)
    places = uncertain_places(uncertainty, grid)
    assert 0 < len(places) <= MOST_PLACES
    for n, place in enumerate(places):
        k, j, i = np.round(index_of(place, grid)).astype(int)
        assert uncertainty[k, j, i] >= 0.5 * uncertainty.max()
        assert all(math.dist(place.position, other.position) >= APART_MM for other in places[:n])
    amounts = [place.amount for place in places]
    assert amounts == sorted(amounts, reverse=True)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 200)])
def test_small_and_flat_volumes_are_no_trouble(shape):
    grid = Geometry(tuple(reversed(shape)), (0.3, 9.0, 4.0))
    assert uncertain_places(np.full(shape, 0.8, dtype=np.float32), grid)


def test_a_large_volume_takes_no_longer_than_reading_it_a_few_times():
    grid = Geometry((256, 256, 200), (1.0, 1.0, 1.0))
    uncertainty = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    assert standstill(lambda: uncertain_places(uncertainty, grid)) < 10
