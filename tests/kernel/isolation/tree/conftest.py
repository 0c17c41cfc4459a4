"""Places on the host for the trees of jobs, and the proof that no mount of theirs reaches it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.isolation.tree.in_tree import ALICE
from tests.kernel.isolation.tree.looking import give

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def mount_table() -> str:
    with open("/proc/self/mountinfo") as file:
        return file.read()


def loops_in_use() -> list[str]:
    return [name for name in os.listdir("/sys/block") if os.path.exists(f"/sys/block/{name}/loop")]


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory of alice's, outside of the private ones, that is a disk of its own.

    Afterwards the host has the mounts and loop devices that it had before, and no more.
    """
    path = f"/srv/{tmp_path.name}"
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)
    os.chown(path, ALICE, ALICE)
    before = mount_table()
    yield tmp_path.__class__(path)
    assert mount_table() == before
    assert loops_in_use() == []
    subprocess.run(["umount", path], check=True)
    os.rmdir(path)


@pytest.fixture
def below_tmp(tmp_path: Path) -> Path:
    """A directory of alice's below /tmp, which she can reach."""
    for directory in (tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    return give(tmp_path)


@pytest.fixture
def foreign(place: Path) -> bytes:
    """A root directory of alice's with nothing but one file and a link."""
    root = place / "foreign"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "issue").write_text("foreign")
    (root / "bin").symlink_to("/usr/bin")
    for path in (root, root / "etc", root / "etc" / "issue"):
        give(path)
    return os.fsencode(root)
