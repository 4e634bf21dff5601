"""All commands from a challenge's files to a finished model, one after the other, and each only once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mednext.errors import OptionError
from mednext.system.atomic import replacing
from mednext.system.json_reading import json_text, read_json

from .network.network_names import TINY
from .workspace import Workspace

logger = logging.getLogger(__name__)

Command = tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """How much is spent on a model.

    Attributes:
        variant, kernel: of the network; a kernel above 3 begins with the weights of kernel 3 (UpKern).
        folds: of the cross-validation.
        plan, training, evaluation: further words of these commands.
    """

    variant: str
    kernel: int
    folds: tuple[int, ...]
    plan: Command = ()
    training: Command = ()
    evaluation: Command = ()


BUDGETS = {
    # A network of some thousand weights that learns phantoms in a minute: it shows that the chain holds.
    "tiny": Budget(
        variant=TINY,
        kernel=3,
        folds=(0,),
        plan=("--patch", "32", "32", "32", "--processes", "1"),
        training=(
            *("--epochs", "5", "--iterations", "40", "--validation-iterations", "1"),
            *("--learning-rate", "1e-2"),
        ),
        evaluation=("--no-mirror",),
    ),
    "paper": Budget(variant="L", kernel=5, folds=(0, 1, 2, 3, 4), evaluation=("--keep-largest",)),
}


@dataclass(frozen=True)
class Recipe:
    """The model to reproduce.

    Attributes:
        conversion: the words of `convert`: the challenge, its files, and options.
        dataset: the folder's name of the data set that it becomes.
        target: folder of the finished model.
        publication: words of `publish` after the model; None publishes nothing.
    """

    conversion: Command
    dataset: str
    budget: Budget
    target: Path
    publication: Command | None = None


def commands_of(recipe: Recipe) -> list[Command]:
    """The commands of `mednext-train`, in their order."""
    budget, data = recipe.budget, ("--dataset", recipe.dataset)
    commands = [("convert", *recipe.conversion), ("plan", *data, *budget.plan)]
    for fold in budget.folds:
        commands += [("train", *data, *words, "--fold", str(fold)) for words in _trainings(budget)]
    folds = tuple(map(str, budget.folds))
    name = ("--name", "upkern") if budget.kernel > 3 else ()  # that of `train --upkern`
    network = (*_network(budget, budget.kernel), *name)
    commands.append(("export", *data, *network, str(recipe.target), "--folds", *folds))
    tables = ("--table", f"{recipe.target}.md", "--csv", f"{recipe.target}.csv")
    told = ("--record", f"Cross-validation on {recipe.dataset}, folds {', '.join(folds)}")
    commands.append(("evaluate", *data, str(recipe.target), *budget.evaluation, *tables, *told))
    if recipe.publication is not None:
        commands.append(("publish", *data, str(recipe.target), *recipe.publication))
    return commands


def reproduce(
    recipe: Recipe, sources: Sequence[Path], workspace: Workspace, run: Callable[[Command], None]
) -> None:
    """Run all commands, except those that were finished before with the same words on the same files.

    Args:
        sources: the files that the conversion reads; where they have changed, all begins anew.
        run: runs one command, and raises its errors.
    """
    state = workspace.root / f"reproduce_{recipe.dataset}.json"
    source = _listing(sources)
    finished = _finished(state, source)
    for number, command in enumerate(commands_of(recipe)):
        if finished[number : number + 1] == [command]:
            logger.info("Finished before: %s", " ".join(command))
            continue
        del finished[number:]
        logger.info("mednext-train %s", " ".join(command))
        run(command)
        finished.append(command)
        with replacing(state) as temporary:
            said = {"source": source, "finished": [list(each) for each in finished]}
            temporary.write_text(json_text(said) + "\n", encoding="utf-8")


def _trainings(budget: Budget) -> Iterator[Command]:
    if budget.kernel > 3:
        yield (*_network(budget, 3), *budget.training)
    upkern = ("--upkern",) if budget.kernel > 3 else ()
    yield (*_network(budget, budget.kernel), *upkern, *budget.training)


def _network(budget: Budget, kernel: int) -> Command:
    return ("--variant", budget.variant, "--kernel", str(kernel))


def _finished(state: Path, source: str) -> list[Command]:
    """The commands that were finished on this source; a state that cannot be read counts for nothing."""
    if not state.is_file():
        return []
    try:
        said = read_json(state, OptionError)
        return [tuple(each) for each in said["finished"]] if said["source"] == source else []
    except (OptionError, KeyError, TypeError):
        logger.warning("%s is damaged: everything is run again.", state)
        return []


def _listing(sources: Sequence[Path]) -> str:
    """A digest of names, sizes and times of all files."""
    digest = hashlib.sha256()
    for source in sources:
        paths = [source] if source.is_file() else sorted(_files_below(source))
        for path in paths:
            facts = path.stat()
            digest.update(repr((str(path), facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)
