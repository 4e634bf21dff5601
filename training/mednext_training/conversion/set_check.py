"""All cases of a data set together: copies, patients, label values, and their common orientation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from .case_check import CheckedCase


def check_copies(cases: Iterable[CheckedCase]) -> None:
    """Note for each case whose voxels another case has as well."""
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for case in cases:
        for digest in dict.fromkeys(case.digests):
            other = images.setdefault(digest, case.name)
            if other != case.name:
                case.problems.append(
                    f"It has an image with the same voxels as {other}: one would be validated with what the "
                    "other taught. Keep one of them (--leave-out)."
                )
                break
        other = labels.setdefault(case.label_digest, case.name) if case.label_digest else case.name
        if other != case.name:
            case.notes.append(f"Its labels are the same as those of {other}: check that they are its own.")


def check_patients(cases: Iterable[CheckedCase]) -> list[list[str]]:
    """Note for each case that an earlier one is of the same patient.

    Returns:
        The cases of each patient who has several.
    """
    names: dict[str, list[str]] = {}
    for case in cases:
        if not case.patient:
            continue
        others = names.setdefault(case.patient, [])
        if others:
            case.notes.append(f"It is of the same patient as {others[0]}: both are kept in the same fold.")
        others.append(case.name)
    return [each for each in names.values() if len(each) > 1]


def map_of_values(
    cases: Sequence[CheckedCase],
    ways: Sequence[Mapping[int, int]],
    refused: Callable[[str, set[int]], str],
    names: Mapping[int, str],
) -> Mapping[int, int]:
    """The way in which a data set writes its labels: for each value of its files the value that is trained.

    A case with a value that the way does not have gets a problem; so does one that `refused` has a sentence
    for.

    Args:
        ways: those that there are; the first that fits all cases is taken, or the one that fits most.
        names: of the values that are trained, for messages.
    """
    sound = []
    for case in cases:
        sentence = refused(case.name, case.values)
        if sentence:
            case.problems.append(sentence)
        else:
            sound.append(case)
    best = max(ways, key=lambda way: sum(case.values <= set(way) for case in sound))
    known = ", ".join(f"{value} {names[trained]}" for value, trained in best.items())
    for case in sound:
        strange = sorted(case.values - set(best))
        if strange:
            case.problems.append(
                f"{case.found.label} has the label {strange[0]}, but the labels of this data set are "
                f"{known}. Correct the file, or leave the case out."
            )
    return best


def common_orientation(cases: Iterable[CheckedCase]) -> str:
    """The orientation that most cases are stored in, such as "LPS": a network is trained in one.

    A case that is stored in another one is told that it will be turned. "" without cases.
    """
    grids = [(case, case.grid.orientation) for case in cases if case.grid is not None]
    counts = Counter(orientation for _, orientation in grids)
    if not counts:
        return ""
    common = min(counts, key=lambda each: (-counts[each], each))
    for case, orientation in grids:
        if orientation != common:
            case.notes.append(
                f"It is stored as {orientation}, most are stored as {common}: its axes are swapped and "
                "reversed, so that the network sees all patients alike."
            )
    return common


def check_labels_occur(cases: Iterable[CheckedCase], names: Mapping[int, str]) -> list[str]:
    """A sentence for each label, by the value of the files, that no case has: it cannot be learnt."""
    present: set[int] = set().union(*(case.values for case in cases))
    return [
        f'No case has the label {value} "{name}": the model will never find it.'
        for value, name in names.items()
        if value not in present
    ]
