"""What a job sees of the file system, looked at from the inside, on a real kernel."""

from __future__ import annotations

import errno
import grp
import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from isolation.files.covers import SECRETS
from tests.kernel.isolation.tree.id_maps import maps_for
from tests.kernel.isolation.tree.in_tree import ALICE, BOB, Failed, Options, see, shell
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
    from pathlib import Path

TTY_GROUP = grp.getgrnam("tty").gr_gid
MODES = ["host", "readonly", "overlay", "root"]


def sandbox_of(mode: str, foreign: bytes) -> dict[str, Any]:
    return {"filesystem": mode, "root": foreign if mode == "root" else None}


# Every mode


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_a_dev_of_its_own_that_works(mode: str, foreign: bytes) -> None:
    def look() -> Any:
        os.write(os.open("/dev/null", os.O_WRONLY), b"x")
        zeros = os.read(os.open("/dev/zero", os.O_RDONLY), 4)
        random = os.read(os.open("/dev/urandom", os.O_RDONLY), 16)
        _, side = os.openpty()
        group = os.fstat(side).st_gid
        full = refused(os.write, os.open("/dev/full", os.O_WRONLY), b"x")
        new = refused(os.mknod, "/dev/mine", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        return [names("/dev"), zeros.hex(), len(random), os.ttyname(side), group, full, new]

    seen = see(look, **sandbox_of(mode, foreign))
    usual = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert seen == [usual.split(), "00000000", 16, "/dev/pts/0", TTY_GROUP, "ENOSPC", "EACCES"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_private_places_that_can_be_written(mode: str, foreign: bytes) -> None:
    runtime = f"/run/user/{ALICE}"

    def look() -> Any:
        found = [names(path) for path in ("/tmp", "/dev/shm", runtime)]
        made = [write(f"{path}/new") for path in ("/tmp", "/dev/shm", runtime)]
        return [found, made, [stat.S_IMODE(os.stat(p).st_mode) for p in ("/tmp", runtime)]]

    os.makedirs("/run/user", exist_ok=True)
    seen = see(look, **sandbox_of(mode, foreign))
    assert seen == [[[], [], []], ["", "", ""], [0o1777, 0o700]]
    assert not os.path.exists("/dev/shm/new")


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_jobs_own_processes_and_a_read_only_sys(
    mode: str, foreign: bytes
) -> None:
    def look() -> Any:
        pids = [name for name in names("/proc") if name.isdigit()]
        return [pids, write("/sys/kernel/new"), names("/sys/class/net")]

    assert see(look, **sandbox_of(mode, foreign)) == [["1"], "EROFS", ["lo"]]


@pytest.mark.parametrize("mode", MODES)
def test_the_sensitive_parts_of_proc_are_masked_but_for_an_ordinary_user_of_the_host_tree(
    mode: str, foreign: bytes
) -> None:
    def look() -> Any:
        keys = stat.S_ISCHR(os.stat("/proc/keys").st_mode)
        return [keys, bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)]

    masked = mode != "host"
    assert see(look, **sandbox_of(mode, foreign)) == [masked, masked]
    assert see(look, Options(uid=0), **sandbox_of(mode, foreign)) == [True, True]


@pytest.mark.parametrize("mode", MODES)
def test_root_cannot_write_the_kernels_settings_either(mode: str, foreign: bytes) -> None:
    def look() -> Any:
        return [write("/proc/sys/kernel/core_pattern"), write("/proc/sysrq-trigger")]

    assert see(look, Options(uid=0), **sandbox_of(mode, foreign)) == ["EROFS", "EROFS"]


@pytest.mark.parametrize("mode", MODES)
def test_scratch_space_is_bounded_in_each_place(mode: str, foreign: bytes) -> None:
    def look() -> Any:
        sizes = []
        for path in ("/tmp", "/dev/shm"):
            fd = os.open(f"{path}/f", os.O_WRONLY | os.O_CREAT)
            why = refused(os.posix_fallocate, fd, 0, 2 << 20)
            status = os.statvfs(path)
            sizes.append([why, status.f_blocks * status.f_frsize])
        return sizes

    options = Options(scratch_bytes=1 << 20)
    assert see(look, options, **sandbox_of(mode, foreign)) == [["ENOSPC", 1 << 20]] * 2


@pytest.mark.parametrize("mode", MODES)
def test_contents_are_laid_over_files_that_links_of_the_tree_lead_to(
    mode: str, foreign: bytes
) -> None:
    if mode == "root":
        os.symlink("/etc/issue", foreign + b"/etc/linked")
    else:
        os.symlink("issue", "/etc/linked")
    try:
        files = {b"/etc/linked": b"laid"}
        seen = see(
            lambda: [read("/etc/issue"), write("/etc/issue")],
            Options(uid=0, files=files), **sandbox_of(mode, foreign),
        )  # fmt: skip
    finally:
        os.unlink(foreign + b"/etc/linked" if mode == "root" else "/etc/linked")
    assert seen == ["laid", "EROFS"]
    assert read("/etc/issue") != "laid"


def test_contents_get_a_file_where_the_tree_is_thrown_away_alone(foreign: bytes) -> None:
    files = {b"/etc/absent": b"made"}
    options = Options(files=files)
    for mode in ("overlay", "root"):
        assert see(lambda: read("/etc/absent"), options, **sandbox_of(mode, foreign)) == "made"
    for mode in ("host", "readonly"):
        failed = see(lambda: None, options, **sandbox_of(mode, foreign))
        assert (failed.errno, failed.path) == (errno.ENOENT, "/etc/absent")
    assert not os.path.exists("/etc/absent")


def test_a_link_to_nothing_in_a_foreign_root_does_not_lead_contents_out_of_it(
    foreign: bytes,
) -> None:
    os.symlink("/run/no/such/file", foreign + b"/etc/resolv.conf")
    files = {b"/etc/resolv.conf": b"nameserver"}
    sandbox = sandbox_of("root", foreign)
    assert see(lambda: read("/etc/resolv.conf"), Options(files=files), **sandbox) == "nameserver"


# host


def test_the_host_tree_is_as_it_was_and_a_working_directory_below_tmp_is_put_back(
    below_tmp: Path,
) -> None:
    status, text = shell("pwd; echo here > file; ls /tmp", Options(cwd=below_tmp))
    top = str(below_tmp).split("/")[2]
    assert (status, text) == (0, f"{below_tmp}\n{top}\n")
    assert (below_tmp / "file").read_text() == "here\n"


def test_a_working_directory_that_the_user_cannot_reach_is_refused(place: Path) -> None:
    hidden = place / "hidden"
    (hidden / "below").mkdir(parents=True)
    os.chmod(hidden, 0o700)
    failed = see(lambda: None, Options(cwd=hidden / "below"))
    assert failed == Failed("open", errno.EACCES, str(hidden / "below"), "Permission denied")


# readonly


def test_a_read_only_tree_is_so_on_every_disk_but_in_the_working_directory_and_named_paths(
    place: Path,
) -> None:
    for name in ("cwd", "named", "other"):
        give_new(place / name)
    named = give_file(place / "file")

    def look() -> Any:
        return [
            write("here"), write(f"{place}/named/f"), write(f"{place}/file"),
            write(f"{place}/other/f"), write(f"{place}/f"), write("/home/f"),
        ]  # fmt: skip

    seen = see(
        look, Options(cwd=place / "cwd"), filesystem="readonly",
        writable=[os.fsencode(place / "named"), os.fsencode(named)],
    )  # fmt: skip
    assert seen == ["", "", "", "EROFS", "EROFS", "EROFS"]
    assert (place / "cwd" / "here").read_text() == "x"


def test_a_read_only_tree_is_so_for_root_too(place: Path) -> None:
    seen = see(
        lambda: [write("/etc/new"), write(f"{place}/new"), write("/usr/bin/new")],
        Options(uid=0), filesystem="readonly",
    )  # fmt: skip
    assert seen == ["EROFS", "EROFS", "EROFS"]


def test_the_whole_tree_cannot_be_named_as_writable() -> None:
    failed = see(lambda: None, filesystem="readonly", writable=[b"/"])
    assert (failed.step, failed.errno, failed.path) == ("build", errno.EINVAL, "/")


# overlay


def test_an_overlay_can_be_changed_on_every_disk_and_the_host_is_not(place: Path) -> None:
    give_file(place / "old", "old")
    disk_file, root_file = f"{place}/old", "/home/overlaid"
    os.makedirs(root_file)
    os.chown(root_file, ALICE, ALICE)

    def look() -> Any:
        made = [write(disk_file, "changed"), write(f"{root_file}/new"), write(f"{place}/new")]
        gone = refused(os.unlink, disk_file)
        return [made, gone, os.path.exists(disk_file), read(f"{place}/new")]

    try:
        seen = see(look, Options(cwd=place), filesystem="overlay")
        assert seen == [["", "", ""], "", False, "x"]
        assert os.listdir(place) == ["old"]
        assert (place / "old").read_text() == "old"
        assert os.listdir(root_file) == []
    finally:
        os.rmdir(root_file)


def test_an_overlay_gives_no_rights_that_its_user_lacks() -> None:
    def look() -> Any:
        return [write("/etc/passwd"), write("/etc/new"), refused(read, "/etc/shadow"), write("/x")]

    assert see(look, filesystem="overlay") == ["EACCES"] * 4


def test_nothing_of_the_hosts_tree_is_mounted_in_an_overlay_but_as_a_layer() -> None:
    table = see(lambda: read("/proc/self/mountinfo"), filesystem="overlay")
    kinds = {line.partition(" - ")[2].split()[0] for line in table.splitlines()}
    assert kinds == {"overlay", "tmpfs", "devpts", "mqueue", "proc", "sysfs", "cgroup2"}


def test_what_the_user_cannot_reach_is_not_mounted_in_an_overlay(place: Path) -> None:
    os.chown(place, 0, 0)
    os.chmod(place, 0o700)
    os.mkdir(place / "disk")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place / "disk"], check=True)
    try:
        look = lambda: f"{place}/disk" in read("/proc/self/mountinfo")  # noqa: E731
        assert see(look, filesystem="overlay") is False
        assert see(look, Options(uid=0), filesystem="overlay") is True
    finally:
        subprocess.run(["umount", place / "disk"], check=True)


