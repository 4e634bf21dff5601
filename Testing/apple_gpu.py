"""A stand-in of an Apple GPU for torch: tensors that say "mps" and lie on the CPU.

It refuses what the real one does: it has no float64, and does not mix its tensors with those of the CPU.
Whatever is computed is right. With float64 it stands for any other device, as far as what is done there goes.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

MPS = torch.device("mps")


class OnDevice(Tensor):
    """A tensor of the device; `inner` has its numbers."""

    inner: Tensor
    float64 = False  # of the device that there is now

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        if inner.dtype == torch.float64 and not cls.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype.")
        tensor = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device="meta", requires_grad=False
        )
        tensor.inner = inner
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Torch itself takes it for one without numbers: it knows no MPS on other machines."""
        return MPS

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


class AppleGpu(TorchDispatchMode):
    """Within the block there is such a device.

    Args:
        without: operators that it does not know, such as "aten::conv3d".
        wrong: operators whose numbers it gets wrong, without a word.
        float64: whether it has that.

    Attributes:
        used: the operators that ran on it.
    """

    def __init__(
        self, without: tuple[str, ...] = (), wrong: tuple[str, ...] = (), float64: bool = False
    ) -> None:
        super().__init__()
        self.without, self.wrong, self.float64 = without, wrong, float64
        self.used: set[str] = set()

    def __enter__(self) -> Self:
        OnDevice.float64 = self.float64
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        OnDevice.float64 = False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = _run(op, args, kwargs or {})
        if isinstance(result, OnDevice):
            name = op._schema.name
            self.used.add(name)
            if name in self.without:
                raise NotImplementedError(f"The operator '{name}' is not currently implemented for MPS.")
            if name in self.wrong:
                result.inner.mul_(1.5)
        return result


def _run(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if op._schema.name == "aten::_has_compatible_shallow_copy_type":
        return False  # a module that moves gets new parameters
    given: list[Tensor] = []
    tree_map(lambda each: given.append(each) if isinstance(each, Tensor) else None, (args, kwargs))
    here = any(isinstance(each, OnDevice) for each in given)
    wanted = kwargs.get("device")
    moves = op._schema.name in ("aten::_to_copy", "aten::copy_")
    strangers = [each for each in given if not isinstance(each, OnDevice) and each.dim() > 0]
    if here and strangers and not moves:
        raise RuntimeError(f"{op}: Expected all tensors to be on the same device, but found mps and cpu.")
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args_inside, kwargs_inside = tree_map(_inner, (args, kwargs))
    result = op(*args_inside, **kwargs_inside)
    stays = here if wanted is None else torch.device(wanted).type == "mps"
    if op._schema.name == "aten::copy_":
        return args[0]
    if not stays:
        return result
    written = [argument.name for argument in op._schema.arguments if argument.is_out]
    if op._schema.name.endswith("_") and args and isinstance(args[0], OnDevice) and not written:
        return args[0]
    return tree_map(lambda each: OnDevice(each) if isinstance(each, Tensor) else each, result)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value
