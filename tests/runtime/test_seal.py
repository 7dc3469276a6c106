"""The checksum inside of a file: what it is of, and that every change is noticed."""

import hashlib

import pytest

from seg_jax.runtime import seal

FILE = b"before " + seal.BLANK.encode() + b" after"


def test_the_digits_are_those_of_the_file_with_zeros(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(FILE)
    assert seal.intact(path) is False
    seal.seal(path)
    digits = hashlib.sha256(FILE).hexdigest().encode()
    assert path.read_bytes() == b"before seg_jax sha256 " + digits + b" after"
    assert seal.intact(path) is True
    path.write_bytes(path.read_bytes().replace(b"after", b"AFTER"))  # as a program that rewrites the file would
    assert seal.intact(path) is False
    seal.seal(path)
    assert seal.intact(path) is True


def test_any_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(FILE)
    seal.seal(path)
    content = path.read_bytes()
    outcomes = []
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        outcomes.append(seal.intact(path))
    mark = len(b"before "), len(b"before ") + len(seal.MARK)
    assert outcomes == [None if mark[0] <= at < mark[1] else False for at in range(len(content))]
    for changed in (content[:-1], content + b"x", content + content, content[: mark[1] + 10]):
        path.write_bytes(changed)
        assert seal.intact(path) is False


@pytest.mark.parametrize("content", [b"", b"nothing of ours"])
def test_a_file_that_nobody_sealed(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert seal.intact(path) is None and seal.digest(path) == hashlib.sha256(content).hexdigest()


def test_a_directory_is_sealed_as_a_whole(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "metadata.json").write_text("{}")
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "empty").touch()
    assert seal.intact(tmp_path) is None
    seal.seal(tmp_path)
    assert seal.intact(tmp_path) is True
    (tmp_path / "saved_model.pb").rename(tmp_path / "other.pb")
    assert seal.intact(tmp_path) is False
    (tmp_path / "other.pb").rename(tmp_path / "saved_model.pb")
    assert seal.intact(tmp_path) is True
    (tmp_path / "empty").unlink()
    assert seal.intact(tmp_path) is False
