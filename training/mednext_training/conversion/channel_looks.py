"""Channels of a case that look exchanged: each of the two looks as the other one does in the other cases.

No file says whether an image is a T1 or a FLAIR. Within a data set, though, a channel shows the same
structures brighter or darker than their surroundings in nearly every case, on any scanner's scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

FEWEST_CASES = 5  # of which one can be told to be unlike the others
_LEAST_SPREAD = 0.15  # of a feature over cases, in standard deviations of an image's voxels
_FARTHEST = 6.0
_CLEARLY = 2.0  # exchanged, the two fit better by this factor, and each of them by _BETTER
_BETTER = 1.0


def exchanged_channels(cases: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, tuple[int, int]]:
    """Cases two of whose channels look exchanged, and the two.

    Args:
        cases: for each case the look of each of its channels; the same number in all of them.
    """
    whole = {name: looks for name, looks in cases.items() if all(looks)}
    if len(whole) < FEWEST_CASES:
        return {}
    names = sorted({name for looks in whole.values() for look in looks for name in look})
    rows = [[[look.get(name, np.nan) for name in names] for look in looks] for looks in whole.values()]
    looks = np.array(rows)  # (cases, channels, features)
    looks = looks[..., np.isfinite(looks).sum(axis=0).min(axis=0) >= FEWEST_CASES]
    middle = np.nanmedian(looks, axis=0)
    spread = np.maximum(1.5 * np.nanmedian(np.abs(looks - middle), axis=0), _LEAST_SPREAD)
    # [case, image, channel]: how far an image is from the usual look of a channel
    apart = np.abs(looks[:, :, None] - middle) / spread
    distance = np.nanmean(np.minimum(apart, _FARTHEST), axis=3)
    found = {}
    for case, far in zip(whole, distance, strict=True):
        for one, other in combinations(range(far.shape[0]), 2):
            now, then = far[[one, other], [one, other]], far[[one, other], [other, one]]
            if (now - then >= _BETTER).all() and now.sum() >= _CLEARLY * then.sum():
                found[case] = (one, other)
    return found


def look_of(image: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """Features of an image that do not depend on its scale.

    Args:
        image: a sample of its voxels, `(n,)`.
        labels: the labels of the same voxels; None where they are not known.

    Returns:
        Quantiles over the voxels that are not zero, and the mean over each label, all in standard deviations
        from the mean of the voxels that are not zero. Empty for an image with one value only.
    """
    values = image[np.isfinite(image) & (image != 0)].astype(np.float64)
    deviation = float(values.std()) if values.size else 0.0
    if not deviation:
        return {}
    mean = float(values.mean())
    quantiles = (np.quantile(values, _QUANTILES) - mean) / deviation
    look = {f"quantile {part}": float(value) for part, value in zip(_QUANTILES, quantiles, strict=True)}
    if labels is not None and labels.shape == image.shape:
        means = _means(image, labels)
        look |= {f"label {value:g}": (place - mean) / deviation for value, place in means.items()}
    return look


_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_FEWEST_VOXELS = 20


def _means(image: np.ndarray, labels: np.ndarray) -> dict[float, float]:
    means = {}
    for value in np.unique(labels[labels > 0]):
        inside = image[labels == value]
        if inside.size >= _FEWEST_VOXELS and np.isfinite(inside).all():
            means[float(value)] = float(inside.astype(np.float64).mean())
    return means
