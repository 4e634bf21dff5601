"""All cases of a data set together: copies, patients, label values, and their common orientation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..datasets import Dataset, misnamed
from .case_check import CheckedCase
from .channel_looks import exchanged_channels
from .form import Form


def check_copies(cases: Iterable[CheckedCase]) -> None:
    """Find cases whose voxels an earlier case has as well, at the same places or mirrored or turned.

    A copy in everything is a problem of the later case. Where two differ otherwise, nobody knows which one is
    right, and it is a problem of both.
    """
    images: dict[str, CheckedCase] = {}
    turned: dict[str, CheckedCase] = {}
    labels: dict[str, str] = {}
    for case in cases:
        same, mirrored = _first(images, case.digests, case), _first(turned, case.turned_digests, case)
        if same and (same.digests, same.label_digest) == (case.digests, case.label_digest):
            case.problems.append(
                f"It has the same voxels as {same.name}: a network that learnt one would be validated on the "
                "other. Keep one of them (--leave-out)."
            )
        elif same:
            _tell_both(case, same, "an image with the same voxels as {}, but other images or labels than it")
        elif mirrored:
            _tell_both(
                case,
                mirrored,
                "an image with the voxels of {}, mirrored or turned: sides are wrong in one of the two",
            )
        other = labels.setdefault(case.label_digest, case.name) if case.label_digest else case.name
        if other != case.name:
            case.notes.append(f"Its labels are the same as those of {other}: check that they are its own.")


def _first(known: dict[str, CheckedCase], digests: Sequence[str], case: CheckedCase) -> CheckedCase | None:
    """The first case with one of these digests, if that is an earlier one."""
    firsts = [known.setdefault(digest, case) for digest in digests]
    return next((each for each in firsts if each is not case), None)


def _tell_both(case: CheckedCase, other: CheckedCase, shared: str) -> None:
    for one, two in ((case, other), (other, case)):
        one.problems.append(f"It has {shared.format(two.name)}. Keep the right one (--leave-out).")


def check_channels(cases: Sequence[CheckedCase], channels: Sequence[str]) -> None:
    """Note each case two of whose channels look exchanged, beside the other cases."""
    looks = {case.name: case.looks for case in cases}
    exchanged = exchanged_channels(looks) if len(channels) > 1 else {}
    for case in cases:
        if case.name in exchanged:
            one, other = (channels[number] for number in exchanged[case.name])
            case.notes.append(
                f"Its {one} looks as {other} does in the other cases, and its {other} as {one}: check "
                "whether the two files are exchanged."
            )


def check_patients(cases: Iterable[CheckedCase]) -> list[list[str]]:
    """Note for each case that an earlier one is of the same patient.

    Returns:
        The cases of each patient with several.
    """
    groups: list[tuple[set[str], list[str]]] = []  # names of a patient, and of the cases
    for case in cases:
        known = [group for group in groups if group[0] & case.patients]
        others = [name for _, names in known for name in names]
        if others:
            case.notes.append(f"It is of the same patient as {others[0]}: both are kept in the same fold.")
        patients = case.patients.union(*(group[0] for group in known))
        groups = [*(group for group in groups if group not in known), (patients, [*others, case.name])]
    return [names for _, names in groups if len(names) > 1]


def map_values(cases: Sequence[CheckedCase], form: Form) -> None:
    """Give each case its map from the label values of its file to the trained values.

    Of the maps of a form each edition of the data set gets the one that fits most of its cases. A case with a
    value that the map lacks gets a problem; so does one that the form refuses.
    """
    editions: dict[str, list[CheckedCase]] = {}
    for case in cases:
        sentence = form.refused(case.name, case.values)
        if sentence:
            case.problems.append(sentence)
        else:
            editions.setdefault(form.edition(case.name), []).append(case)
    for sound in editions.values():
        best = max(form.ways, key=lambda way: sum(case.values <= set(way) for case in sound))
        known = ", ".join(f"{value} {form.dataset.names[trained]}" for value, trained in best.items())
        for case in sound:
            case.way = best
            _check_names(case, form)
            strange = sorted(case.values - set(best))
            if strange:
                case.problems.append(
                    f"{case.found.label} has the label {strange[0]}, but the labels of this data set are "
                    f"{known}. Correct the file, or leave the case out."
                )


def _check_names(case: CheckedCase, form: Form) -> None:
    """Compare the names that a case's file gives its values with those of the data set."""
    told = {value: name for value, name in case.told_names.items() if value in case.values}
    for each in misnamed(told, {value: form.dataset.names[trained] for value, trained in case.way.items()}):
        sentence = (
            f'{case.found.label} calls its label {each.value} "{each.told}", here it is "{each.wanted}"'
        )
        if each.exchanged:
            case.problems.append(f"{sentence}: export all cases with the same values.")
        else:
            case.notes.append(f"{sentence}: check that these are the same.")


def common_orientation(cases: Iterable[CheckedCase]) -> str:
    """The orientation that most cases are stored in, such as "LPS": a network is trained in one.

    A case that is stored in another one gets a note. Returns "" without cases.
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


def check_labels_occur(cases: Iterable[CheckedCase], dataset: Dataset) -> list[str]:
    """A sentence for each trained value that none of the sound cases has: it cannot be learnt."""
    cases = list(cases)
    present = {case.way[value] for case in cases for value in case.values}
    return [
        f'No case has the label "{name}": the model will never find it.'
        for value, name in dataset.names.items()
        if cases and value not in (dataset.ignored, *present)
    ]
