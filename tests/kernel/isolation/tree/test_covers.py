"""Binds, memory, hidden places, devices and secrets: what they give, and what they refuse."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from isolation.files.confinement import paths
from isolation.files.covers import SECRETS
from isolation.files.user_paths import MAX_SECRET_BYTES
from tests.kernel.isolation.tree.in_tree import (
    ALICE,
    BOB,
    DEFAULTS,
    Failed,
    Options,
    see,
    shell,
)
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
    from collections.abc import Iterator
    from pathlib import Path

THROWN_AWAY = ["overlay", "root"]
MODES = ["host", "readonly", *THROWN_AWAY]
SECRET = os.fsdecode(SECRETS)
# Of a race; each takes as long as a job.
TRIES = 15


def sandbox_of(mode: str, foreign: bytes) -> dict[str, Any]:
    return {"filesystem": mode, "root": foreign if mode == "root" else None}


def encoded(path: Path) -> bytes:
    return os.fsencode(path)


@pytest.fixture
def source(place: Path) -> Path:
    """A directory of alice's with a file."""
    directory = give_new(place / "source")
    give_file(directory / "file", "content")
    return directory


@pytest.fixture
def target(place: Path) -> Path:
    return give_new(place / "target")


# Binds


@pytest.mark.parametrize("mode", ["host", "readonly", "overlay"])
def test_a_bind_shows_a_directory_and_changes_reach_it_in_every_mode(
    mode: str, source: Path, target: Path
) -> None:
    def look() -> Any:
        return [read(f"{target}/file"), write(f"{target}/new")]

    seen = see(look, filesystem=mode, binds=[[encoded(source), encoded(target), False]])
    assert seen == ["content", ""]
    assert (source / "new").read_text() == "x"


@pytest.mark.parametrize("mode", MODES)
def test_a_read_only_bind_cannot_be_changed_not_even_by_root(
    mode: str, source: Path, target: Path, foreign: bytes
) -> None:
    sandbox = sandbox_of(mode, foreign)
    binds = [[encoded(source), encoded(target), True]]
    for uid in (ALICE, 0):
        seen = see(
            lambda: [read(f"{target}/file"), write(f"{target}/new"), write(f"{target}/file")],
            Options(uid=uid), binds=binds, **sandbox,
        )  # fmt: skip
        assert seen == ["content", "EROFS", "EROFS"]


def test_a_bind_gives_no_rights_that_its_user_lacks(place: Path, target: Path) -> None:
    readable = give_new(place / "roots", 0)
    give_file(readable / "file", "text", 0)
    seen = see(
        lambda: [read(f"{target}/file"), write(f"{target}/file"), write(f"{target}/new")],
        binds=[[encoded(readable), encoded(target), False]],
    )
    assert seen == ["text", "EACCES", "EACCES"]


def test_set_user_id_and_device_nodes_do_not_work_in_a_bind(source: Path, target: Path) -> None:
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (source / "null").chmod(0o666)

    def look() -> Any:
        flags = os.statvfs(target).f_flag
        return [bool(flags & os.ST_NOSUID), refused(read, f"{target}/null")]

    assert see(look, binds=[[encoded(source), encoded(target), False]]) == [True, "EACCES"]


@pytest.mark.parametrize("mode", THROWN_AWAY)
def test_a_missing_target_is_made_where_the_tree_is_thrown_away(
    mode: str, source: Path, foreign: bytes
) -> None:
    binds = [
        [encoded(source), b"/made/for/this", False],
        [encoded(source / "file"), b"/made/file", True],
    ]
    seen = see(
        lambda: [read("/made/for/this/file"), read("/made/file"), names("/made")],
        binds=binds, **sandbox_of(mode, foreign),
    )  # fmt: skip
    assert seen == ["content", "content", ["file", "for"]]
    assert not os.path.exists("/made")


@pytest.mark.parametrize("mode", ["host", "readonly"])
def test_a_missing_target_of_the_hosts_tree_is_refused(mode: str, source: Path) -> None:
    failed = see(
        lambda: None, Options(uid=0), filesystem=mode,
        binds=[[encoded(source), b"/srv/missing/place", False]],
    )  # fmt: skip
    assert (failed.step, failed.errno, failed.path) == ("build", errno.ENOENT, "/srv/missing/place")
    assert failed.why == "it must exist: only overlay and root trees get missing targets made"
    assert not os.path.exists("/srv/missing")


