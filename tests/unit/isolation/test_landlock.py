"""Landlock's rights by the kernel's version; what rules do is tested on a kernel that has it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from isolation import landlock, syscalls
from isolation.landlock import Access

HEADER = Path("/usr/include/linux/landlock.h")
VERSIONS = range(1, 12)


def test_the_rights_are_those_of_the_kernels_header() -> None:
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER} (Debian: linux-libc-dev)")
    defined = re.findall(
        r"#define LANDLOCK_ACCESS_FS_(\w+)\s+\(1ULL << (\d+)\)", HEADER.read_text()
    )
    assert defined
    for name, bit in defined:
        assert Access[name] == 1 << int(bit)


def test_each_version_handles_what_the_one_before_did() -> None:
    """Bits that a kernel does not know are refused by it with EINVAL."""
    assert [landlock.handled(version).bit_length() for version in VERSIONS] == [
        13, 14, 15, 15, 16, 16, 16, 16, 17, 17, 17,
    ]  # fmt: skip
    for version in VERSIONS[1:]:
        assert landlock.handled(version - 1) & ~landlock.handled(version) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_allowed_that_is_not_handled(version: int) -> None:
    for writable in (False, True):
        for directory in (False, True):
            rights = landlock.allowed(version, writable=writable, directory=directory)
            assert rights & ~landlock.handled(version) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_reading_changes_nothing_and_nobody_makes_device_nodes(version: int) -> None:
    reading = landlock.allowed(version, writable=False, directory=True)
    assert reading == Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
    writing = landlock.allowed(version, writable=True, directory=True)
    assert reading & ~writing == 0
    assert landlock.handled(version) & ~writing == Access.MAKE_CHAR | Access.MAKE_BLOCK


def test_a_file_gets_no_right_of_directories() -> None:
    of_directories = Access.READ_DIR | Access.REMOVE_DIR | Access.MAKE_REG | Access.REFER
    for writable in (False, True):
        rights = landlock.allowed(10, writable=writable, directory=False)
        assert rights & of_directories == 0
        assert Access.READ_FILE in rights


def test_without_landlock_a_restriction_that_was_asked_for_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "landlock_abi", missing)
    assert landlock.abi() == 0
    with pytest.raises(OSError, match="this kernel has no Landlock") as caught:
        landlock.restrict([], [])
    assert caught.value.errno == errno.EOPNOTSUPP