def test_a_file_that_is_mounted_by_itself_is_shown_read_only_in_an_overlay(place: Path) -> None:
    for name in ("source", "target"):
        (place / name).write_text(name)
        give(place / name)
    subprocess.run(["mount", "--bind", place / "source", place / "target"], check=True)
    try:
        seen = see(
            lambda: [read(f"{place}/target"), write(f"{place}/target")], filesystem="overlay"
        )
    finally:
        subprocess.run(["umount", place / "target"], check=True)
    assert seen == ["source", "EROFS"]


def test_a_working_directory_below_tmp_is_put_back_as_an_overlay(below_tmp: Path) -> None:
    (below_tmp / "old").write_text("old")
    seen = see(
        lambda: [read("old"), write("new"), names(".")],
        Options(cwd=below_tmp), filesystem="overlay",
    )  # fmt: skip
    assert seen == ["old", "", ["new", "old"]]
    assert os.listdir(below_tmp) == ["old"]


def test_the_changes_of_an_overlay_are_bounded(place: Path) -> None:
    def look() -> str:
        fd = os.open("big", os.O_WRONLY | os.O_CREAT)
        return refused(os.posix_fallocate, fd, 0, 2 << 20)

    options = Options(cwd=place, scratch_bytes=1 << 20)
    assert see(look, options, filesystem="overlay") == "ENOSPC"