def test_nothing_is_made_in_a_directory_of_the_host_that_is_bound_into_an_overlay(
    source: Path,
) -> None:
    failed = see(
        lambda: None, filesystem="overlay",
        binds=[[encoded(source), b"/bound", False], [encoded(source), b"/bound/inner", False]],
    )  # fmt: skip
    assert (failed.errno, failed.path) == (errno.ENOENT, "/bound/inner")
    assert os.listdir(source) == ["file"]


def test_a_target_below_tmp_is_made_in_every_mode(source: Path, foreign: bytes) -> None:
    for mode in MODES:
        seen = see(
            lambda: read("/tmp/a/b/file"),
            binds=[[encoded(source), b"/tmp/a/b", True]], **sandbox_of(mode, foreign),
        )  # fmt: skip
        assert seen == "content"


def test_what_is_made_on_the_way_belongs_to_the_owner_of_the_directory_above(
    source: Path, place: Path
) -> None:
    above = f"{place}/new/way"
    seen = see(
        lambda: [os.stat(above).st_uid, write(f"{above}/mine")],
        filesystem="overlay", binds=[[encoded(source), os.fsencode(f"{above}/place"), True]],
    )  # fmt: skip
    assert seen == [ALICE, ""]


@pytest.mark.parametrize("mode", ["host", "overlay"])
@pytest.mark.parametrize("tail", ["", "/file", "/new"])
def test_a_link_in_a_target_is_refused_and_nothing_is_made_where_it_leads(
    mode: str, tail: str, source: Path, place: Path
) -> None:
    (place / "link").symlink_to("/etc")
    failed = see(
        lambda: None, Options(uid=0), filesystem=mode,
        binds=[[encoded(source), os.fsencode(f"{place}/link{tail}"), False]],
    )  # fmt: skip
    assert (failed.step, failed.errno) == ("build", errno.ELOOP)
    assert failed.why == "a link is on the way: name the place that it leads to"


@pytest.mark.parametrize("path", [b"/srv/../etc", b"/..", b"/", b"//./", b"/srv/.."])
def test_dots_in_a_target_are_refused(path: bytes, source: Path) -> None:
    failed = see(lambda: None, Options(uid=0), binds=[[encoded(source), path, False]])
    assert (failed.step, failed.errno) == ("build", errno.EINVAL)


def test_a_target_that_the_user_cannot_reach_tells_nothing_of_what_is_there(
    source: Path, place: Path
) -> None:
    closed = give_new(place / "closed", 0)
    closed.chmod(0o700)
    (closed / "there").mkdir()
    failures = [
        see(lambda: None, binds=[[encoded(source), encoded(closed / name), True]]).errno
        for name in ("there", "absent")
    ]
    assert failures == [errno.EACCES, errno.EACCES]


@pytest.mark.parametrize(("kind", "number"), [("file", errno.EISDIR), ("dir", errno.ENOTDIR)])
def test_files_cover_files_and_directories_directories(
    kind: str, number: int, source: Path, target: Path
) -> None:
    pair = (source / "file", target) if kind == "file" else (source, source / "file")
    failed = see(lambda: None, binds=[[encoded(pair[0]), encoded(pair[1]), False]])
    assert (failed.errno, failed.path) == (number, str(pair[1]))


def test_a_source_that_the_user_cannot_read_is_refused(place: Path, target: Path) -> None:
    closed = give_new(place / "closed", BOB)
    closed.chmod(0o711)
    failed = see(lambda: None, binds=[[encoded(closed), encoded(target), True]])
    why = "its user may not read and enter it"
    assert failed == Failed("open", errno.EACCES, str(closed), why)
    secret = give_file(place / "secret", "x", 0)
    secret.chmod(0o600)
    failed = see(lambda: None, binds=[[encoded(secret), encoded(target), True]])
    assert (failed.step, failed.errno, failed.path) == ("open", errno.EACCES, str(secret))
    assert (
        see(lambda: None, Options(uid=0), binds=[[encoded(closed), encoded(target), True]]) is None
    )


def test_a_source_may_be_readable_by_a_supplementary_group(place: Path, target: Path) -> None:
    shared = give_new(place / "shared", 0)
    os.chown(shared, 0, 5555)
    shared.chmod(0o750)
    binds = [[encoded(shared), encoded(target), True]]
    assert see(lambda: None, binds=binds).errno == errno.EACCES
    assert see(lambda: names(str(target)), Options(groups=(5555,)), binds=binds) == []


@pytest.mark.parametrize(
    "path", [b"/proc", b"/proc/self/root", b"/sys", b"/dev", b"/", b"/dev/null"]
)
@pytest.mark.parametrize("uid", [ALICE, 0])
def test_what_would_lead_out_of_the_job_is_no_source(path: bytes, uid: int, target: Path) -> None:
    failed = see(lambda: None, Options(uid=uid), binds=[[path, encoded(target), True]])
    assert isinstance(failed, Failed)
    assert failed.errno in {errno.EPERM, errno.ELOOP, errno.EINVAL}


