"""One measurement in this process, printed as records: `python -m benchmarks.gpu.job forward:S3`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from .scale import FULL, TINY, Scale


def job_of(part: str) -> Callable[[str, str, Scale], None]:
    """The function that measures a part; only its module is imported."""
    if part == "training":
        from .training import training

        return training
    if part == "end to end":
        from .end_to_end import end_to_end

        return end_to_end
    if part == "adding":
        from .adding import adding

        return adding
    from . import forward, tuning

    return {
        "check": forward.check,
        "forward": forward.forward,
        "compiled": forward.compiled,
        "batches": forward.batches,
        "kernels": forward.kernels,
        "tune": tuning.tune,
    }[part]


def run(job: str, scale: Scale) -> None:
    """Measure one job, such as "forward:S3"."""
    import torch

    # The reference computes in fp32, not in the tensor cores' shorter float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # as nnU-Net has it
    part, _, name = job.partition(":")
    job_of(part)(job, name, scale)


def main() -> None:
    """One job."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.job", description=__doc__)
    parser.add_argument("job", help="part:network")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    run(arguments.job, TINY if arguments.smoke else FULL)


if __name__ == "__main__":
    main()
