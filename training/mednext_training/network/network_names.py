"""The networks that can be trained, by name; torch is not needed to list them."""

from __future__ import annotations

from mednext.model.description import VARIANT_NAMES

TINY = "tiny"  # 8 channels and one block a stage: it learns phantoms in minutes, and nothing else
NETWORK_NAMES = (*VARIANT_NAMES, TINY)