def test_changes_are_kept_in_a_directory_and_a_later_job_goes_on_from_there(
    place: Path, below_tmp: Path
) -> None:
    keep = below_tmp
    give_file(place / "old", "old")
    sandbox: dict[str, Any] = {"filesystem": "overlay", "keep_changes": os.fsencode(keep)}
    options = Options(cwd=place)
    assert see(lambda: [write("new"), refused(os.unlink, "old")], options, **sandbox) == ["", ""]
    assert see(lambda: [read("new"), names(".")], options, **sandbox) == ["x", ["new"]]
    assert os.listdir(place) == ["old"]
    upper = keep / "mounts" / str(place).strip("/").replace("/", "%2F") / "upper"
    assert (upper / "new").read_text() == "x"
    assert (upper.stat().st_uid, stat.S_IMODE(upper.stat().st_mode)) == (ALICE, 0o755)
    assert stat.S_ISCHR((upper / "old").lstat().st_mode)
    assert sorted(os.listdir(keep)) == ["mounts", "upper", "work"]


def test_changes_of_the_root_are_kept_by_their_paths(place: Path) -> None:
    """By root: for another it would take a tree that is no overlay itself, as this one is."""
    keep = give_new(place / "keep", 0)
    os.makedirs("/home/kept")
    try:
        sandbox: dict[str, Any] = {"filesystem": "overlay", "keep_changes": os.fsencode(keep)}
        assert see(lambda: write("/home/kept/f"), Options(uid=0), **sandbox) == ""
        assert os.listdir("/home/kept") == []
    finally:
        os.rmdir("/home/kept")
    assert (keep / "upper" / "home" / "kept" / "f").read_text() == "x"


