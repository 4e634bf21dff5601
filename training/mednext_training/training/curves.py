"""The curves of a training: a table with a line per epoch, and a picture of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mednext.system.atomic import replacing
from mednext.system.shown_text import shown

CSV_FILE, PICTURE_FILE = "curves.csv", "curves.png"
_COLUMNS = {
    "learning rate": "lrs",
    "training loss": "train_losses",
    "validation loss": "val_losses",
    "pseudo Dice": "mean_fg_dice",
    "moving average": "ema_fg_dice",
}


def write_curves(folder: Path, logged: Mapping[str, Sequence], labels: Sequence[str], title: str) -> None:
    """Write `curves.csv` and `curves.png` into the folder of a fold.

    Args:
        folder: of the fold.
        logged: one value per epoch of each of nnU-Net's keys, such as "train_losses".
        labels: names of the labels or regions.
        title: of the picture.

    Raises:
        OutputError, DiskSpaceError: they cannot be written.
    """
    with (
        replacing(folder / CSV_FILE) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["epoch", *_COLUMNS, *(f"pseudo Dice {shown(label)}" for label in labels), "seconds"])
        table.writerows(_lines(logged))
    _draw(folder / PICTURE_FILE, logged, title)


def _lines(logged: Mapping[str, Sequence]) -> list[list[str]]:
    times = zip(logged["epoch_start_timestamps"], logged["epoch_end_timestamps"], strict=False)
    columns = [logged[key] for key in _COLUMNS.values()]
    values = zip(*columns, logged["dice_per_class_or_region"], times, strict=False)
    return [
        [str(epoch), *map(_text, numbers), *map(_text, dice), f"{end - start:.1f}"]
        for epoch, (*numbers, dice, (start, end)) in enumerate(values)
    ]


def _text(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _draw(path: Path, logged: Mapping[str, Sequence], title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, dice = figure.subplots(2, 1, sharex=True)
    losses.plot(logged["train_losses"], label="training")
    losses.plot(logged["val_losses"], label="validation")
    losses.set_ylabel("loss")
    dice.plot(logged["mean_fg_dice"], alpha=0.4, label="validation patches")
    dice.plot(logged["ema_fg_dice"], label="moving average")
    dice.set_ylabel("pseudo Dice")
    dice.set_xlabel("epoch")
    losses.set_title(title)
    for each in (losses, dice):
        each.grid(alpha=0.3)
        each.legend()
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
