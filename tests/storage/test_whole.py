import pytest

from limbeck.errors import StorageError
from limbeck.storage.whole import replaced_file, replaced_folder


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with replaced_file(path) as part:
        part.write_text("old")
    with pytest.raises(ZeroDivisionError), replaced_file(path) as part:
        part.write_text(str(1 / len(part.read_text())))
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "deep" / "set"
    for text in ("old", "new"):
        with replaced_folder(path) as part:
            (part / "a.txt").write_text(text)
    with pytest.raises(ZeroDivisionError), replaced_folder(path) as part:
        (part / "a.txt").write_text(str(1 / len(list(part.iterdir()))))
    assert (path / "a.txt").read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["set"]


def test_what_is_no_plain_file_or_folder_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match="expected a folder or nothing"),
        replaced_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(StorageError, match="expected a file or nothing"), replaced_file(tmp_path):
        pass
    with pytest.raises(StorageError, match="cannot write"), replaced_file(tmp_path / "file" / "below"):
        pass
