"""The options of `run` for what a job sees and may do: files, privileges.

What is typed becomes fields of the protocol here; which of them go together, and what the
caller may ask for, is the daemon's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.paths import absolute, inside
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.records import Sandbox

_FILES: Final = "Files"
_PRIVILEGES: Final = "Privileges"
_PROFILES: Final = ("default", "strict", "none")

WORDS: Final = {
    "sandbox.preset": "--sandbox",
    "sandbox.filesystem": "--fs",
    "sandbox.root": "--root",
    "sandbox.keep_changes": "--keep-changes",
    "sandbox.readable": "--ro",
    "sandbox.writable": "--rw",
    "sandbox.binds": "--bind",
    "sandbox.binds.source": "--bind",
    "sandbox.binds.target": "--bind",
    "sandbox.binds.read_only": "--bind",
    "sandbox.tmpfs": "--tmpfs",
    "sandbox.tmpfs.path": "--tmpfs",
    "sandbox.tmpfs.size_bytes": "--tmpfs",
    "sandbox.hide": "--hide",
    "sandbox.hostname": "--hostname",
    "sandbox.userns": "--userns",
    "sandbox.capabilities": "--cap-add",
    "sandbox.seccomp": "--seccomp",
    "sandbox.report_denied": "--report-denied",
    "sandbox.devices": "--devices",
    "sandbox.secrets": "--secret",
    "sandbox.secrets.name": "--secret",
    "sandbox.secrets.path": "--secret",
    "user": "--user",
    "group": "--group",
}

file_options: Final = all_of([
    option("--fs", _FILES, type=click.Choice(["host", "readonly", "overlay", "root"]),
           metavar="MODE",
           help="host: the host's files (the default); readonly: all but the directory; "
                "overlay: writable, changes thrown away; root: see --root."),
    option("--root", _FILES, metavar="DIR|TAR|IMAGE",
           help="A file system of its own: a directory, tar archive or squashfs image."),
    option("--keep-changes", _FILES, metavar="DIR",
           help="Keep what an overlay or root has changed, in DIR: one that exists and is "
                "the user's."),
    option("--bind", _FILES, type=params.BIND, multiple=True, metavar="SRC[:DST][:ro]",
           help="A file or directory of the host in the job's tree. May be repeated, as all "
                "of the following."),
    option("--tmpfs", _FILES, type=params.TMPFS, multiple=True, metavar="PATH[:SIZE]",
           help="An empty directory in memory."),
    option("--hide", _FILES, multiple=True, metavar="PATH", help="Cannot be seen by the job."),
    option("--ro", _FILES, multiple=True, metavar="PATH",
           help="Only what is named so can be read, besides programs, libraries and the "
                "directory (Landlock)."),
    option("--rw", _FILES, multiple=True, metavar="PATH",
           help="The same, and writable; also with --fs readonly."),
    option("--secret", _FILES, type=params.SECRET, multiple=True, metavar="NAME=FILE",
           help="FILE's content as /dev/shm/secrets/NAME, in memory, stored nowhere."),
    option("--devices", _FILES, type=params.ITEMS, multiple=True, metavar="LIST",
           help="Device nodes besides the usual: /dev/fuse,/dev/kvm:rw; or all."),
])  # fmt: skip

privilege_options: Final = all_of([
    option("--sandbox", _PRIVILEGES, type=click.Choice(["untrusted"]), metavar="untrusted",
           help="For a stranger's code: clean environment, user namespace, overlay, strict "
                "filter, small limits; each can be given otherwise."),
    option("--user", _PRIVILEGES, metavar="USER", help="Run as this user (root and admins)."),
    option("--group", _PRIVILEGES, metavar="GROUP", help="Run in this group."),
    option("--userns", _PRIVILEGES, is_flag=True,
           help="A user namespace: root inside is nobody outside."),
    option("--cap-add", _PRIVILEGES, type=params.ITEMS, multiple=True, metavar="NAME",
           help="Leave a capability, where the policy allows it: net_bind_service."),
    option("--seccomp", _PRIVILEGES, metavar="PROFILE",
           help="Filter of system calls: default, strict, none, or a FILE."),
    option("--report-denied", _PRIVILEGES, is_flag=True,
           help="Report which system calls the filter refused."),
    option("--hostname", _PRIVILEGES, metavar="NAME",
           help="The job's host name (default: job-ID)."),
])  # fmt: skip


def asked_sandbox(options: Mapping[str, Any]) -> Sandbox | None:
    """The fields that were typed, if any; paths made absolute."""
    has_root = bool(options["root"])
    asked: dict[str, Any] = {
        "preset": options["sandbox"],
        "filesystem": options["fs"],
        "root": _path(options["root"], "--root"),
        "keep_changes": _path(options["keep_changes"], "--keep-changes"),
        "readable": _paths(options, "ro"),
        "writable": _paths(options, "rw"),
        "binds": [_bind(*bind, has_root=has_root) for bind in options["bind"]],
        "tmpfs": [
            {"path": inside(path, has_root=has_root), "size_bytes": size}
            for path, size in options["tmpfs"]
        ],
        "hide": _paths(options, "hide"),
        "hostname": options["hostname"],
        "userns": options["userns"] or None,
        "capabilities": [name.upper() for names in options["cap_add"] for name in names],
        "seccomp": _profile(options["seccomp"]),
        "report_denied": options["report_denied"] or None,
        "devices": [device for devices in options["devices"] for device in devices],
        "secrets": [{"name": name, "path": absolute(path)} for name, path in options["secret"]],
    }
    sandbox: Sandbox = {}
    sandbox.update({key: value for key, value in asked.items() if value not in (None, [])})  # type: ignore[typeddict-item]
    return sandbox or None


def account(text: str | None) -> str | int | None:
    """A user or group: a number where only digits were typed."""
    return int(text) if text and text.isascii() and text.isdigit() else text


def _bind(source: str, target: str | None, read_only: bool, *, has_root: bool) -> dict[str, Any]:  # noqa: FBT001
    there = absolute(source)
    bind = {"source": there, "target": inside(target, has_root=has_root) if target else there}
    return {**bind, "read_only": True} if read_only else bind


def _paths(options: Mapping[str, Any], key: str) -> list[str]:
    """Places of the job's tree."""
    return [_place(path, f"--{key}", has_root=bool(options["root"])) for path in options[key]]


def _path(path: str | None, word: str) -> str | None:
    """A path of the host."""
    return None if path is None else absolute(_something(path, word))


def _place(path: str, word: str, *, has_root: bool) -> str:
    return inside(_something(path, word), has_root=has_root)


def _something(path: str, word: str) -> str:
    """Not nothing, which would mean the current directory."""
    if not path:
        raise click.UsageError(f"{word}: '' given; a path is allowed")
    return path


def _profile(profile: str | None) -> str | None:
    return profile if profile in _PROFILES else _path(profile, "--seccomp")
