"""Files and folders are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mednext.errors import DiskSpaceError, OutputError
from mednext.system.atomic import check_place, remove_leftovers, replacing, replacing_folder, together

ENGINE = str(Path(__file__).resolve().parents[2] / "MedNeXtSegmentation")


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "labels.nii.gz"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_has_the_suffix_and_the_folder_of_the_file(tmp_path):
    with replacing(tmp_path / "a.b.seg.nrrd") as temporary:
        assert temporary.name.endswith(".seg.nrrd")
        assert temporary.parent == tmp_path


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "labels.nii.gz"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the new")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_the_file_is_as_public_as_any_other_new_file(tmp_path):
    with replacing(tmp_path / "a.txt"):
        pass
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (errno.ENOSPC, DiskSpaceError, "disk is full"),
        (errno.EFBIG, DiskSpaceError, "disk is full"),
        (errno.EACCES, OutputError, "Permission denied"),
        (errno.EMFILE, OutputError, "too many files are open"),
        (errno.EROFS, OutputError, "Read-only"),
    ],
)
@pytest.mark.parametrize("context", [replacing, replacing_folder])
def test_an_error_of_the_system_becomes_a_sentence_with_the_path(tmp_path, context, number, error, said):
    path = tmp_path / "result"
    with pytest.raises(error, match=said) as caught, context(path):
        raise OSError(number, os.strerror(number))
    assert str(path) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_system_pass_as_they_are(tmp_path):
    with pytest.raises(ConnectionResetError), replacing(tmp_path / "download"):
        raise ConnectionResetError(errno.ECONNRESET, "the server hung up")


@pytest.mark.parametrize("context", [replacing, replacing_folder])
def test_a_parent_that_does_not_exist_is_named(tmp_path, context):
    with (
        pytest.raises(OutputError, match="results does not exist: make it first"),
        context(tmp_path / "results" / "x"),
    ):
        pass


def test_a_folder_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with replacing_folder(path) as temporary:
        (temporary / "new").touch()
        assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError), replacing_folder(path) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_folder_comes_back_when_the_exchange_itself_fails(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OutputError), replacing_folder(path) as temporary:
        real = type(path).replace

        def fail_for_the_new_one(self, target):
            if self == temporary:
                raise PermissionError(errno.EACCES, "in use")
            return real(self, target)

        monkeypatch.setattr(type(path), "replace", fail_for_the_new_one)
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_and_a_folder_do_not_replace_each_other(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a folder"), replacing(tmp_path / "folder"):
        pass
    with pytest.raises(OutputError, match="is a file"), replacing_folder(tmp_path / "file"):
        pass


def test_files_of_one_block_take_their_places_together(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("old")
    with together():
        for path in (first, second):
            with replacing(path) as temporary:
                temporary.write_text("new")
        assert first.read_text() == "old" and not second.exists()
    assert first.read_text() == second.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_a_failing_second_file_leaves_the_first_as_it_was(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("yesterday's")
    with pytest.raises(RuntimeError), together():
        with replacing(first) as temporary:
            temporary.write_text("new")
        with replacing(second):
            raise RuntimeError
    assert first.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [first]


@pytest.mark.parametrize("links", [True, False], ids=["with hard links", "without"])
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_second_file_that_cannot_take_its_place_takes_the_first_one_back(
    tmp_path, monkeypatch, links, there
):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    if there:
        first.write_text("yesterday's")
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOTSUP, "no links")))
    with pytest.raises(OutputError, match=r"second\.txt"), together():
        for path in (first, second):
            with replacing(path) as temporary:
                temporary.write_text("new")
        second.mkdir()
    assert not there or first.read_text() == "yesterday's"
    assert sorted(tmp_path.iterdir()) == [first, second][1 - there :]


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from mednext.system.atomic import replacing, together

first, second = map(Path, sys.argv[1:])
replace = Path.replace

def killed(path, target):
    if Path(target) == second:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

Path.replace = killed
with together():
    for path in (first, second):
        with replacing(path) as temporary:
            temporary.write_text("new")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_between_two_files_leaves_no_former_second_beside_a_new_first(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("old")
    second.write_text("old")
    environment = {**os.environ, "PYTHONPATH": ENGINE}
    subprocess.run([sys.executable, "-c", KILLED_BETWEEN, first, second], check=False, env=environment)
    assert first.read_text() == "new" and not second.exists()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [first]


def killed_while_writing(path):
    """A process that was killed within `replacing`; its temporary file."""
    code = (
        "import os, signal, sys\nfrom mednext.system.atomic import replacing\n"
        "with replacing(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False, env={**os.environ, "PYTHONPATH": ENGINE})
    (left,) = path.parent.glob(".mednext-*")
    return left


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_files_of_a_killed_process_are_removed_and_those_of_a_running_one_stay(tmp_path):
    left = killed_while_writing(tmp_path / "a.txt")
    with replacing(tmp_path / "b.txt") as temporary:
        remove_leftovers(tmp_path)
        assert temporary.exists() and not left.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_the_next_result_beside_removes_the_file_of_a_killed_process(tmp_path):
    left = killed_while_writing(tmp_path / "a.txt")
    check_place(tmp_path / "b.txt")
    assert not left.exists()


def test_a_clock_that_jumps_removes_no_file_of_a_running_process(tmp_path):
    with replacing(tmp_path / "b.txt") as temporary:
        os.utime(temporary, (0, 0))
        remove_leftovers(tmp_path)
        assert temporary.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_leftovers_of_another_computer_are_removed_after_a_day(tmp_path):
    left = killed_while_writing(tmp_path / "a.txt")
    left = left.rename(tmp_path / f".mednext-{'0' * 8}-123.txt")
    remove_leftovers(tmp_path)
    assert left.exists()
    os.utime(left, (0, 0))
    remove_leftovers(tmp_path)
    assert not left.exists()
