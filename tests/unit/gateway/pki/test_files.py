"""Files that are whole or not there, and one at a time: gateway.pki.files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from gateway.pki import files
from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_written_whole_with_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "key"
    files.write(str(path), b"secret", files.PRIVATE)
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_one_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    with pytest.raises(PkiError, match="is there already"):
        files.write(str(path), b"new", files.PRIVATE)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("call", ["fsync", "fchmod", "replace"])
def test_a_failure_leaves_the_old_one_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"old")

    def full(*_args: object, **_given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(PkiError, match=r"cannot write .*index: No space left"):
            files.write(str(path), b"new", files.PRIVATE, replace=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["index"]


def test_a_directory_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    files.make_directory(str(tmp_path / "a/b"))
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700
    os.chmod(tmp_path / "a/b", 0o750)  # noqa: S103
    files.make_directory(str(tmp_path / "a/b"))
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o750


def test_a_file_in_place_of_a_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for path in ("a", "a/b"):
        with pytest.raises(PkiError, match="cannot make the directory"):
            files.make_directory(str(tmp_path / path))


def test_who_waits_too_long_for_the_lock_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOCK_SECONDS", 0.05)
    lock = str(tmp_path / "lock")
    with (
        files.locked(lock),
        pytest.raises(PkiError, match="another `pki` is at work"),
        files.locked(lock),
    ):
        pytest.fail("two had it at once")
    with files.locked(lock):
        pass


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PkiError, match="cannot open"), files.locked(str(tmp_path / "lock")):
        pytest.fail("it followed the link")
    assert not (tmp_path / "elsewhere").exists()
