"""pyroute2's messages of rtnetlink, without all else of pyroute2.

`import pyroute2` imports all of it: 160 modules and 60 of Python's, 13 MB that stay and 90 ms,
which the first job with a private network would wait for. What is imported here are 30 modules.
Nothing is encoded here (`isolation.network.links`).
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = "pyroute2"


@contextmanager
def _package_alone() -> Iterator[None]:
    """Meanwhile the package is one whose modules can be found, and whose own code has not run."""
    spec = None if _PACKAGE in sys.modules else importlib.util.find_spec(_PACKAGE)
    if spec is None:
        yield
        return
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        yield
    except BaseException:
        for name in [name for name in sys.modules if name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
        raise
    finally:
        # Who imports the package later gets all of it.
        del sys.modules[_PACKAGE]


def _messages() -> tuple[Any, ...]:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return ifaddrmsg, ifinfmsg, ndmsg, rtmsg


def _imported() -> tuple[Any, ...]:
    try:
        with _package_alone():
            return _messages()
    except (ImportError, AttributeError):
        # A version whose modules need what the package does first.
        return _messages()


ifaddrmsg, ifinfmsg, ndmsg, rtmsg = _imported()
