"""What of a job's mounts is decided without making one; the rest is tests/kernel/isolation/tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation.files import dev_nodes, mounts

if TYPE_CHECKING:
    from pathlib import Path


def test_a_link_to_a_directory_is_no_place_to_mount_on(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    assert mounts.is_directory(str(tmp_path))
    for name in ("link", "file", "absent"):
        assert not mounts.is_directory(str(tmp_path / name))


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (None, "mode=1777"),
        (0, "mode=1777,size=4096"),
        (1, "mode=1777,size=4096"),
        (1 << 30, "mode=1777,size=1073741824"),
    ],
)
def test_memory_is_never_without_bound_when_a_bound_is_asked_for(
    size: int | None, options: str
) -> None:
    assert mounts.memory_options("1777", size) == options


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("root:x:0:\ntty:x:5:alice\n", 5),
        ("tty:x:5:", 5),
        ("root:x:0:\n", None),
        ("pretty:x:7:\nattty:x:8:\n", None),
        ("tty:x:five:\n", None),
        ("tty\n", None),
        ("", None),
    ],
)
def test_the_group_of_terminals_is_found_in_the_group_file(
    tmp_path: Path, text: str, group: int | None
) -> None:
    (tmp_path / "group").write_text(text)
    assert dev_nodes.tty_group(str(tmp_path / "group")) == group


def test_without_a_group_file_terminals_have_no_group(tmp_path: Path) -> None:
    assert dev_nodes.tty_group(str(tmp_path / "absent")) is None
    assert dev_nodes.tty_group(str(tmp_path)) is None
    assert "gid=" not in dev_nodes._terminal_options(None)
    assert dev_nodes._terminal_options(5).endswith(",gid=5")
