"""What an older runnerd and its monitors wrote is read by this one: no job of theirs is lost."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from runner import records
from tests.kernel import inside
from tests.kernel.harness import wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.harness import Daemon

GATE = "/home/alice/gate"


def change_spec(daemon: Daemon, job: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a job's spec in the store anew; the daemon is down."""
    database = sqlite3.connect(f"{daemon.state_dir}/runnerd.sqlite3")
    with closing(database), database:
        ((seq, packed),) = database.execute(
            "SELECT seq, spec FROM specs JOIN jobs USING (seq) WHERE id = ?", (job,)
        )
        fields = records.unpack(packed)
        change(fields)
        database.execute("UPDATE specs SET spec = ? WHERE seq = ?", (records.pack(fields), seq))


def test_a_queued_job_that_an_older_runnerd_accepted_runs_as_it_was_promised(
    own_daemon: Daemon,
) -> None:
    def as_before(fields: dict[str, Any]) -> None:
        del fields["logs"]
        fields.update(log_segment_bytes=65_536, log_keep_bytes=2**20)

    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with own_daemon.client() as client:
        first = inside.submit(client, "sh", "-c", f"until [ -e {GATE} ]; do sleep 0.05; done")
        wait_until(lambda: client.status(first)["state"] == "running")
        queued = inside.submit(client, "seq", "1", "20000")
    own_daemon.kill()
    change_spec(own_daemon, queued, as_before)
    own_daemon.start()
    with own_daemon.client() as client:
        shown = client.status(queued)
        assert shown["state"] == "queued"
        assert shown["logs"] == {
            "segment_bytes": 65_536, "keep_bytes": 2**20, "keep_segments": 18,
            "compression": "none", "on_full": "wait",
        }  # fmt: skip
        with open(GATE, "wb"):
            pass
        stdout, _ = inside.output(client, queued)
        result = client.wait(queued)["result"]
    os.unlink(GATE)
    assert stdout == b"".join(b"%d\n" % number for number in range(1, 20_001))
    assert result is not None
    assert (result["exit_code"], result["log_dropped_bytes"]) == (0, 0)


def test_an_exit_record_of_an_older_monitor_says_nothing_of_what_was_dropped(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with own_daemon.client() as client:
        script = f"echo said; until [ -e {GATE} ]; do sleep 0.05; done; exit 3"
        job = inside.submit(client, "sh", "-c", script)
        inside.wait_for_output(client, job, b"said\n")
    own_daemon.kill()
    with open(GATE, "wb"):
        pass
    path = f"{own_daemon.state_dir}/jobs/{job}/exit"
    wait_until(lambda: os.path.exists(path))
    os.unlink(GATE)
    with open(path, "rb") as file:
        fields = records.unpack(file.read())
    assert fields.pop("log_dropped_bytes") == 0
    with open(path, "wb") as file:
        file.write(records.pack(fields))
    own_daemon.start()
    with own_daemon.client() as client:
        result = client.wait(job)["result"]
        assert inside.output(client, job) == (b"said\n", b"")
    assert result is not None
    assert (result["reason"], result["exit_code"]) == ("exit", 3)
    assert (result["log_bytes"], result["log_dropped_bytes"]) == (5, None)
