"""Whether a model may have learnt the cases that it is measured on, by the history in its description."""

from __future__ import annotations

import logging
import re

from mednext.errors import OptionError
from mednext.model.description import Model

from .run_record import digest

logger = logging.getLogger(__name__)

FINE_TUNED = "fine-tuned from"  # before a model's name, in a history
_ON_ALL_CASES = "; folds all (split "  # as `bundle_export.training_history` tells it


def check_not_trained_on_all(model: Model) -> None:
    """Refuse to validate a model on cases that taught it. Raises `OptionError`."""
    if _ON_ALL_CASES in model.training_data:
        raise OptionError(
            f"{model.name} was trained on every case of its data set: measure it on others, with --test or "
            "--unseen."
        )


def warn_of_learnt_cases(model: Model, fold: int | str, split: object) -> None:
    """Tell why the weights of a fold may know the cases that a split of this fold validates on."""
    split_told = re.search(rf"(?<!\d){fold} \(split ([0-9a-f]+)\)", model.training_data)
    if _ON_ALL_CASES in model.training_data:
        why = "was trained on every case of its data set"
    elif all(each.index != fold for each in model.folds):
        why = f"has no fold {fold}"
    elif split_told and not digest(split).startswith(split_told[1]):
        why = f"had another split, or other data, for fold {fold}"
    elif FINE_TUNED in model.training_data:
        why = "was fine-tuned from a model that may have learnt them"
    else:
        return
    logger.warning(
        "%s %s: if it has learnt cases that validate here, the accuracy is too good. Measure it on others, "
        "with --test.",
        model.name,
        why,
    )
