"""Paths as they are typed, made absolute. Links and ".." are left to the kernel."""

from __future__ import annotations

import os


def absolute(path: str) -> str:
    """A path of the host: below the current directory. Raises ClientError when there is none."""
    from client.submission import current_directory

    return path if path.startswith("/") else os.path.join(os.fsdecode(current_directory()), path)


def inside(path: str, *, has_root: bool) -> str:
    """A path of the job's tree: in a foreign one our directory means nothing, so below "/"."""
    return os.path.join("/", path) if has_root else absolute(path)
