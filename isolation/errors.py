"""What can go wrong with the kernel's limits, as errors with text for people.

Only classes: what failed, on what, why, and what to do about it. Which field of a request
an error belongs to, and what a client is told, is the caller's business.
"""

from __future__ import annotations

import errno
import os


class LimitUnavailable(Exception):  # noqa: N818  a verdict about the host, not a failure of ours
    """This host cannot enforce a limit that was asked for.

    `limit` is the kernel's name of it ("memory.max"); `controller` ("memory") or `device`
    ("8:0", or the path that was given) says what is missing; `why` and `remedy` are
    clauses without a full stop.
    """

    def __init__(
        self,
        limit: str,
        *,
        why: str,
        remedy: str,
        controller: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(limit, why, remedy)
        self.limit = limit
        self.controller = controller
        self.device = device
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.limit} cannot be enforced: {self.why}; {self.remedy}."


class LimitBelowUse(Exception):  # noqa: N818  a verdict about the job, not a failure of ours
    """A running job already uses more than it was to be limited to.

    `limit` is the kernel's name of it ("memory.max"); `asked` and `used` are in its unit,
    bytes or processes. What could be reclaimed was, and is not in `used`.
    """

    def __init__(self, limit: str, asked: int, used: int) -> None:
        super().__init__(limit, asked, used)
        self.limit = limit
        self.asked = asked
        self.used = used

    def __str__(self) -> str:
        return (
            f"{self.limit} cannot be set to {self.asked}: the job uses {self.used} now; "
            f"ask for at least that, or have the job use less."
        )


class CgroupError(OSError):
    """An operation on a cgroup's file or directory failed.

    `doing` is the operation ("write", "read", "mkdir", …), `filename` its path, `value`
    what was written, `why` the reason in words (strerror when nothing better is known).
    """

    def __init__(
        self, number: int, doing: str, path: str, value: str | None = None, *, why: str = ""
    ) -> None:
        super().__init__(number, why or os.strerror(number), path)
        self.doing = doing
        self.value = value
        self.why = why or os.strerror(number)

    def __str__(self) -> str:
        what = self.doing if self.value is None else f"{self.doing} {self.value!r} to"
        name = errno.errorcode.get(self.errno or 0, "?")
        return f"cannot {what} {self.filename}: {self.why} ({name})"


class ReadBackError(CgroupError):
    """The kernel took a value and then showed another one, which is not merely rounded.

    `read` is what it shows. errno is EIO, because the kernel itself gave none.
    """

    def __init__(self, path: str, value: str, read: str) -> None:
        super().__init__(errno.EIO, "write", path, value, why=f"it reads back as {read!r}")
        self.read = read


class CgroupRootError(Exception):
    """No usable cgroup v2 tree. `why` says what was found, `remedy` what to do."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why, remedy)
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.why}; {self.remedy}."


class NetworkError(OSError):
    """Making a network namespace failed. `step` names the call that did."""

    def __init__(self, number: int, step: str, why: str = "") -> None:
        super().__init__(number, why or os.strerror(number))
        self.step = step
        self.why = why or os.strerror(number)

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno or 0, "?")
        return f"cannot make a network namespace: {self.step}: {self.why} ({name})"
