"""Attacks by way of kept changes and of ids that a disk keeps, as a hostile user would try them."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from isolation.user_namespaces import RANGE_SIZE
from tests.kernel.isolation.tree.id_maps import BASE, maps_for
from tests.kernel.isolation.tree.in_tree import ALICE, BOB, Options, see
from tests.kernel.isolation.tree.looking import (
    give,
    give_file,
    give_new,
    names,
    read,
    refused,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IDENTITIES = ["own-user", "userns"]


@contextmanager
def options_of(identity: str, cwd: Path | str = "/", **more: Any) -> Iterator[Options]:
    if identity == "own-user":
        yield Options(cwd=cwd, **more)
        return
    with maps_for(ALICE) as maps:
        yield Options(cwd=cwd, maps=maps, **more)


def kept_for(keep: Path, point: Path) -> Path:
    """The directory for the changes below a mount, made by its user before any job."""
    path = keep / "mounts" / str(point).strip("/").replace("/", "%2F") / "upper"
    for name in (path.parent.parent, path.parent, path):
        if not name.exists():
            give_new(name)
    return path


def private(path: Path, owner: int = BOB) -> Path:
    """A directory that only its owner may enter, with one in it, and files that anybody may read.

    That is what a home directory is.
    """
    for directory in (path, path / "inner"):
        give_new(directory, owner)
        give_file(directory / "diary", "secret", owner).chmod(0o644)
        directory.chmod(0o700)
    return path


def prying(path: Path | str) -> list[str]:
    """How each way to look into that directory ends."""
    return [
        refused(os.listdir, path), refused(read, f"{path}/diary"),
        refused(os.stat, f"{path}/inner"), refused(read, f"{path}/inner/diary"),
        refused(os.listdir, f"{path}/inner"), write(f"{path}/diary"),
    ]  # fmt: skip


@contextmanager
def outside(action: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """What a job calls to have something done on the host, and be back when it is done."""
    (asked, asking), (told, telling) = os.pipe(), os.pipe()

    def ask() -> None:
        os.write(asking, b"x")
        os.read(told, 1)

    pid = os.fork()
    if pid == 0:
        os.close(asking)
        if os.read(asked, 1):
            action()
        os.write(telling, b"x")
        os._exit(0)
    try:
        yield ask
    finally:
        for end in (asked, asking, told, telling):
            os.close(end)
        os.waitpid(pid, 0)


def overlaid(keep: Path) -> dict[str, Any]:
    return {"filesystem": "overlay", "keep_changes": os.fsencode(keep)}


# Kept changes


@pytest.mark.parametrize("owner", [BOB, 0])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_directory_in_kept_changes_does_not_open_the_hosts_of_its_name(
    place: Path, identity: str, owner: int
) -> None:
    private(place / "home", owner)
    upper = kept_for(give_new(place / "keep"), place)
    give_new(give_new(upper / "home") / "inner")
    with options_of(identity, place) as options:
        seen = see(lambda: prying(place / "home"), options, **overlaid(place / "keep"))
    assert seen[:5] == ["EACCES"] * 5
    assert seen[5]
    assert (place / "home" / "diary").read_text() == "secret"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nor_one_that_is_made_while_the_job_runs(place: Path, identity: str) -> None:
    private(place / "home")
    upper = kept_for(give_new(place / "keep"), place)

    def look() -> list[str]:
        ask_outside()
        return prying(place / "home")

    with (
        outside(lambda: give_new(give_new(upper / "home") / "inner")) as ask_outside,
        options_of(identity, place) as options,
    ):
        seen = see(look, options, **overlaid(place / "keep"))
    assert (upper / "home" / "inner").exists()
    assert seen[:5] == ["EACCES"] * 5


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nor_the_root_of_a_disk_that_only_its_owner_may_enter(place: Path, identity: str) -> None:
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", disk], check=True)
    try:
        private(disk / "home")
        keep = give_new(place / "keep")
        upper = kept_for(keep, disk)
        give_new(give_new(upper / "home") / "inner")
        with options_of(identity, place) as options:
            seen = see(lambda: [prying(disk), prying(disk / "home")], options, **overlaid(keep))
    finally:
        subprocess.run(["umount", disk], check=True)
    assert seen[0][0] == "EACCES"
    assert seen[1] == ["EACCES"] * 6


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nor_one_of_a_foreign_root_that_holds_what_is_others(place: Path, identity: str) -> None:
    root = give_new(place / "root")
    private(root / "home")
    keep = give_new(place / "keep")
    give_new(give_new(give_new(keep / "upper") / "home") / "inner")
    with options_of(identity) as options:
        seen = see(
            lambda: prying("/home"), options,
            filesystem="root", root=os.fsencode(root), keep_changes=os.fsencode(keep),
        )  # fmt: skip
    assert seen[:5] == ["EACCES"] * 5


def test_a_foreign_root_on_an_overlay_is_refused_where_its_changes_are_to_be_kept(
    place: Path,
) -> None:
    keep = give_new(place / "keep")
    failed = see(lambda: None, filesystem="root", root=b"/", keep_changes=os.fsencode(keep))
    assert (failed.step, failed.path) == ("build", "/")
    assert "no overlay where changes are kept" in failed.why


@pytest.mark.parametrize("identity", IDENTITIES)
def test_what_one_may_read_and_change_is_read_changed_and_kept(place: Path, identity: str) -> None:
    shared = give_new(place / "shared", 0)
    shared.chmod(0o1777)
    give_file(shared / "theirs", "theirs", BOB).chmod(0o644)
    give_file(shared / "closed", "closed", BOB).chmod(0o600)
    give_file(give_new(place / "mine") / "file", "mine")
    keep = give_new(place / "keep")

    def look() -> Any:
        done = [write("mine/file", "ours"), write("mine/new"), write("shared/new")]
        refusals = [refused(read, "shared/closed"), write("shared/theirs")]
        return [done, refusals, read("shared/theirs"), names("mine"), os.stat("shared").st_mode]

    with options_of(identity, place) as options:
        seen = see(look, options, **overlaid(keep))
    assert seen == [[""] * 3, ["EACCES"] * 2, "theirs", ["file", "new"], stat.S_IFDIR | 0o1777]
    upper = kept_for(keep, place)
    assert (upper / "mine" / "file").read_text() == "ours"
    assert [(upper / name).stat().st_uid for name in ("mine", "shared")] == [ALICE, 0]
    assert (upper / "shared" / "new").stat().st_uid == ALICE
    assert (place / "mine" / "file").read_text() == "mine"


def test_root_reads_everything_through_kept_changes_as_ever(place: Path) -> None:
    private(place / "home")
    keep = give_new(place / "keep", 0)
    seen = see(
        lambda: [read("home/inner/diary"), write("home/diary", "new")],
        Options(uid=0, cwd=place), **overlaid(keep),
    )  # fmt: skip
    assert seen == ["secret", ""]


def test_a_secret_that_is_copied_up_for_another_stays_where_it_is(place: Path) -> None:
    """In a directory that all may change its names: the copy would lie in the user's own."""
    shared = give_new(place / "shared", 0)
    shared.chmod(0o777)
    give_file(shared / "closed", "closed", BOB).chmod(0o600)
    keep = give_new(place / "keep")
    seen = see(
        lambda: [refused(os.rename, "shared/closed", "shared/x"), refused(os.link, "a", "b")],
        Options(cwd=place), **overlaid(keep),
    )  # fmt: skip
    assert seen[0] == "EACCES"
    assert not (kept_for(keep, place) / "shared" / "x").exists()


