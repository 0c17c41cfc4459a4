"""Files by descriptor: what is removed, what is spared, and what survives a failure."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.files import read_bounded, remove_tree, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    before = set(os.listdir("/proc/self/fd"))
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_remove_tree_removes_files_directories_and_what_is_neither(
    tmp_path: pathlib.Path, fd: int
) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b" / "c").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_bytes(b"x")
    (tree / "empty").mkdir()
    os.mkfifo(tree / "a" / "fifo")
    remove_tree(fd, "tree")
    assert os.listdir(tmp_path) == []


def test_remove_tree_removes_symbolic_links_and_spares_what_they_point_at(
    tmp_path: pathlib.Path, fd: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"kept")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "to-directory").symlink_to(outside)
    (tree / "deep" / "to-directory").symlink_to("../../outside", target_is_directory=True)
    (tree / "deep" / "to-file").symlink_to(outside / "precious")
    (tree / "dangling").symlink_to("/nonexistent/x")
    (tree / "loop").symlink_to("loop")
    remove_tree(fd, "tree")
    assert not tree.exists()
    assert (outside / "precious").read_bytes() == b"kept"


def test_remove_tree_of_a_symbolic_link_removes_the_link_alone(
    tmp_path: pathlib.Path, fd: int
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    (tmp_path / "tree").symlink_to("outside")
    remove_tree(fd, "tree")
    assert not (tmp_path / "tree").is_symlink()
    assert (tmp_path / "outside" / "precious").exists()


def test_remove_tree_needs_neither_stack_nor_descriptors_for_a_deep_tree(
    tmp_path: pathlib.Path, fd: int
) -> None:
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=parent)
        inner = os.open("d", os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = inner
    os.close(parent)
    remove_tree(fd, "d")
    assert os.listdir(tmp_path) == []


names = st.text(st.sampled_from("ab.*\\\n-é"), min_size=1, max_size=3).filter(
    lambda name: name not in {".", ".."}
)
trees = st.recursive(
    st.sampled_from(["file", "link"]),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def plant(path: pathlib.Path, tree: object, target: pathlib.Path) -> None:
    if tree == "file":
        path.touch()
    elif tree == "link":
        path.symlink_to(target)
    elif isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            plant(path / name, inner, target)


@given(tree=trees)
def test_remove_tree_removes_any_tree_and_nothing_beside_it(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    base = tmp_path_factory.mktemp("any")
    (base / "beside").mkdir()
    (base / "beside" / "file").touch()
    plant(base / "tree", tree, base / "beside")
    descriptor = os.open(base, os.O_RDONLY)
    try:
        remove_tree(descriptor, "tree")
    finally:
        os.close(descriptor)
    assert sorted(str(path.relative_to(base)) for path in base.rglob("*")) == [
        "beside",
        "beside/file",
    ]


MOUNTED = """
import os, sys
from runner.files import remove_tree
base = sys.argv[1]
fd = os.open(base, os.O_RDONLY)
try:
    remove_tree(fd, "tree")
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("place", ["tree/mounted", "tree/a/b/mounted", "tree"])
def test_remove_tree_spares_what_is_mounted_within_even_of_the_same_file_system(
    tmp_path: pathlib.Path, place: str
) -> None:
    """In a mount namespace of a child, so that nothing of it reaches this machine."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "precious").touch()
    (tmp_path / place).mkdir(parents=True)
    script = (
        f'mount --bind "{outside}" "{tmp_path / place}" && '
        f'exec "{sys.executable}" -c "$0" "{tmp_path}"'
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare(1)")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = subprocess.run(
        [unshare, *user, "--mount", "true"], capture_output=True, check=False, timeout=30
    )
    if probe.returncode != 0:
        pytest.skip("needs mount namespaces: root, or user namespaces for everybody")
    done = subprocess.run(
        [unshare, *user, "--mount", "sh", "-c", script, MOUNTED],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
        timeout=30,
    )
    assert int(done.stdout) in {errno.EXDEV, errno.EBUSY}
    assert (outside / "sub" / "precious").exists()


def test_remove_tree_of_nothing_is_an_error(fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(fd, "absent")


NOT_NAMES = ["", ".", "..", "a/b", "/", "../x", "a\0b"]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_a_path_is_not_a_name(fd: int, name: str) -> None:
    for call in (
        lambda: remove_tree(fd, name),
        lambda: read_bounded(fd, name, 10),
    ):
        with pytest.raises(ValueError, match="not a name within a directory"):
            call()


def test_read_bounded_refuses_one_byte_too_many(tmp_path: pathlib.Path, fd: int) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(fd, "file", 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes") as error:
        read_bounded(fd, "file", 4)
    assert error.value.errno == errno.EFBIG


def test_read_bounded_reads_an_empty_file(tmp_path: pathlib.Path, fd: int) -> None:
    (tmp_path / "file").touch()
    assert read_bounded(fd, "file", 0) == b""


def test_read_bounded_refuses_what_is_not_a_file_and_never_waits(
    tmp_path: pathlib.Path, fd: int
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    refusals = {
        "link": errno.ELOOP,
        "fifo": errno.EINVAL,
        "dir": errno.EINVAL,
        "absent": errno.ENOENT,
    }
    for name, number in refusals.items():
        with pytest.raises(OSError, match=name) as error:
            read_bounded(fd, name, 10)
        assert error.value.errno == number


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20])
def test_a_new_file_holds_all_that_was_written_and_is_its_owners_alone(
    tmp_path: pathlib.Path, fd: int, size: int
) -> None:
    data = os.urandom(size)
    write_new(fd, "new", data)
    assert (tmp_path / "new").read_bytes() == data
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_new_file_never_takes_the_place_of_another(tmp_path: pathlib.Path, fd: int) -> None:
    (tmp_path / "there").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(fd, name, b"other")
    assert (tmp_path / "there").read_bytes() == b"kept"
    assert not (tmp_path / "nowhere").exists()
