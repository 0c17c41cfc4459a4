"""User namespaces for the tests: one to be in, one that shows a user's files as its root's."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from isolation import user_namespaces
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWUSER = CloneFlags(0x10000000)
BASE = 200_000


class Maps(NamedTuple):
    """Descriptors of both namespaces."""

    userns: int
    idmap: int | None


@contextmanager
def maps_for(uid: int) -> Iterator[Maps]:
    """The namespaces of a job of this user. Files of root are nobody's in the job."""
    userns = user_namespaces.make(*user_namespaces.maps_of_range(BASE))
    maps = user_namespaces.idmap_for(uid, uid, BASE) if uid else None
    idmap = None if maps is None else user_namespaces.make(*maps)
    try:
        yield Maps(userns, idmap)
    finally:
        for fd in (userns, idmap):
            if fd is not None:
                os.close(fd)
