"""The head of the demo: the ICBM152 average of 152 T1 images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mednext.errors import MissingPackageError

_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def template_file() -> Path:
    """The path of ICBM152 2009a, T1, 1 mm, without skull, in the package nilearn, which is not imported."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError("The demo's head comes with the package nilearn: pip install nilearn")
    return Path(spec.submodule_search_locations[0]) / _FILE
