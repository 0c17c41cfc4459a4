"""What can go wrong with a private network, as errors with text for people.

Only classes. Which field of a request an error belongs to is the caller's business.
"""

from __future__ import annotations

import errno
import os

from isolation.errors import NetworkError


class PrivateNetworkError(NetworkError):
    """A private network cannot be made, changed or removed.

    `step` is what was tried and on what ("publish port 8080/tcp"), `why` a clause, `remedy`
    what to do about it or empty; all without a full stop.
    """

    def __init__(self, number: int, step: str, why: str = "", remedy: str = "") -> None:
        super().__init__(number, step, why)
        self.remedy = remedy

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno or 0, "?")
        text = f"cannot {self.step}: {self.why} ({name})"
        return f"{text}; {self.remedy}" if self.remedy else text


def from_os_error(error: OSError, step: str, remedy: str = "") -> PrivateNetworkError:
    """The same failure, with the step that it stopped."""
    number = error.errno or errno.EIO
    return PrivateNetworkError(number, step, error.strerror or os.strerror(number), remedy)
