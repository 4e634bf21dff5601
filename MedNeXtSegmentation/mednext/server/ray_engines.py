"""The engines of a server as replicas of Ray Serve, on the devices of one machine or of a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingPackageError, OptionError, ServerError
from ..system.child_processes import child_environment
from ..system.free_memory import free_memory
from ..system.memory_settings import tuned_environment
from ..system.running_processes import is_running
from ..worker.crew.joining import join_cluster
from .dispatch import EngineDiedError

logger = logging.getLogger(__name__)

APPLICATION = f"mednext-{secrets.token_hex(4)}"  # several servers may share a cluster

_LEAST_STORE_BYTES = 256 * 2**20
_SHARE_OF_MEMORY = 0.3  # Ray's own default for its store
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - its free space is asked, nothing is written
_SHARE_OF_SHARED = 0.8
_STARTS = 3
_FOLDER = "mednext_ray_"
_RAY_SECRETS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_HEALTH_PERIOD_S = 2.0


@dataclass(frozen=True)
class Fleet:
    """The engines to start.

    Attributes:
        replicas: runs at the same time; None for one on each GPU, or a single one on the CPU.
        device: "auto", "cuda" or "cpu"; a replica on a GPU has it for itself.
        threads: of each replica on the CPU; None for an equal share of the cores.
        warm: folders of models to load at the start.
        kept: see `Engine`.
        address: of a Ray cluster to join; None starts one on this machine, closed to the network.
    """

    replicas: int | None = None
    device: str = "auto"
    threads: int | None = None
    warm: tuple[str, ...] = ()
    kept: int = 2
    address: str | None = None


class RayEngines:
    """Engines behind a handle of Ray Serve; see `Engines`."""

    def __init__(self, handle: Any, count: int) -> None:
        self._handle = handle.options(stream=True)
        self.count = count

    async def events(
        self, folder: str, application: dict[str, Any], images: Sequence[np.ndarray]
    ) -> AsyncIterator[dict[str, Any]]:
        """See `Engine.events`. Raises `EngineDiedError`."""
        import ray

        stream = self._handle.events.remote(folder, application, list(images))
        try:
            async for event in stream:
                # A copy: Ray's arrays stay in its store as long as they are held.
                yield {
                    key: np.array(value) if isinstance(value, np.ndarray) else value
                    for key, value in event.items()
                }
        except ray.exceptions.RayTaskError:
            raise  # a fault of ours in a living engine
        except ray.exceptions.ObjectStoreFullError as error:
            raise ServerError("The server has no memory for this image at the moment: try again.") from error
        except ray.exceptions.RayError as error:
            raise EngineDiedError(type(error).__name__) from error
        finally:
            stream.cancel()


@contextlib.contextmanager
def ray_engines(fleet: Fleet, largest_bytes: int) -> Iterator[RayEngines]:
    """Start the engines and wait until their models are loaded; end them after the block.

    Raises:
        MissingPackageError: Ray Serve is not installed.
        OptionError: the cluster cannot be joined, or has no GPU for the engines.
        ServerError: an engine does not start.
    """
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if fleet.address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # other users of the machine stay out
        import ray.serve  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"mednext serve needs Ray Serve ({error}): pip install 'slicer-mednext-segmentation[server]'."
        ) from error
    # A private folder, which goes with the server: Ray's own in /tmp is open for everybody to read.
    _remove_leftovers()
    own = f"{_FOLDER}{os.getpid()}_"
    with tempfile.TemporaryDirectory(prefix=own, ignore_cleanup_errors=True) as folder:
        yield from _serving(fleet, largest_bytes, folder)


def _serving(fleet: Fleet, largest_bytes: int, folder: str) -> Iterator[RayEngines]:
    import ray
    from ray import serve

    gpus = _joined(fleet, largest_bytes, folder)
    replicas = fleet.replicas or max(gpus, 1)
    try:
        yield RayEngines(_started(fleet, replicas, gpus), replicas)
    finally:
        with contextlib.suppress(Exception):  # boundary: Ray may have ended before
            serve.shutdown() if fleet.address is None else serve.delete(APPLICATION)
        ray.shutdown()


def _remove_leftovers() -> None:
    """Remove the folders of servers of this computer that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*_*"):
        owner = folder.name.removeprefix(_FOLDER).partition("_")[0]
        if owner.isdecimal() and not is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _started(fleet: Fleet, replicas: int, gpus: int) -> Any:
    """The handle of the engines, when all of them are ready."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(proxy_location="Disabled")
        return serve.run(_deployment(fleet, replicas, gpus), name=APPLICATION, route_prefix=None)
    except RuntimeError as error:  # Serve's own, for replicas that do not start
        raise ServerError(f"The engines cannot be started ({error}): see the log of Ray.") from error


def _joined(fleet: Fleet, largest_bytes: int, folder: str) -> int:
    """Join the cluster, or start one, and return the number of GPUs for the engines."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if fleet.address is None:
        _start_here(quiet, folder, _store_bytes(fleet.replicas or 1, largest_bytes))
    else:
        join_cluster(fleet.address, **quiet)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if fleet.device != "cpu" else 0
    if fleet.device == "cuda" and not gpus:
        raise OptionError(
            "There is no GPU that Ray can give to an engine: use --device cpu, or look at 'ray status'."
        )
    if fleet.device == "auto" and not gpus:
        logger.warning("There is no GPU: the engines run on the CPU.")
    return gpus


