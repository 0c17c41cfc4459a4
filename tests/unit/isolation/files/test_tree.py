"""The parts of a job's tree that decide and need no privilege."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.files import confinement, covers, own_roots, places, unpack, user_paths
from isolation.files.tree import Tree, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SANDBOX: dict[str, Any] = {
    "preset": None, "filesystem": "host", "root": None, "keep_changes": None, "readable": [],
    "writable": [], "binds": [], "tmpfs": [], "hide": [], "devices": [], "secrets": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def tree(scratch_bytes: int | None = None, **sandbox: Any) -> Tree:
    own = os.getuid(), os.getgid(), ()
    return Tree(
        Wanted(SANDBOX | sandbox, *own, b"/", scratch_bytes, own_network=True, idmap_fd=None,
               files={})
    )  # fmt: skip


# Names

paths = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)


@given(paths)
def test_a_normal_path_stays_what_it_is_and_has_nothing_double(path: bytes) -> None:
    normal = covers.normal(path)
    assert covers.normal(normal) == normal
    assert b"//" not in normal
    assert not {b".", b""} & set(normal[1:].split(b"/")) or normal == b"/"


@given(paths)
def test_no_place_is_above_the_tree_or_the_tree_itself(path: bytes) -> None:
    try:
        parts = places._parts(path)
    except OSError as error:
        assert error.filename == path
        assert b".." in path or not path.strip(b"/.")
    else:
        assert parts
        assert not {b"", b".", b".."} & set(parts)


@given(paths, paths)
def test_two_mount_points_never_have_one_directory_for_their_changes(a: bytes, b: bytes) -> None:
    first, second = (own_roots._quoted(path) for path in (a, b))
    assert (first == second) == (a.strip(b"/") == b.strip(b"/"))
    assert b"/" not in first


def test_covers_are_laid_from_the_outside_to_the_inside() -> None:
    laid: list[bytes] = []

    class Recorder:
        def attach(self, _mount: int, path: bytes, **_: Any) -> None:
            laid.append(path)

    over = covers.Covers(Recorder(), 0, 0)  # type: ignore[arg-type]
    wanted = (b"/a/b/c", b"/a-b", b"/a/", b"//a/./b")
    over.lay([covers.Bind(-1, path, is_directory=True) for path in wanted])
    assert laid == [b"/a/", b"/a-b", b"//a/./b", b"/a/b/c"]


# Sizes


def test_a_tmpfs_at_a_private_place_is_its_size_and_no_mount_of_its_own() -> None:
    made = tree(1 << 20, tmpfs=[[b"/dev//shm/", 1 << 30], [b"/tmp", None], [b"/srv", None]])
    assert made._private_sizes() == {b"/tmp": 1 << 20, b"/dev/shm": 1 << 30, b"/run/user": 1 << 20}
    assert made._memory_and_hidden() == [covers.Memory(b"/srv", 1 << 20)]


# Opening as the user


def test_what_is_opened_is_known_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    opened = user_paths.open_directory(os.fsencode(tmp_path / "link" / "link"))
    os.close(opened.fd)
    assert opened[::2] == (os.fsencode(tmp_path), True)


def test_links_of_proc_are_not_followed() -> None:
    with pytest.raises(OSError, match="symbolic links") as caught:
        user_paths.open_existing(b"/proc/self/cwd")
    assert caught.value.filename == b"/proc/self/cwd"


def test_a_device_node_is_no_source_of_a_bind() -> None:
    with pytest.raises(OSError, match="devices have an option"):
        user_paths.open_source(b"/dev/null")


@pytest.mark.parametrize("access", [b"", b":r", b":w", b":rw"])
def test_a_device_is_opened_by_its_name_below_dev(access: bytes) -> None:
    device = user_paths.open_device(b"/dev//./null" + access)
    os.close(device.fd)
    assert device.name == b"null"


@pytest.mark.parametrize("size", [0, 1, user_paths.MAX_SECRET_BYTES])
def test_a_secret_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "secret").write_bytes(b"s" * size)
    assert user_paths.read_secret(os.fsencode(tmp_path / "secret")) == b"s" * size


def test_a_secret_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * (user_paths.MAX_SECRET_BYTES + 1))
    with pytest.raises(OSError, match="longer than 1048576 bytes"):
        user_paths.read_secret(os.fsencode(tmp_path / "secret"))


def test_a_fifo_is_no_secret_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        user_paths.read_secret(os.fsencode(tmp_path / "fifo"))


def test_a_directory_below_an_open_one_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match="symbolic links") as caught:
            user_paths.open_beneath(fd, b"/shown", b"link")
    finally:
        os.close(fd)
    assert caught.value.filename == b"/shown/link"


# Archives


@given(st.integers(0, 0o7777), st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6"]))
def test_of_an_archive_no_device_and_no_set_id_bit_is_unpacked(mode: int, kind: bytes) -> None:
    member = tarfile.TarInfo("name")
    member.mode, member.type = mode, kind
    kept = list(unpack._harmless([member]))  # type: ignore[arg-type]
    assert bool(kept) == (kind not in {tarfile.CHRTYPE, tarfile.BLKTYPE})
    assert all(it.mode == mode & 0o1777 for it in kept)


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (
            OSError(28, "No space left on device", "/a"),
            b"28\0unpacking /a: No space left on device",
        ),
        (ValueError("odd"), b"22\0it is no tar archive that can be read: odd"),
    ],
)
def test_a_failure_to_unpack_tells_errno_and_reason(error: Exception, report: bytes) -> None:
    assert unpack._report_of(error) == report


# Landlock


def opened(fds: list[int]) -> set[str]:
    found = {os.readlink(f"/proc/self/fd/{fd}") for fd in fds}
    for fd in fds:
        os.close(fd)
    return found


def test_without_named_paths_and_preset_nothing_is_confined() -> None:
    assert confinement.paths(SANDBOX, b"/") is None
    assert tree().landlock_paths() is None


def test_a_foreign_root_is_the_jobs_own_in_a_preset() -> None:
    asked = SANDBOX | {"preset": "untrusted", "filesystem": "root"}
    answer = confinement.paths(asked, b"/")
    assert answer is not None
    assert (opened(answer[0]), opened(answer[1])) == (set(), {"/"})


@pytest.mark.parametrize("mode", ["host", "readonly", "overlay", "root"])
def test_named_paths_add_to_what_programs_need(mode: str, tmp_path: Path) -> None:
    for name in ("read", "write", "cwd", "bound", "shown", "memory"):
        (tmp_path / name).mkdir()
    at = {name: os.fsencode(tmp_path / name) for name in os.listdir(tmp_path)}
    asked = SANDBOX | {
        "filesystem": mode, "readable": [at["read"]], "writable": [at["write"]],
        "binds": [[b"/", at["shown"], True], [b"/", at["bound"], False]],
        "tmpfs": [[at["memory"], None]],
    }  # fmt: skip
    answer = confinement.paths(asked, at["cwd"])
    assert answer is not None
    readable, writable = opened(answer[0]), opened(answer[1])
    assert {"/usr", "/etc", "/proc", str(tmp_path / "read"), str(tmp_path / "shown")} <= readable
    expected = {str(tmp_path / name) for name in ("write", "bound", "cwd", "memory")}
    assert expected | {"/tmp", "/dev"} <= writable
    assert {"/", "/home", "/root", "/var"}.isdisjoint(readable | writable)


def test_a_working_directory_of_everything_is_not_given_away() -> None:
    answer = confinement.paths(SANDBOX | {"preset": "untrusted"}, b"/")
    assert answer is not None
    assert "/" not in opened(answer[0]) | opened(answer[1])


def test_a_named_path_that_is_not_in_the_tree_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="not in the job's tree") as caught:
        confinement._opened([b"/no/such/path"])
    assert caught.value.filename == b"/no/such/path"