def test_two_jobs_with_one_directory_for_changes_open_nothing(place: Path) -> None:
    private(place / "home")
    keep = give_new(place / "keep")
    upper = kept_for(keep, place)
    done, go = os.pipe(), os.pipe()

    def first() -> list[str]:
        os.write(done[1], b"x")
        os.read(go[0], 1)
        return prying(place / "home")

    pid = os.fork()
    if pid == 0:
        seen = see(first, Options(cwd=place), **overlaid(keep))
        os._exit(0 if seen[:5] == ["EACCES"] * 5 else 1)
    os.read(done[0], 1)
    give_new(give_new(upper / "home") / "inner")
    seen = see(lambda: prying(place / "home"), Options(cwd=place), **overlaid(keep))
    os.write(go[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert seen[:5] == ["EACCES"] * 5
    for end in (*done, *go):
        os.close(end)


# Overlays whose changes are thrown away


def test_no_directory_of_another_becomes_the_jobs_by_changes_of_its_own(place: Path) -> None:
    """Where it may change the names: taken away and made anew it shows nothing of the other."""
    private(place / "full")
    give_new(place / "empty", BOB).chmod(0o700)

    def fill() -> None:
        give_file(place / "empty" / "diary", "later", BOB).chmod(0o644)

    def look() -> Any:
        os.mkdir("own")
        tried = [
            refused(os.mkdir, "full"), refused(os.rmdir, "full"), refused(os.rename, "full", "x"),
            refused(os.rename, "own", "full"), refused(os.chmod, "full", 0o777),
            refused(os.chown, "full", ALICE, -1), refused(os.setxattr, "own", _OPAQUE, b"n"),
            refused(os.mknod, "w", stat.S_IFCHR, 0),
        ]  # fmt: skip
        os.rmdir("empty")
        os.mkdir("empty")
        ask_outside()
        return [tried, names("empty"), prying("full")]

    with outside(fill) as ask_outside:
        seen = see(look, Options(cwd=place), filesystem="overlay")
    assert (place / "empty" / "diary").exists()
    assert seen[0] == [
        "EEXIST", "ENOTEMPTY", "EXDEV", "ENOTEMPTY", "EPERM", "EPERM", "EPERM", "EPERM",
    ]  # fmt: skip
    assert seen[1:] == [[], ["EACCES"] * 6]


_OPAQUE = "trusted.overlay.opaque"


def test_the_access_control_list_of_a_disks_root_counts_in_an_overlay(place: Path) -> None:
    """With one, the bits of the group are the most that anybody in the list may do."""
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=770,gid=77", "tmpfs", disk], check=True)
    # linux/posix_acl_xattr.h: user::rwx, user:BOB:rwx, group::---, mask::rwx, other::---
    entries = [(1, 7, 2**32 - 1), (2, 7, BOB), (4, 0, 2**32 - 1), (0x10, 7, 2**32 - 1),
               (0x20, 0, 2**32 - 1)]  # fmt: skip
    try:
        (disk / "file").write_text("x")
        packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(disk, "system.posix_acl_access", packed)
        assert stat.S_IMODE(disk.stat().st_mode) == 0o770
        look = lambda: [refused(os.listdir, disk), refused(read, f"{disk}/file")]  # noqa: E731
        for mode in ("host", "overlay"):
            assert see(look, Options(groups=(77,)), filesystem=mode) == ["EACCES"] * 2
            assert see(look, Options(uid=BOB), filesystem=mode) == ["", ""]
    finally:
        subprocess.run(["umount", disk], check=True)


# Ids of a range on a disk


def of_range(top: Path | str) -> list[str]:
    """What belongs to an id of a job's range, on the disk."""
    found = []
    for directory, below, files in os.walk(top):
        for name in (".", *below, *files):
            status = os.lstat(os.path.join(directory, name))
            ids = (status.st_uid, status.st_gid)
            found += [f"{directory}/{name}"] * any(0 <= it - BASE < RANGE_SIZE for it in ids)
    return found


def listening(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)


def leaving(path: Path | str) -> list[str]:
    """How each way to leave something in a directory ends."""
    top = os.fspath(path)
    return [
        write(f"{top}/new"), refused(os.mkdir, f"{top}/dir"), refused(os.mkfifo, f"{top}/fifo"),
        refused(listening, f"{top}/socket"), refused(os.symlink, "x", f"{top}/link"),
    ]  # fmt: skip


def shared(path: Path, mode: int = 0o1777, owner: int = 0) -> Path:
    give_new(path, owner).chmod(mode)
    return path


@pytest.mark.parametrize("mode", ["host", "readonly"])
@pytest.mark.parametrize("uid", [ALICE, 0])
def test_in_a_user_namespace_nothing_is_left_in_the_directories_of_all(
    place: Path, mode: str, uid: int
) -> None:
    place.chmod(0o755)
    shared(place / "sticky")
    shared(place / "inherited", 0o2777, BOB)
    own = give_new(place / "own", uid)
    shared(own / "open", 0o777, uid)
    with maps_for(uid) as maps:
        seen = see(
            lambda: [leaving(place / "sticky"), leaving(place / "inherited"), leaving("/home"),
                     leaving(own / "open")],
            Options(uid=uid, cwd=own, maps=maps), filesystem=mode,
        )  # fmt: skip
    assert seen[:3] == [["EROFS"] * 5] * 3
    # What is root's is not mapped, not even for root.
    assert seen[3] == [""] * 5 if uid else ["EROFS"] * 5
    assert of_range(place) == []


def test_nor_in_a_working_directory_or_bind_that_cannot_be_mapped(place: Path) -> None:
    shared_one = "/home/of-all"
    os.makedirs(shared_one)
    os.chmod(shared_one, 0o1777)  # noqa: S103 - of all
    bound = [os.fsencode(shared_one), os.fsencode(give_new(place / "target")), False]
    try:
        with maps_for(ALICE) as maps:
            for mode in ("host", "readonly", "overlay"):
                options = Options(cwd=shared_one, maps=maps)
                seen = see(
                    lambda: [leaving("."), leaving(place / "target")],
                    options, filesystem=mode, binds=[bound],
                )  # fmt: skip
                # In an overlay what is left is thrown away.
                assert seen[0] == ([""] if mode == "overlay" else ["EROFS"]) * 5
                assert seen[1] == ["EROFS"] * 5
                assert os.listdir(shared_one) == []
    finally:
        subprocess.run(["rm", "-r", shared_one], check=True)


def test_a_named_path_of_the_users_own_can_be_written_in_a_user_namespace(place: Path) -> None:
    own, named = give_new(place / "own"), give_new(place / "named")
    with maps_for(ALICE) as maps:
        seen = see(
            lambda: [write("new"), write(f"{named}/new"), write(f"{place}/new")],
            Options(cwd=own, maps=maps), writable=[os.fsencode(named), b"/"],
        )  # fmt: skip
    assert seen == ["", "", "EROFS"]
    assert (named / "new").stat().st_uid == ALICE


def as_another(number: int, path: str) -> str:
    """Make a file as one of the namespace's other users, in a child; see `refused`."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)
        os.write(writer, write(path).encode() or b"-")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.parametrize("mode", ["host", "overlay", "root"])
def test_what_is_shown_as_the_jobs_takes_no_other_of_its_ids(place: Path, mode: str) -> None:
    """Its set-id bits count on the host, for the submitter's own id alone."""
    own = shared(give_new(place / "own") / "open", 0o2777, ALICE)
    keep = give_new(place / "keep")
    sandbox: dict[str, Any] = {"filesystem": mode}
    if mode != "host":
        sandbox |= {"keep_changes": os.fsencode(keep)}
    if mode == "root":
        sandbox |= {"root": os.fsencode(own), "binds": [[b"/usr", b"/usr", True]]}
    path = "/" if mode == "root" else own

    def look() -> Any:
        top = os.fspath(path).rstrip("/")
        made = [write(f"{top}/mine"), refused(os.chmod, f"{top}/mine", 0o6755)]
        given = [
            refused(os.chown, f"{top}/mine", 5, -1), refused(os.chown, f"{top}/mine", -1, 5),
            refused(os.lchown, f"{top}/mine", 65534, 65534),
        ]  # fmt: skip
        return [made, given, as_another(5, f"{top}/other")]

    with maps_for(ALICE) as maps:
        seen = see(look, Options(cwd=path, maps=maps), **sandbox)
    assert seen[0] == ["", ""]
    assert set(seen[1]) <= {"EOVERFLOW", "EINVAL"}, seen
    assert seen[2] in {"EOVERFLOW", "EACCES"}
    assert of_range(place) == []


def test_what_is_shown_without_a_map_is_not_kept_as_the_jobs(place: Path) -> None:
    """The user's file on a disk that cannot be mapped, set-id, in the user's changes."""
    disk = give_new(place / "disk")
    subprocess.run(["mount", "-t", "ramfs", "ramfs", disk], check=True)
    keep = give_new(place / "keep")
    try:
        give(disk).chmod(0o777)
        give_file(disk / "s", "s").chmod(0o6777)
        with maps_for(ALICE) as maps:
            seen = see(
                lambda: [os.stat(f"{disk}/s").st_uid, refused(os.utime, f"{disk}/s"),
                         write(f"{disk}/s")],
                Options(cwd=place, maps=maps), **overlaid(keep),
            )  # fmt: skip
    finally:
        subprocess.run(["umount", disk], check=True)
    assert seen == [65534, "EOVERFLOW", "EOVERFLOW"]
    assert of_range(place) == []
