"""One report over several networks: table, paired tests over cases and folds, CSV, Markdown, picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mednext.errors import OptionError
from mednext.system.atomic import replacing, together
from mednext.system.shown_text import shown

from ..evaluation.case_results import SCORE_COLUMNS, CaseResult, score_rows, summary

REPORT, TABLE, PICTURE = "report.md", "scores.csv", "report.png"


@dataclass(frozen=True)
class Entry:
    """The results of one network on the validation cases of some folds."""

    name: str
    title: str
    results: Sequence[CaseResult]


@dataclass(frozen=True)
class Paired:
    """How an entry differs from the first one in the mean Dice of each case.

    Attributes:
        mean: of the differences over cases.
        p_cases: of Wilcoxon's signed-rank test over cases; 1 where all are equal.
        folds: mean difference of each fold.
        p_folds: of Student's paired test over folds; None for fewer than two. The folds' networks share
            training cases, so it is too small rather than too large.
    """

    mean: float
    p_cases: float
    folds: tuple[float, ...]
    p_folds: float | None


def paired(first: Entry, other: Entry) -> Paired:
    """Compare two entries case by case.

    Raises:
        OptionError: they are not of the same cases and folds.
    """
    from scipy.stats import ttest_1samp, wilcoxon

    ours, theirs = _means(first), _means(other)
    if ours.keys() != theirs.keys():
        strange = sorted(ours.keys() ^ theirs.keys(), key=str)[0]
        raise OptionError(
            f"{first.name} and {other.name} were not validated on the same cases: {strange[1]} of fold "
            f"{strange[0]} is only in one of them."
        )
    differences = np.array([theirs[key] - ours[key] for key in ours])
    folds = sorted({fold for fold, _ in ours}, key=str)
    of_folds = tuple(
        float(np.mean([theirs[key] - ours[key] for key in ours if key[0] == fold])) for fold in folds
    )
    p_cases = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    spread = len(of_folds) > 1 and np.ptp(of_folds) > 0
    p_folds = float(ttest_1samp(of_folds, 0.0).pvalue) if spread else None
    return Paired(float(differences.mean()), p_cases, of_folds, p_folds)


def write_report(folder: Path, title: str, entries: Sequence[Entry]) -> Path:
    """Write `report.md`, `scores.csv` and `report.png`; the others are compared with the first entry.

    Raises:
        OptionError: there are no entries, or they are not of the same cases.
        OutputError, DiskSpaceError: the files cannot be written.
    """
    if not entries:
        raise OptionError("There is nothing to report: name a network, or a folder of results.")
    text = report(title, entries)
    folder.mkdir(parents=True, exist_ok=True)
    with together():
        _write_table(folder / TABLE, entries)
        _draw(folder / PICTURE, title, entries)
        with replacing(folder / REPORT) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / REPORT


def report(title: str, entries: Sequence[Entry]) -> str:
    """The report in Markdown."""
    first, *others = entries
    folds = sorted({str(each.fold) for each in first.results})
    lines = [
        f"# {title}",
        "",
        f"{len(first.results)} validation cases of the folds {', '.join(folds)}; each was segmented by the "
        "network of the fold that did not train on it.",
        "",
        "| network | mean Dice | lowest | surface Dice at 1 mm | HD95 in mm | missed |",
        "|---|---|---|---|---|---|",
        *map(_line, entries),
        "",
        *_structures(entries),
    ]
    if others:
        lines += ["", f"## Against {first.title} ({first.name})", "", *_tests(first, others)]
    return "\n".join([*lines, "", f"![Dice of each case]({PICTURE})"]) + "\n"


def _line(entry: Entry) -> str:
    row = summary(entry.results)["mean"]
    means = list(_means(entry).values())
    numbers = [
        f"{np.mean(means):.4f} ± {np.std(means):.4f}",
        f"{min(means):.4f}",
        *("–" if row[key] is None else f"{row[key]:.{digits}f}" for key, digits in _SURFACES),
        str(row["missed"]),
    ]
    return f"| {entry.title} ({entry.name}) | " + " | ".join(numbers) + " |"


_SURFACES = (("surface_dice", 4), ("hd95_mm", 2))


def _structures(entries: Sequence[Entry]) -> list[str]:
    """The mean Dice of each structure."""
    tables = [summary(entry.results) for entry in entries]
    names = [name for name in tables[0] if name != "mean"]
    lines = [
        "| Dice of | " + " | ".join(entry.name for entry in entries) + " |",
        "|---|" + "---|" * len(entries),
    ]
    for name in names:
        values = [table.get(name, {}).get("dice") for table in tables]
        lines.append(
            f"| {shown(name)} | " + " | ".join("–" if v is None else f"{v:.4f}" for v in values) + " |"
        )
    return lines


def _tests(first: Entry, others: Sequence[Entry]) -> list[str]:
    lines = [
        "| network | difference of the mean Dice | p over cases | difference of each fold | p over folds |",
        "|---|---|---|---|---|",
    ]
    for other in others:
        found = paired(first, other)
        folds = ", ".join(f"{value:+.4f}" for value in found.folds)
        p_folds = "–" if found.p_folds is None else f"{found.p_folds:.3g}"
        lines.append(f"| {other.name} | {found.mean:+.4f} | {found.p_cases:.3g} | {folds} | {p_folds} |")
    return [
        *lines,
        "",
        "p over cases: Wilcoxon's signed-rank test. p over folds: Student's paired test of the folds' "
        "differences, which share training cases. Neither is corrected for the number of networks.",
    ]


def _means(entry: Entry) -> dict[tuple[int | None, str], float]:
    """Mean Dice of each case in which anything was to be found."""
    return {(each.fold, each.case): each.mean for each in entry.results if each.mean is not None}


def _write_table(path: Path, entries: Sequence[Entry]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["network", *SCORE_COLUMNS])
        table.writerows([entry.name, *row] for entry in entries for row in score_rows(entry.results))


def _draw(path: Path, title: str, entries: Sequence[Entry]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 1.2 * len(entries), 5), layout="constrained")
    axes = figure.subplots()
    values = [list(_means(entry).values()) for entry in entries]
    axes.boxplot(values, tick_labels=[entry.name for entry in entries], showfliers=False)
    for place, dice in enumerate(values, start=1):
        axes.plot(np.linspace(place - 0.15, place + 0.15, len(dice)), dice, ".", alpha=0.4)
    axes.set_ylabel("mean Dice of a case")
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    axes.tick_params(axis="x", rotation=30)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
