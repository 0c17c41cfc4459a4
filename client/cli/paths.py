"""Paths as they are typed, made absolute. Links and ".." are left to the kernel."""

from __future__ import annotations

import os

import click


def absolute(path: str) -> str:
    """A path of runnerd's host: below the current directory, if that is this one.

    Raises ClientError when there is none, UsageError for a relative path of another host.
    """
    from client.cli.targets import is_elsewhere
    from client.submission import current_directory

    if path.startswith("/"):
        return path
    if is_elsewhere():
        raise click.UsageError(
            f"{path!a} given; through a gateway a path is of runnerd's host, and absolute"
        )
    return os.path.join(os.fsdecode(current_directory()), path)


def inside(path: str, *, has_root: bool) -> str:
    """A path of the job's tree: in a foreign one our directory means nothing, so below "/"."""
    return os.path.join("/", path) if has_root else absolute(path)
