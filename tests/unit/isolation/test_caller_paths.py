"""What a request's paths have to be: refused by field, with the reason; nothing stays open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from isolation import caller_paths
from isolation.caller_paths import EXISTING, FILE, OWN_DIRECTORY, SOURCE, Wanted, first_wrong

if TYPE_CHECKING:
    from pathlib import Path


def wrong(kind: str, path: Path | str, uid: int | None = None) -> str | None:
    own = os.getuid() if uid is None else uid
    found = first_wrong([Wanted("field", os.fsencode(path), kind)], own)
    return None if found is None else found.why


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    return path


def test_what_fits_is_not_wrong(tmp_path: Path, file: Path) -> None:
    assert wrong(SOURCE, file) is None
    assert wrong(SOURCE, tmp_path) is None
    assert wrong(FILE, file) is None
    assert wrong(OWN_DIRECTORY, tmp_path) is None
    assert wrong(EXISTING, file) is None


def test_what_does_not_fit_is_wrong_with_a_reason(tmp_path: Path, file: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert wrong(FILE, tmp_path)
    assert wrong(FILE, fifo)
    assert wrong(OWN_DIRECTORY, file)
    assert wrong(OWN_DIRECTORY, tmp_path, uid=os.getuid() + 1)
    for kind in (SOURCE, FILE, OWN_DIRECTORY, EXISTING):
        assert wrong(kind, tmp_path / "none") == "No such file or directory"
        assert wrong(kind, "/proc/self/root/etc") is not None


def test_the_first_wrong_one_is_named(tmp_path: Path, file: Path) -> None:
    wanted = [
        Wanted("a", os.fsencode(file), FILE),
        Wanted("b", os.fsencode(tmp_path / "none"), SOURCE),
        Wanted("c", os.fsencode(tmp_path / "none"), SOURCE),
    ]
    found = first_wrong(wanted, os.getuid())
    assert found is not None
    assert found.wanted.field == "b"


def test_questions_leave_no_descriptor(tmp_path: Path, file: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for kind in (SOURCE, FILE, OWN_DIRECTORY, EXISTING):
        for path in (tmp_path, file, tmp_path / "none"):
            wrong(kind, path)
            wrong(kind, path, uid=os.getuid() + 1)
    assert not caller_paths.is_image(os.fsencode(file))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_image_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"hsqs" + bytes(100))
    assert caller_paths.is_image(os.fsencode(image))
    assert not caller_paths.is_image(os.fsencode(tmp_path))


def test_a_text_is_read_up_to_its_bound(file: Path) -> None:
    assert caller_paths.read_text(os.fsencode(file), 4) == b"text"
    with pytest.raises(OSError, match="longer than 3 bytes"):
        caller_paths.read_text(os.fsencode(file), 3)