def test_what_cannot_be_kept_is_read_only_and_no_working_directory(place: Path) -> None:
    keep = give_new(place / "keep")
    os.makedirs("/home/kept")
    os.chown("/home/kept", ALICE, ALICE)
    sandbox: dict[str, Any] = {"filesystem": "overlay", "keep_changes": os.fsencode(keep)}
    try:
        made = see(lambda: [write("/home/kept/f"), write("f")], Options(cwd=place), **sandbox)
        failed = see(lambda: None, Options(cwd="/home/kept"), **sandbox)
    finally:
        os.rmdir("/home/kept")
    assert made == ["EROFS", ""]
    assert (failed.step, failed.errno, failed.path) == ("build", errno.EINVAL, "/home/kept")
    assert failed.why.startswith("changes of this working directory cannot be kept")


def test_a_working_directory_in_a_private_place_whose_changes_would_be_lost_is_refused(
    place: Path, below_tmp: Path
) -> None:
    keep = give_new(place / "keep")
    options = Options(cwd=below_tmp)
    failed = see(lambda: None, options, filesystem="overlay", keep_changes=os.fsencode(keep))
    assert (failed.step, failed.errno, failed.path) == ("open", errno.EINVAL, str(below_tmp))
    assert os.listdir(keep) == []


def test_changes_are_kept_in_a_directory_of_the_users_own_alone(place: Path) -> None:
    theirs = give_new(place / "bobs", BOB)
    failed = see(lambda: None, filesystem="overlay", keep_changes=os.fsencode(theirs))
    assert failed == Failed("open", errno.EPERM, str(theirs), "it belongs to somebody else")
    assert os.listdir(theirs) == []


@pytest.mark.parametrize("name", ["upper", "work"])
def test_a_link_in_the_directory_for_changes_leads_nowhere(place: Path, name: str) -> None:
    keep, elsewhere = give_new(place / "keep"), give_new(place / "elsewhere", 0)
    (keep / name).symlink_to("/etc" if name == "upper" else elsewhere)
    failed = see(lambda: write("/etc/passwd"), filesystem="overlay", keep_changes=os.fsencode(keep))
    assert (failed.step, failed.errno) == ("build", errno.ELOOP)
    assert os.listdir(elsewhere) == []


def test_a_directory_for_changes_that_cannot_hold_them_is_refused_with_the_reason() -> None:
    os.makedirs("/home/keeping")
    os.chown("/home/keeping", ALICE, ALICE)
    try:
        failed = see(lambda: None, filesystem="overlay", keep_changes=b"/home/keeping")
    finally:
        subprocess.run(["rm", "-r", "/home/keeping"], check=True)
    assert (failed.step, failed.errno) == ("build", errno.EINVAL)
    assert "local disk or in memory" in failed.why


# User namespaces


