"""The gateway of the machine, as `init` makes it, beside a runnerd that lets it act for users."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.kernel import traces
from tests.kernel.gateway.harness import RunningGateway
from tests.kernel.harness import Daemon, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """[network]
linger_seconds = 0
[gateway]
user = "runner-gateway"
"""
POLICY = """
[[binding]]
match = "runnerd:user:alice"
user = "alice"
roles = ["submitter"]

[[binding]]
match = "runnerd:user:bob"
user = "bob"
roles = ["viewer"]
verbs = ["stats"]
"""


@pytest.fixture(scope="module")
def gateway(
    users: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """One for the tests of a module: alice may submit, bob may look."""
    directory, beside = tmp_path_factory.mktemp("gateway"), tmp_path_factory.mktemp("beside")
    before = traces.take(None)
    # pytest's own directories are closed to others, and the gateway is another account.
    for path in (directory, directory.parent, directory.parent.parent):
        path.chmod(0o755)
    with (
        Daemon(beside) as daemon,
        RunningGateway(daemon, directory / "etc") as gateway,
    ):
        made = gateway.command("init", "--user", "alice")
        assert made.returncode == 0, made.stderr
        issued = gateway.command("pki", "issue", "--user", "bob")
        assert issued.returncode == 0, issued.stderr
        (gateway.directory / "policy.toml").write_text(POLICY)
        daemon.config.write_text(CONFIG)
        daemon.start()
        gateway.start()
        yield gateway
        gateway.stop()
        daemon.forget_all_jobs()
        daemon.stop()
    shutil.rmtree("/var/log/runner-gateway", ignore_errors=True)
    wait_until(lambda: traces.take(None) == before, explain=lambda: traces.difference(before, None))
