"""Small files that would become huge or endless, and their readers: `python bombs.py FOLDER` reads them all.

Each is read with 1 GiB of memory beyond that of the process. A line for each: its name, seconds, and the end.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

MEMORY = 2**30
HUGE, BLOCK = 2**31, 2**24


def nifti(folder: Path) -> Path:
    import nibabel
    import numpy as np

    header = nibabel.Nifti1Header()
    header.set_data_shape((1024, 1024, 1024))
    header.set_data_dtype(np.int16)
    header.set_qform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = folder / "bomb.nii.gz"
    zeros = gzip.compress(bytes(BLOCK))
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)) + HUGE // BLOCK * zeros)
    return path


def dicom(folder: Path, **changes: int) -> Path:
    import numpy as np
    import pydicom
    from fixtures.images.dicom_files import write_series
    from mednext.images.geometry import Geometry

    write_series(folder / "series", np.zeros((2, 8, 8), np.int16), Geometry((8, 8, 2), (1, 1, 1)))
    for path in sorted((folder / "series").iterdir()):
        dataset = pydicom.dcmread(path)
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    return folder / "series"


def deflated(folder: Path) -> Path:
    """A deflated data set with 2 GiB of zeros."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    series = dicom(folder)
    for path in sorted(series.iterdir()):
        dataset = pydicom.dcmread(path)
        del dataset.PixelData
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
        content = path.read_bytes()
        begin = content.index(b"DICM") + 4
        begin += 12 + int.from_bytes(content[begin + 8 : begin + 12], "little")
        packer = zlib.compressobj(9, wbits=-15)
        packed = packer.compress(zlib.decompress(content[begin:], -15))
        packed += packer.compress(b"\x09\x00\x10\x00OB\x00\x00" + HUGE.to_bytes(4, "little"))
        packed += packer.flush(zlib.Z_FULL_FLUSH)
        zeros = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
        path.write_bytes(content[:begin] + packed + HUGE // BLOCK * zeros + packer.flush())
    return series


def scene(folder: Path) -> Path:
    """Entities that contain each other: a billion laughs."""
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<!DOCTYPE MRML [<!ENTITY a0 "ha">{entities}]><MRML><Volume fileName="&a11;"/></MRML>'
    (folder / "bomb.mrml").write_text(text)
    return folder / "bomb.mrml"


def foreign_entity(folder: Path) -> Path:
    text = '<!DOCTYPE MRML [<!ENTITY a SYSTEM "/etc/passwd">]><MRML>&a;<Volume fileName="a.nrrd"/></MRML>'
    (folder / "foreign.mrml").write_text(text)
    return folder / "foreign.mrml"


def written(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def read_image(path: Path) -> object:
    from mednext.images.volume import read_volume

    return read_volume(path)


def read_scene(path: Path) -> object:
    from mednext.batch.scene_files import files_of_scene

    return sorted(file.name for file in files_of_scene(path))


def read_model(path: Path) -> object:
    from mednext.model.model_file import read_model as read

    return read(path.parent)


def read_keys(path: Path) -> object:
    from mednext.server.keys import KeyFile

    return KeyFile(path).listed()


def read_report(path: Path) -> object:
    from mednext.batch.report import Report

    return Report(path).rows()


def look_at_name(path: Path) -> object:
    """Find kind, patient and names in the long words of a file: none of the patterns may explode."""
    from mednext.images.description.image_kind import kind_of_text, mentions_contrast
    from mednext.images.description.patient_names import patient_in, session_in
    from mednext.system.shown_text import csv_cell, rich_text, shown

    words = path.read_text()
    for word in (words, words * 20):
        kind_of_text(word), mentions_contrast(word), patient_in(word), session_in(word)
        csv_cell(rich_text(shown(word)))
    return "ok"


def long_name(word: str) -> Callable[[Path], Path]:
    return written("name.txt", word * (2000 // len(word)))


BOMBS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "gzip in NIfTI": (nifti, read_image),
    "deflate in DICOM": (deflated, read_image),
    "rows and columns of DICOM": (lambda folder: dicom(folder, Rows=65535, Columns=65535), read_image),
    "frames of DICOM": (lambda folder: dicom(folder, NumberOfFrames=2**31 - 1), read_image),
    "entities in a scene": (scene, read_scene),
    "a foreign entity in a scene": (foreign_entity, read_scene),
    "deep elements in a scene": (
        written("deep.mrml", "<a>" * 200_000 + "</a>" * 200_000),
        read_scene,
    ),
    "lists in lists": (written("model.json", "[" * 200_000 + "]" * 200_000), read_model),
    "objects in objects": (written("model.json", '{"a":' * 200_000 + "1" + "}" * 200_000), read_model),
    "a number of a million digits": (
        written("model.json", '{"format_version": ' + "9" * 10**6 + "}"),
        read_model,
    ),
    "an infinite number": (written("model.json", '{"format_version": 1e999}'), read_model),
    "not a number": (written("model.json", '{"format_version": NaN}'), read_model),
    "keys in lists": (written("keys.json", '{"keys": ' + "[" * 100_000 + "]" * 100_000 + "}"), read_keys),
    "a report of one cell": (written("report.csv", "case,status\n" + '"' * 300_001), read_report),
    "a name of blanks": (long_name(" "), look_at_name),
    "a name of t1": (long_name("t1_"), look_at_name),
    "a name of axial": (long_name("axt1"), look_at_name),
    "a name of subjects": (long_name("sub-"), look_at_name),
    "a name of plus signs": (long_name("+ "), look_at_name),
    "a name of capitals": (long_name("aA1"), look_at_name),
    "a name of slashes": (long_name("w / "), look_at_name),
}


def main(folder: Path) -> None:
    """Read all bombs, each in a child of this process, so that none starts with the memory of another."""
    for name, (make, read) in BOMBS.items():
        place = folder / name.replace(" ", "_")
        place.mkdir()
        path = make(place)
        child = os.fork()
        if not child:
            _read(name, path, read)
        _, status = os.waitpid(child, 0)
        if status:
            sys.stdout.write(f"{name}\t0\tstatus {status}\n")


def _read(name: str, path: Path, read: Callable[[Path], object]) -> None:
    import resource

    from mednext.errors import MedNeXtError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    begin = time.process_time()
    try:
        end = f"read {read(path)!r}"
    except MedNeXtError as error:
        end = f"refused {type(error).__name__} {error}"
    except BaseException as error:  # noqa: BLE001  # boundary: the test judges
        end = f"failed {type(error).__name__} {error}"
    seconds = time.process_time() - begin
    os.write(
        1, f"{name}\t{seconds}\t{end[:300]}\n".encode(errors="replace").replace(b"\n", b" ")[:-1] + b"\n"
    )
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
