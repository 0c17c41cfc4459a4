"""What is done with jobs from their launch until they have ended, or wait again: its parts, joined.

Each part is a module of its own; who asks for what of them is the supervisor's, which jobs are
launched `runner.queueing`'s. In the event loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.ending import Ending
from runner.launches import Launches
from runner.pausing import Pausing
from runner.restart import Restart
from runner.running import Running
from runner.stopping import Stopping
from runner.updating import Updating

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.launching import Launching
    from runner.queueing import Queueing
    from runner.queues import Rules
    from runner.realm import Realm
    from runner.removing import Removing
    from runner.rows import Job
    from runner.shortage import Shortage


class LaunchedJobs:
    """The parts. `on_end` is told of a job that has ended for good, `on_again` of one that waits.

    `removing` finishes the removals of ended jobs that a restart finds begun.
    """

    def __init__(  # noqa: PLR0913  the parts of other kinds that they stand on
        self,
        realm: Realm,
        rules: Rules,
        queueing: Queueing,
        launching: Launching,
        *,
        shortage: Shortage,
        removing: Removing,
        on_end: Callable[[Job], None],
        on_again: Callable[[Job], None],
    ) -> None:
        self.running = Running(realm, self._on_monitor_end, queueing.began)
        self.stopping = Stopping(realm.work.loop, realm.directories, realm.tree, self.running)
        self.ending = Ending(
            realm, on_end, on_again, queueing.promises.most_memory,
            lambda uid: rules.quota_of(uid).max_log_bytes,
        )  # fmt: skip
        self.pausing = Pausing(realm, self.stopping)
        self.updating = Updating(realm, queueing)
        self.restart = Restart(
            realm,
            ending=self.ending,
            removing=removing,
            pausing=self.pausing,
            updating=self.updating,
            running=self.running,
            on_again=on_again,
        )
        self.launches = Launches(
            realm,
            launching,
            running=self.running,
            ending=self.ending,
            restart=self.restart,
            shortage=shortage,
        )

    def _on_monitor_end(self, job_id: str) -> None:
        self.stopping.forget(job_id)
        self.ending.monitor_gone(job_id)
