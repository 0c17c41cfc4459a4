"""Foreign roots: directories, archives that mean harm, images; nothing of them is changed."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.isolation.tree.id_maps import maps_for
from tests.kernel.isolation.tree.in_tree import ALICE, Options, see
from tests.kernel.isolation.tree.looking import give, give_new, names, read, refused, write
from tests.kernel.isolation.tree.squashfs_image import image

if TYPE_CHECKING:
    from pathlib import Path


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return os.fsencode(give(path))


# Directories


def test_a_directory_is_the_root_can_be_changed_and_stays_as_it_was(
    foreign: bytes, place: Path
) -> None:
    def look() -> Any:
        done = [write("/etc/issue", "changed"), write("/new"), read("/etc/issue")]
        return [done, names("/"), os.path.exists("/home"), os.path.exists(str(place))]

    seen = see(look, filesystem="root", root=foreign)
    top = ["bin", "dev", "etc", "new", "proc", "run", "sys", "tmp"]
    assert seen == [["", "", "changed"], top, False, False]
    assert read(foreign + b"/etc/issue") == "foreign"
    assert sorted(os.listdir(foreign)) == [b"bin", b"etc"]


def test_absolute_links_and_dots_of_a_foreign_root_lead_into_itself(foreign: bytes) -> None:
    os.symlink("/../../../etc/passwd", foreign + b"/link")

    def look() -> Any:
        return [refused(read, "/link"), names("/../.."), os.path.exists("/bin/sh")]

    seen = see(look, filesystem="root", root=foreign)
    assert seen[0] == "ENOENT"
    assert "home" not in seen[1]
    assert seen[2] is False


def test_the_changes_of_a_foreign_root_can_be_kept(foreign: bytes, below_tmp: Path) -> None:
    keep = os.fsencode(below_tmp)
    assert see(lambda: write("/etc/new"), filesystem="root", root=foreign, keep_changes=keep) == ""
    assert (below_tmp / "upper" / "etc" / "new").read_text() == "x"
    assert not os.path.exists(foreign + b"/etc/new")


def test_a_root_that_its_user_may_not_read_is_refused(foreign: bytes) -> None:
    os.chown(foreign, 0, 0)
    os.chmod(foreign, 0o700)
    failed = see(lambda: None, filesystem="root", root=foreign)
    assert (failed.step, failed.errno, failed.path) == ("open", errno.EACCES, os.fsdecode(foreign))
    assert failed.why == "its user may not read and enter it"


@pytest.mark.parametrize("name", [b"proc", b"sys", b"dev"])
def test_a_root_with_a_link_at_a_mount_point_of_the_kernels_is_refused(
    foreign: bytes, name: bytes
) -> None:
    os.symlink("/etc", foreign + b"/" + name)
    failed = see(lambda: None, filesystem="root", root=foreign)
    assert (failed.step, failed.errno) == ("build", errno.ENOTDIR)
    assert failed.path == "/" + name.decode()


def test_a_working_directory_is_one_of_the_foreign_root(foreign: bytes) -> None:
    assert see(os.getcwd, Options(cwd="/etc"), filesystem="root", root=foreign) == "/etc"
    failed = see(os.getcwd, Options(cwd="/home"), filesystem="root", root=foreign)
    assert (failed.step, failed.errno, failed.path) == ("enter", errno.ENOENT, "/home")
    assert failed.why == "no such directory in the job's own tree"


def test_the_jobs_root_owns_the_users_files_of_a_foreign_root_in_a_user_namespace(
    foreign: bytes,
) -> None:
    def look() -> Any:
        return [os.getuid(), os.stat("/etc/issue").st_uid, write("/etc/issue"), write("/new")]

    with maps_for(ALICE) as maps:
        seen = see(look, Options(maps=maps), filesystem="root", root=foreign)
    assert seen == [0, 0, "", ""]


# Archives


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_of_any_compression_becomes_the_root(place: Path, mode: str) -> None:
    root = archive(place / "root", (entry("etc/issue", mode=0o644), b"packed"), mode=mode)

    def look() -> Any:
        return [read("/etc/issue"), os.stat("/etc/issue").st_uid, write("/new"), write("/etc/new")]

    assert see(look, filesystem="root", root=root) == ["packed", ALICE, "", ""]


def test_a_hostile_archive_stays_inside_and_gets_no_device_and_no_set_id_bit(place: Path) -> None:
    root = archive(
        place / "root",
        (entry("../../../../srv/escaped"), b"x"),
        (entry("/srv/absolute"), b"x"),
        (entry("out", tarfile.SYMTYPE, linkname="/srv"), b""),
        (entry("out/through"), b"x"),
        (entry("up", tarfile.SYMTYPE, linkname="../../../.."), b""),
        (entry("up/srv/dots"), b"x"),
        (entry("etc", tarfile.DIRTYPE, mode=0o755), b""),
        (entry("disk", tarfile.BLKTYPE, devmajor=98, devminor=0, mode=0o666), b""),
        (entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666), b""),
        (entry("suid", mode=0o6755, uid=0, gid=0, uname="root"), b"x"),
    )

    def look() -> Any:
        status = os.stat("/suid")
        return [names("/srv"), names("/"), stat.S_IMODE(status.st_mode), status.st_uid]

    inside, top, mode, uid = see(look, filesystem="root", root=root)
    assert inside == ["absolute", "dots", "escaped", "through"]
    assert "disk" not in top
    assert "null" not in top
    assert (mode, uid) == (0o755, ALICE)
    assert {"absolute", "dots", "escaped", "through"}.isdisjoint(os.listdir("/srv"))


def test_a_hard_link_of_an_archive_to_a_file_of_the_host_finds_nothing(place: Path) -> None:
    link = entry("stolen", tarfile.LNKTYPE, linkname="/etc/shadow")
    failed = see(
        lambda: names("/"), Options(uid=0), filesystem="root",
        root=archive(place / "root", (link, b"")),
    )  # fmt: skip
    assert failed[0] == "build"
    assert failed[1] in {errno.ENOENT, errno.EINVAL}


def test_an_archive_of_root_keeps_owners_but_no_set_id_bits_and_makes_no_devices(
    place: Path,
) -> None:
    root = archive(
        place / "root",
        (entry("theirs", uid=1234, gid=1234, mode=0o4755), b"x"),
        (entry("disk", tarfile.BLKTYPE, devmajor=98, devminor=0), b""),
    )

    def look() -> Any:
        status = os.stat("/theirs")
        return [status.st_uid, stat.S_IMODE(status.st_mode), os.path.exists("/disk")]

    assert see(look, Options(uid=0), filesystem="root", root=root) == [1234, 0o755, False]


def test_an_archive_that_does_not_fit_into_the_scratch_space_is_refused(place: Path) -> None:
    root = archive(place / "root", (entry("bomb"), bytes(4 << 20)), mode="w:gz")
    assert os.stat(root).st_size < 1 << 20
    failed = see(lambda: None, Options(scratch_bytes=1 << 20), filesystem="root", root=root)
    assert (failed.step, failed.errno, failed.path) == ("build", errno.ENOSPC, os.fsdecode(root))


def test_directories_of_an_archive_may_be_read_only(place: Path) -> None:
    root = archive(
        place / "root",
        (entry("closed", tarfile.DIRTYPE, mode=0o555), b""),
        (entry("closed/file", mode=0o444), b"x"),
    )
    seen = see(lambda: [read("/closed/file"), write("/closed/new")], filesystem="root", root=root)
    assert seen == ["x", "EACCES"]


@pytest.mark.parametrize("content", [b"", b"neither a tar nor anything else", b"\x1f\x8b\x08junk"])
def test_what_is_no_archive_is_refused_by_name(place: Path, content: bytes) -> None:
    (place / "root").write_bytes(content)
    root = os.fsencode(give(place / "root"))
    failed = see(lambda: None, filesystem="root", root=root)
    assert (failed.step, failed.path) == ("build", os.fsdecode(root))
    assert "tar archive" in failed.why


def test_an_archive_belongs_to_the_jobs_root_in_a_user_namespace(place: Path) -> None:
    root = archive(place / "root", (entry("file"), b"x"))
    with maps_for(ALICE) as maps:
        seen = see(
            lambda: [os.stat("/file").st_uid, write("/file")],
            Options(maps=maps), filesystem="root", root=root,
        )  # fmt: skip
    assert seen == [0, ""]


def test_the_changes_of_an_archives_root_are_kept_apart_from_it(
    place: Path, below_tmp: Path
) -> None:
    root = archive(place / "root", (entry("etc/issue", mode=0o644), b"packed"))
    keep = os.fsencode(below_tmp)
    assert see(lambda: write("/etc/new"), filesystem="root", root=root, keep_changes=keep) == ""
    assert names(str(below_tmp / "upper" / "etc")) == ["new"]


# Images


@pytest.fixture
def squashfs(place: Path) -> Path:
    path = place / "root.squashfs"
    path.write_bytes(image(b"file", b"squashed"))
    path.chmod(0o644)
    return path


def test_an_image_that_only_root_can_have_made_is_mounted_for_everybody(squashfs: Path) -> None:
    def look() -> Any:
        return [read("/file"), write("/tmp/new"), write("/new")]

    sandbox: dict[str, Any] = {"filesystem": "root", "root": os.fsencode(squashfs)}
    assert see(look, **sandbox) == ["squashed", "", "EACCES"]
    assert see(look, Options(uid=0), **sandbox) == ["squashed", "", ""]


@pytest.mark.parametrize(("uid", "mode"), [(ALICE, 0o644), (0, 0o664), (0, 0o646)])
def test_an_image_that_somebody_else_could_have_made_is_for_root_alone(
    squashfs: Path, uid: int, mode: int
) -> None:
    give(squashfs, uid)
    squashfs.chmod(mode)
    sandbox: dict[str, Any] = {"filesystem": "root", "root": os.fsencode(squashfs)}
    failed = see(lambda: None, **sandbox)
    assert (failed.step, failed.errno, failed.path) == ("open", errno.EPERM, str(squashfs))
    assert "unpack it into a directory" in failed.why
    assert see(lambda: read("/file"), Options(uid=0), **sandbox) == "squashed"


def test_a_damaged_image_is_refused_by_name_and_leaves_no_loop_device(place: Path) -> None:
    path = place / "damaged"
    path.write_bytes(b"hsqs" + bytes(8192))
    failed = see(lambda: None, filesystem="root", root=os.fsencode(path))
    assert (failed.step, failed.errno, failed.path) == ("build", errno.EINVAL, str(path))


def test_many_jobs_have_the_same_image_one_after_another(squashfs: Path, place: Path) -> None:
    give_new(place / "elsewhere")
    for _ in range(12):
        assert see(lambda: read("/file"), filesystem="root", root=os.fsencode(squashfs))
