"""A model that others published in their own form: its files, and the facts that they do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ..errors import OptionError, UnsafePathError
from ..model.description import ORIENTATION_FORM
from ..system.file_names import check_relative
from ..system.json_reading import Fields
from .web_address import check_field, read_address

_FOLD = "{fold}"


@dataclass(frozen=True)
class ElsewhereFile:
    """A file to download.

    Attributes:
        path: its place in the results folder that is made of the files; "{fold}" stands for a fold's number.
        name: its name below the publisher's folder.
    """

    path: str
    name: str

    @classmethod
    def read(cls, fields: Fields) -> ElsewhereFile:
        """A file as `catalog.json` writes it."""
        path = fields.text("path")
        file = cls(path, fields.text("name") if fields.has("name") else path)
        fields.finish()
        try:
            check_relative(path.replace(_FOLD, "0"))
        except UnsafePathError as error:
            raise fields.error(f"{fields.where}: {error}") from error
        return file


@dataclass(frozen=True)
class Elsewhere:
    """Where a model of another publisher lies, and how to import it.

    Attributes:
        page: address for people.
        archive: address of a zip file that holds the files; None if each has an address of its own.
        folder: of the files, in the zip file (its last parts suffice) or as an address.
        files: the files to download.
        folds: the folds that are there.
        fold_bytes: bytes of a fold, about; None if they are not published.
        checkpoint: which weights of the training are there; None if they are called neither.
        orientation: of the training images, such as "LPS".
        orientation_source: a sentence on how that is known.
        citation: the publication to cite for the weights.
        tested, untested: sentences on the tests of this project, and on those that are missing.
    """

    page: str
    archive: str | None
    folder: str
    files: tuple[ElsewhereFile, ...]
    folds: tuple[int, ...]
    fold_bytes: int | None
    checkpoint: Literal["final", "best"] | None
    orientation: str
    orientation_source: str
    citation: str
    tested: str
    untested: str

    @classmethod
    def read(cls, fields: Fields) -> Elsewhere:
        """The place as `catalog.json` writes it."""
        kind = fields.text("checkpoint", choices=("final", "best")) if fields.has("checkpoint") else None
        place = cls(
            page=read_address(fields, "page", private=True),
            archive=read_address(fields, "archive", private=True) if fields.has("archive") else None,
            folder=fields.text("folder"),
            files=fields.objects("files", ElsewhereFile.read, minimum=1),
            folds=fields.integers("folds", 0, 999),
            fold_bytes=fields.integer("fold_bytes", 1, 10**12) if fields.has("fold_bytes") else None,
            checkpoint=cast(Literal["final", "best"] | None, kind),
            orientation=fields.text("orientation", pattern=ORIENTATION_FORM),
            orientation_source=fields.text("orientation_source"),
            citation=fields.text("citation"),
            tested=fields.text("tested"),
            untested=fields.text("untested"),
        )
        if not place.folds:
            raise fields.error(f"{fields.where}: 'folds' is empty. Name the folds that are there.")
        if place.archive is None:
            check_field(fields, "folder", place.folder, private=True)
        fields.finish()
        return place

    def names(self, folds: Sequence[int]) -> dict[str, str]:
        """The files of some folds: their places, and their names in the zip file or their addresses.

        Raises:
            OptionError: there is no such fold.
        """
        missing = [fold for fold in folds if fold not in self.folds]
        if missing or not folds:
            known = ", ".join(map(str, self.folds))
            raise OptionError(f"There is no fold {missing[0] if missing else ''}: choose among {known}.")
        return {
            file.path.replace(_FOLD, str(fold)): f"{self.folder}/{file.name.replace(_FOLD, str(fold))}"
            for file in self.files
            for fold in folds
        }