@pytest.mark.parametrize("mode", ["host", "readonly"])
def test_files_of_the_user_are_those_of_the_jobs_root_in_a_user_namespace(
    mode: str, place: Path
) -> None:
    give_file(place / "mine", "mine")

    def look() -> Any:
        seen = [os.getuid(), os.stat("mine").st_uid, os.stat("/etc/passwd").st_uid]
        return [*seen, write("new"), os.stat("new").st_uid]

    with maps_for(ALICE) as maps:
        seen = see(look, Options(cwd=place, maps=maps), filesystem=mode)
    assert seen == [0, 0, 65534, "", 0]
    assert (place / "new").stat().st_uid == ALICE


def test_an_overlay_in_a_user_namespace_lets_root_change_the_users_files(place: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub" / "mine").write_text("mine")
    for path in (place / "sub", place / "sub" / "mine"):
        give(path)

    def look() -> Any:
        done = [write("sub/mine", "ours"), write("sub/new"), write("/etc/passwd")]
        return [*done, read("sub/mine"), os.stat("sub/mine").st_uid, write("/tmp/f")]

    with maps_for(ALICE) as maps:
        seen = see(look, Options(cwd=place, maps=maps), filesystem="overlay")
    assert seen == ["", "", "EACCES", "ours", 0, ""]
    assert (place / "sub" / "mine").read_text() == "mine"


def test_kept_changes_of_a_user_namespace_belong_to_the_user(place: Path, below_tmp: Path) -> None:
    keep = below_tmp
    with maps_for(ALICE) as maps:
        options = Options(cwd=place, maps=maps)
        sandbox: dict[str, Any] = {"filesystem": "overlay", "keep_changes": os.fsencode(keep)}
        assert see(lambda: write("new"), options, **sandbox) == ""
    (upper,) = (keep / "mounts").glob("srv*")
    assert (upper / "upper" / "new").stat().st_uid == ALICE


@pytest.mark.parametrize("mode", ["overlay", "root"])
def test_changes_of_a_job_of_root_in_a_user_namespace_are_not_kept(
    mode: str, foreign: bytes, tmp_path: Path
) -> None:
    keep = os.fsencode(tmp_path)
    with maps_for(0) as maps:
        options = Options(uid=0, maps=maps)
        failed = see(lambda: None, options, **sandbox_of(mode, foreign), keep_changes=keep)
    assert (failed.step, failed.errno, failed.path) == ("open", errno.EINVAL, str(tmp_path))
    assert "a job of root cannot keep changes" in failed.why
    assert os.listdir(tmp_path) == []


def test_files_of_root_stay_roots_when_root_asks_for_a_user_namespace(place: Path) -> None:
    give_file(place / "s", "s", 0)
    os.makedirs("/run/user", exist_ok=True)

    def look() -> Any:
        secret = os.fsdecode(SECRETS) + "/a"
        return [os.getuid(), refused(read, "/etc/shadow"), read(secret), write("/run/user/0/f")]

    with maps_for(0) as maps:
        for mode in ("host", "overlay"):
            seen = see(
                look, Options(uid=0, maps=maps),
                filesystem=mode, secrets=[["a", os.fsencode(place / "s")]],
            )  # fmt: skip
            assert seen == [0, "EACCES", "s", ""]


def test_a_directory_of_the_user_that_cannot_be_mapped_is_refused_by_name() -> None:
    os.makedirs("/home/unmapped")
    os.chown("/home/unmapped", ALICE, ALICE)
    try:
        with maps_for(ALICE) as maps:
            failed = see(lambda: None, Options(cwd="/home/unmapped", maps=maps))
    finally:
        os.rmdir("/home/unmapped")
    assert (failed.errno, failed.path) == (errno.EOPNOTSUPP, "/home/unmapped")
    assert failed.why.startswith("overlay cannot show files as another user's")


def test_private_places_belong_to_the_jobs_root_in_a_user_namespace(place: Path) -> None:
    os.makedirs("/run/user", exist_ok=True)
    give_file(place / "s", "s")

    def look() -> Any:
        secret = os.fsdecode(SECRETS) + "/a"
        return [os.stat("/run/user/0").st_uid, os.stat(secret).st_uid, read(secret)]

    with maps_for(ALICE) as maps:
        seen = see(look, Options(maps=maps), secrets=[["a", os.fsencode(place / "s")]])
    assert seen == [0, 0, "s"]
