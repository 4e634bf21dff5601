"""Whether networks can be trained on a plan, found out before the first of them takes hours."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mednext.errors import MedNeXtError, OptionError
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from ..planning.plans import CONFIGURATION
from .trainer_frame import FramedTrainer

logger = logging.getLogger(__name__)


def check_network(
    trainer: type[FramedTrainer], plans: Mapping[str, Any], description: Mapping[str, Any]
) -> None:
    """Build a network, and let a batch of the plan's shape pass through it without any numbers.

    Args:
        trainer: of the network.
        plans, description: see `read_plans`.

    Raises:
        OptionError: it cannot have patches of this size.
        ModuleNotFoundError: the package that it comes from is not installed.
    """
    manager = PlansManager(dict(plans))
    configuration = manager.get_configuration(CONFIGURATION)
    inputs = determine_num_input_channels(manager, configuration, dict(description))
    outputs = manager.get_label_manager(dict(description)).num_segmentation_heads
    shape = (configuration.batch_size, inputs, *configuration.patch_size)
    try:
        network = trainer.build_network_architecture(manager, configuration, inputs, outputs, True)
        network.to("meta")(torch.empty(shape, device="meta"))
    except (MedNeXtError, ModuleNotFoundError):
        raise
    except NotImplementedError:  # by torch, for tensors without numbers
        logger.info("%s cannot be tried without computing it.", trainer.title)
    except Exception as error:  # boundary: networks of others raise anything for sizes that they cannot have
        patch = " x ".join(map(str, configuration.patch_size))
        raise OptionError(
            f"{trainer.title} cannot have patches of {patch} ({str(error)[:200]}): plan another --patch, or "
            "leave this network out."
        ) from error
