"""What the parts of a supervision share: where jobs are kept, and how work is done for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree
    from runner.changes import Changes
    from runner.jobdirs import JobDirectories
    from runner.outside import Outside
    from runner.problems import Problems
    from runner.settling import Settling
    from runner.store import Store
    from runner.work import Work


class Realm(NamedTuple):
    """The jobs of one daemon: their rows, directories and cgroups, and who waits for them.

    `problems` is where is kept what is found to be wrong with them.
    """

    store: Store
    directories: JobDirectories
    tree: CgroupTree
    changes: Changes
    work: Work
    outside: Outside
    problems: Problems
    settling: Settling