def test_mounts_below_a_source_come_along_and_are_read_only_with_it(
    source: Path, target: Path
) -> None:
    (source / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", source / "disk"], check=True)
    try:
        (source / "disk" / "file").write_text("below")
        seen = see(
            lambda: [read(f"{target}/disk/file"), write(f"{target}/disk/new")],
            binds=[[encoded(source), encoded(target), True]],
        )
    finally:
        subprocess.run(["umount", source / "disk"], check=True)
    assert seen == ["below", "EROFS"]


@contextmanager
def swapping(name: Path, *others: Path) -> Iterator[None]:
    """A process of alice's that puts one thing after another at `name`, again and again."""
    pid = os.fork()
    if pid == 0:
        os.setresgid(ALICE, ALICE, ALICE)
        os.setresuid(ALICE, ALICE, ALICE)
        while True:
            for other in others:
                os.rename(other, name)
                os.rename(name, other)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_race_between_links_and_directories_never_moves_a_target_out_of_its_place(
    source: Path, place: Path
) -> None:
    give_new(place / "a")
    give_new(place / "a" / "in")
    (place / "b").symlink_to("/usr")
    os.lchown(place / "b", ALICE, ALICE)
    give_new(place / "c")
    (place / "c" / "in").symlink_to("/usr/share")
    wanted = os.fsencode(place / "x" / "in")

    def look() -> list[str]:
        table = read("/proc/self/mountinfo").splitlines()
        return [line.split()[4] for line in table if "/source " in line]

    seen = []
    with swapping(place / "x", place / "a", place / "b", place / "c"):
        for _ in range(TRIES):
            got = see(look, Options(uid=0), binds=[[encoded(source), wanted, False]])
            seen.append(got if isinstance(got, Failed) else tuple(got))
    places = {point for got in seen if not isinstance(got, Failed) for point in got}
    # Where the directory was by the time that the job looked.
    assert places <= {f"{place}/{name}/in" for name in "xa"}
    errors = {got.errno for got in seen if isinstance(got, Failed)}
    assert errors <= {errno.ENOENT, errno.ELOOP}


def test_a_race_never_gives_a_source_that_the_user_cannot_read(place: Path, target: Path) -> None:
    give_new(place / "a")
    (place / "b").symlink_to("/root-only")
    os.lchown(place / "b", ALICE, ALICE)
    os.makedirs("/root-only", 0o700)
    os.close(os.open("/root-only/secret", os.O_CREAT))
    try:
        with swapping(place / "x", place / "a", place / "b"):
            for _ in range(TRIES):
                got = see(
                    lambda: names(str(target)),
                    binds=[[os.fsencode(place / "x"), encoded(target), False]],
                )
                assert got == [] or got.errno in {errno.ENOENT, errno.EACCES}
    finally:
        subprocess.run(["rm", "-r", "/root-only"], check=True)


# Memory


def test_a_tmpfs_is_empty_the_jobs_own_and_bounded(target: Path) -> None:
    give_file(target / "covered", "x")

    def look() -> Any:
        fd = os.open(f"{target}/big", os.O_WRONLY | os.O_CREAT)
        why = refused(os.posix_fallocate, fd, 0, 2 << 20)
        os.unlink(f"{target}/big")
        return [names(str(target)), why, write(f"{target}/new")]

    assert see(look, tmpfs=[[encoded(target), 1 << 20]]) == [[], "ENOSPC", ""]
    assert os.listdir(target) == ["covered"]


def test_a_tmpfs_without_a_size_has_that_of_the_scratch_space(target: Path) -> None:
    def look() -> int:
        status = os.statvfs(target)
        return status.f_blocks * status.f_frsize

    assert see(look, Options(scratch_bytes=1 << 20), tmpfs=[[encoded(target), None]]) == 1 << 20


def test_a_tmpfs_at_a_private_place_says_how_large_that_is(place: Path) -> None:
    secret = give_file(place / "s", "hidden")

    def look() -> Any:
        status = os.statvfs("/dev/shm")
        return [status.f_blocks * status.f_frsize, write("/dev/shm/f"), read(f"{SECRET}/a")]

    seen = see(
        look, Options(scratch_bytes=1 << 20),
        tmpfs=[[b"/dev/shm/", 4 << 20]], secrets=[["a", encoded(secret)]],
    )  # fmt: skip
    assert seen == [4 << 20, "", "hidden"]


# Hidden places


@pytest.mark.parametrize("mode", MODES)
def test_a_hidden_directory_is_closed_and_a_hidden_file_is_empty(mode: str, foreign: bytes) -> None:
    def look() -> Any:
        listed = refused(os.listdir, "/etc/hidden") or names("/etc/hidden")
        return [listed, read("/etc/issue"), write("/etc/issue"), write("/etc/hidden/new")]

    directory = "/etc/hidden" if mode != "root" else os.fsdecode(foreign) + "/etc/hidden"
    os.makedirs(directory)
    os.close(os.open(f"{directory}/secret", os.O_CREAT))
    try:
        hide = [b"/etc/hidden", b"/etc/issue"]
        for uid, closed in ((ALICE, "EACCES"), (0, [])):
            seen = see(look, Options(uid=uid), hide=hide, **sandbox_of(mode, foreign))
            assert seen[:2] == [closed, ""]
            assert set(seen[2:]) <= {"EROFS", "EACCES"}
    finally:
        subprocess.run(["rm", "-r", directory], check=True)


def test_a_bind_below_a_hidden_directory_is_all_that_is_seen_of_it(
    place: Path, source: Path
) -> None:
    seen = see(
        lambda: [names(str(place)), read(f"{place}/shown/file"), write(f"{place}/new")],
        hide=[encoded(place)], binds=[[encoded(source), os.fsencode(f"{place}/shown"), True]],
    )  # fmt: skip
    assert seen == [["shown"], "content", "EROFS"]


def test_what_is_not_there_cannot_be_hidden() -> None:
    failed = see(lambda: None, hide=[b"/srv/absent"])
    assert (failed.step, failed.errno, failed.path) == ("build", errno.ENOENT, "/srv/absent")


# Devices


@pytest.fixture
def node() -> Iterator[str]:
    path = "/dev/alices/node"
    os.makedirs(os.path.dirname(path))
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.chown(path, ALICE, ALICE)
    yield path
    os.unlink(path)
    os.rmdir(os.path.dirname(path))


@pytest.mark.parametrize("mode", MODES)
def test_a_device_that_was_asked_for_is_there_with_its_permissions(
    mode: str, node: str, foreign: bytes
) -> None:
    def look() -> Any:
        fd = os.open(node, os.O_RDWR)
        return [os.read(fd, 2).hex(), os.fstat(fd).st_uid]

    sandbox = sandbox_of(mode, foreign)
    assert see(look, devices=[os.fsencode(node) + b":rw"], **sandbox) == ["0000", ALICE]
    assert see(lambda: os.path.exists(node), **sandbox) is False


@pytest.mark.parametrize("mode", MODES)
def test_all_devices_are_those_of_the_host_but_for_terminals_and_shared_memory(
    mode: str, node: str, foreign: bytes
) -> None:
    os.close(os.open("/dev/shm/hosts", os.O_CREAT))

    def look() -> Any:
        _, side = os.openpty()
        own = [os.ttyname(side), names("/dev/shm"), write("/dev/null"), write("/dev/new")]
        return [os.path.exists(node), own]

    try:
        for uid in (ALICE, 0):
            exists, own = see(look, Options(uid=uid), devices=[b"all"], **sandbox_of(mode, foreign))
            assert exists
            assert own[:3] == ["/dev/pts/0", [], ""]
            assert own[3] in {"EACCES", "EROFS", ""}
            if mode != "host":
                assert own[3]
    finally:
        os.unlink("/dev/shm/hosts")
        if os.path.exists("/dev/new"):
            os.unlink("/dev/new")


def test_a_device_that_the_user_may_not_open_is_refused(node: str) -> None:
    failed = see(lambda: None, Options(uid=BOB), devices=[os.fsencode(node)])
    assert failed == Failed("open", errno.EACCES, node, "its user may not read and write it")


@pytest.mark.parametrize(
    "path", [b"/dev/shm", b"/dev/pts/ptmx", b"/dev/../etc/passwd", b"/dev/fd/0", b"/dev/", b"/etc"]
)
def test_what_is_no_device_node_below_dev_is_refused(path: bytes) -> None:
    failed = see(lambda: None, Options(uid=0), devices=[path])
    assert (failed.step, failed.errno) == ("open", errno.EINVAL)


def test_a_link_that_leaves_dev_is_no_device(node: str) -> None:
    os.symlink("/etc/passwd", "/dev/alices/link")
    try:
        failed = see(lambda: None, Options(uid=0), devices=[b"/dev/alices/link"])
    finally:
        os.unlink("/dev/alices/link")
    assert failed.errno == errno.EXDEV


# Secrets


@pytest.mark.parametrize("mode", MODES)
def test_a_secret_is_a_file_for_its_user_alone_on_memory_that_cannot_be_written(
    mode: str, place: Path, foreign: bytes
) -> None:
    secret = give_file(place / "s", "hidden")
    secret.chmod(0o600)

    def look() -> Any:
        status = os.stat(f"{SECRET}/token")
        return [
            read(f"{SECRET}/token"), stat.S_IMODE(status.st_mode), status.st_uid,
            write(f"{SECRET}/token"), write(f"{SECRET}/new"), names(SECRET),
        ]  # fmt: skip

    seen = see(look, secrets=[["token", encoded(secret)]], **sandbox_of(mode, foreign))
    assert seen[:3] == ["hidden", 0o400, ALICE]
    assert set(seen[3:5]) <= {"EROFS", "EACCES"}
    assert seen[5] == ["token"]
    assert not os.path.exists(SECRET)


def test_a_secret_cannot_be_read_by_another_user_of_the_jobs_tree(place: Path) -> None:
    secret = give_file(place / "s", "hidden")

    def look() -> str:
        os.setgid(BOB)
        os.setuid(BOB)
        return refused(read, f"{SECRET}/a")

    owner_is_alice = see(lambda: refused(read, f"{SECRET}/a"), secrets=[["a", encoded(secret)]])
    assert owner_is_alice == ""
    assert see(look, Options(uid=0), secrets=[["a", encoded(secret)]]) == "EACCES"


def test_a_secret_is_read_as_the_user(place: Path) -> None:
    secret = give_file(place / "s", "hidden", 0)
    secret.chmod(0o600)
    failed = see(lambda: None, secrets=[["a", encoded(secret)]])
    assert failed == Failed("open", errno.EACCES, str(secret), "Permission denied")


@pytest.mark.parametrize("path", [b"/proc/1/environ", b"/proc/1/maps", b"/proc/1/root/etc/shadow"])
def test_no_capability_of_ours_helps_to_read_a_secret(path: bytes) -> None:
    failed = see(lambda: None, secrets=[["a", path]])
    assert isinstance(failed, Failed)
    assert failed.step == "open"


def test_a_secret_is_a_regular_file_of_at_most_a_mebibyte(place: Path) -> None:
    os.mkfifo(place / "fifo")
    give(place / "fifo")
    exact = give_file(place / "exact", "x" * MAX_SECRET_BYTES)
    more = give_file(place / "more", "x" * (MAX_SECRET_BYTES + 1))
    failed = see(lambda: None, secrets=[["a", encoded(place / "fifo")]])
    assert (failed.errno, failed.why) == (errno.EINVAL, "it is not a regular file")
    assert see(lambda: None, secrets=[["a", encoded(more)]]).errno == errno.EFBIG
    size = see(lambda: os.stat(f"{SECRET}/a").st_size, secrets=[["a", encoded(exact)]])
    assert size == MAX_SECRET_BYTES


def test_secrets_are_refused_when_something_else_covers_their_place(
    place: Path, source: Path
) -> None:
    secret = give_file(place / "s", "hidden")
    failed = see(
        lambda: None, secrets=[["a", encoded(secret)]],
        binds=[[encoded(source), b"/dev/shm", False]],
    )  # fmt: skip
    assert (failed.step, failed.errno, failed.path) == ("build", errno.EBUSY, SECRET)
    assert os.listdir(source) == ["file"]


# Landlock


def test_the_paths_for_landlock_are_those_of_the_jobs_tree(source: Path, target: Path) -> None:
    asked = {
        "filesystem": "overlay", "readable": [b"/srv"], "writable": [encoded(target)],
        "binds": [[encoded(source), b"/bound", True]],
    }  # fmt: skip

    def look() -> Any:
        answer = paths(DEFAULTS | asked, encoded(source))
        assert answer is not None
        return [[os.readlink(f"/proc/self/fd/{fd}") for fd in fds] for fds in answer]

    readable, writable = see(look, Options(cwd=source), **asked)
    assert {"/usr", "/etc", "/proc", "/sys", "/srv", "/bound"} <= set(readable)
    assert {"/home", "/root", "/var", "/"}.isdisjoint(readable)
    assert set(writable) == {"/tmp", "/dev", "/run/user", str(target), str(source)}


def test_a_shell_works_in_the_tree_that_it_gets(place: Path) -> None:
    status, text = shell("echo $(id -u); cat /etc/hostname >/dev/null", Options(cwd=place))
    assert (status, text) == (0, f"{ALICE}\n")