def _start_here(quiet: dict[str, Any], folder: str, store_bytes: int) -> None:
    """Start Ray on this machine, again if a busy machine keeps it from starting within its thirty seconds."""
    import ray

    for attempt in range(_STARTS):
        try:
            with _bare_environment():
                ray.init(
                    "local",
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=folder,
                    object_store_memory=store_bytes,
                    _system_config={"automatic_object_spilling_enabled": False},  # voxels never reach a disk
                    **quiet,
                )
            return
        except Exception as error:  # boundary: Ray raises plain exceptions
            logger.warning("Ray did not start.", exc_info=True)
            ray.shutdown()
            if attempt == _STARTS - 1:
                raise ServerError(
                    f"Ray cannot be started on this machine ({error}): start the server again when other "
                    "programs leave it some time."
                ) from error


@contextlib.contextmanager
def _bare_environment() -> Iterator[None]:
    """Let Ray's processes, which inherit the environment of the call that starts them, get no secrets."""
    whole = dict(os.environ)
    os.environ.clear()
    os.environ.update(child_environment(whole, _RAY_SECRETS))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(whole)


def _store_bytes(replicas: int, largest_bytes: int) -> int:
    """Memory for the images of each replica's run, within Ray's usual share and that of shared memory.

    Beyond the latter Ray would keep the voxels in files.
    """
    sizes = [2 * replicas * largest_bytes]
    free = free_memory()
    if free is not None:
        sizes.append(int(_SHARE_OF_MEMORY * free))
    if sys.platform == "linux":
        sizes.append(int(_SHARE_OF_SHARED * shutil.disk_usage(_SHARED_MEMORY).free))
    return max(_LEAST_STORE_BYTES, min(sizes))


def _deployment(fleet: Fleet, replicas: int, gpus: int) -> Any:
    from ray import serve

    from ..system.devices import usable_cores
    from .engine import Engine

    threads = fleet.threads or (None if gpus else max(1, usable_cores() // replicas))
    deployment = serve.deployment(
        name="Engine",
        num_replicas=replicas,
        max_ongoing_requests=1,
        health_check_period_s=_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=2,
        ray_actor_options={
            "num_cpus": 0,
            "num_gpus": min(1.0, gpus / replicas),
            "runtime_env": {"env_vars": _environment()},
        },
    )(Engine)
    return deployment.bind("cuda" if gpus else "cpu", threads, fleet.warm, fleet.kept)


def _environment() -> dict[str, str]:
    """The variables of a replica: the allocator's settings, which glibc reads at the start of a process."""
    names = ("GLIBC_TUNABLES", "OMP_WAIT_POLICY")
    return {name: value for name, value in tuned_environment().items() if name in names}
