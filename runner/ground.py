"""What a daemon stands on: its locks, the root of the cgroups, room for descriptors.

Nothing is read of the store and no job is touched before all of this holds. What is built
on it is `runner.assembly`'s, how two daemons are kept apart `runner.statedir`'s.
"""

from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroups.root import LIMIT_CONTROLLERS
from isolation.cgroups.tree import CgroupTree
from runner import former_root, statedir

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from runner.config import Config

_logger: Final = logging.getLogger(__name__)


class StartError(Exception):
    """runnerd cannot start. The text says why and what to do."""


class Ground(NamedTuple):
    """The root of the cgroups, made ready, and the locks that make all of it ours.

    The first is that of the state directory's lock file.
    """

    tree: CgroupTree
    locks: tuple[int, ...]


def take_ground(config: Config, stack: AsyncExitStack) -> Ground:
    """Lock the state directory and the cgroup root, and make them ready.

    Both are let go with the stack. Raises StartError, statedir.InUseError, CgroupRootError,
    CgroupError, OSError.
    """
    _raise_descriptor_limit()
    statedir.prepare(config.state_dir)
    state_lock = statedir.lock_file(os.path.join(config.state_dir, "lock"))
    stack.callback(os.close, state_lock)
    tree = _cgroup_root(config)
    root_lock = statedir.lock_directory(tree.root)
    stack.callback(os.close, root_lock)
    former_root.keep(config.state_dir, tree.root)
    return Ground(tree, (state_lock, root_lock))


def _cgroup_root(config: Config) -> CgroupTree:
    root, why = former_root.choose(
        config.state_dir, config.cgroup_root, needs_limits=bool(config.required_controllers)
    )
    tree = CgroupTree(root)
    tree.prepare(LIMIT_CONTROLLERS)
    missing = tree.missing(config.required_controllers)
    if missing:
        reasons = "; ".join(f"{why}: {remedy}" for why, remedy in missing)
        raise StartError(f"{reasons}. (required_controllers in the configuration names them.)")
    _logger.info("cgroup root %s (%s), controllers: %s", root, why,
                 ", ".join(sorted(tree.available)) or "none")  # fmt: skip
    return tree


def _raise_descriptor_limit() -> None:
    """A running job costs one descriptor, a follower three, a connection one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
