"""Jobs through a real gateway at a real runnerd: they are their users', and bounded as such."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from tests.kernel.gateway.harness import RunningGateway


def ended(gateway: RunningGateway, job: str) -> dict[str, object]:
    """A job's status once it has ended."""
    found: dict[str, object] = {}

    def has_ended() -> bool:
        found.update(gateway.rest("alice", "GET", f"/jobs/{job}").json)
        return found["state"] == "ended"

    wait_until(has_ended)
    return found


def test_a_job_runs_as_the_user_of_the_certificate(gateway: RunningGateway) -> None:
    answer = gateway.rest("alice", "POST", "/jobs", {"argv": ["sh", "-c", "id -un; pwd"]})
    assert answer.status == 201, answer.body
    job = answer.json["job"]
    status = ended(gateway, job)
    assert status["user"] == "alice"
    log = gateway.rest("alice", "GET", f"/v1/jobs/{job}/logs", Accept="text/plain")
    assert log.body == b"alice\n/home/alice\n"
    local = gateway.daemon.runctl("logs", job, user="alice")
    assert local.stdout == "alice\n/home/alice\n"


def test_limits_are_enforced_as_for_local_jobs(gateway: RunningGateway) -> None:
    body = {"argv": ["tail", "/dev/zero"], "limits": {"memory_max_bytes": 32 * 2**20}}
    job = gateway.rest("alice", "POST", "/jobs", body).json["job"]
    result = ended(gateway, job)["result"]
    assert isinstance(result, dict)
    assert result["reason"] == "oom"


def test_somebody_elses_job_does_not_exist(gateway: RunningGateway) -> None:
    job = gateway.rest("alice", "POST", "/jobs", {"argv": ["true"]}).json["job"]
    answer = gateway.rest("bob", "GET", f"/jobs/{job}")
    assert answer.status == 404
    assert answer.json["code"] == "no-such-job"


def test_a_viewer_submits_nothing_and_the_audit_log_says_so(gateway: RunningGateway) -> None:
    answer = gateway.rest("bob", "POST", "/jobs", {"argv": ["true"]})
    assert answer.status == 403
    with open("/var/log/runner-gateway/audit.log", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    (denied,) = [line for line in lines if line["decision"] == "denied"][-1:]
    assert (denied["subject"], denied["verb"]) == ("runnerd:user:bob", "submit")
    assert re.fullmatch("[0-9a-f]{16,}", denied["serial"])


def test_a_revoked_certificate_is_turned_away_within_seconds(gateway: RunningGateway) -> None:
    issued = gateway.command("pki", "issue", "--user", "mallory")
    assert issued.returncode == 0, issued.stderr
    assert gateway.rest("mallory", "GET", "/jobs").status == 403
    revoked = gateway.command("pki", "revoke", "mallory")
    assert revoked.returncode == 0, revoked.stderr

    def is_turned_away() -> bool:
        try:
            return gateway.rest("mallory", "GET", "/jobs").status == 401
        except OSError:
            return True

    wait_until(is_turned_away, 10)


def test_a_restart_of_runnerd_is_an_absence_and_loses_no_job(gateway: RunningGateway) -> None:
    body = {"argv": ["sh", "-c", "echo one; sleep 2; echo two"]}
    job = gateway.rest("alice", "POST", "/jobs", body).json["job"]
    gateway.daemon.kill()
    away = gateway.rest("alice", "GET", f"/jobs/{job}")
    assert away.status == 503
    assert int(away.headers["retry-after"]) >= 1
    gateway.daemon.start()
    assert ended(gateway, job)["state"] == "ended"
    log = gateway.rest("alice", "GET", f"/v1/jobs/{job}/logs", Accept="text/plain")
    assert log.body == b"one\ntwo\n"


def test_a_follower_stays_through_a_restart_of_runnerd(gateway: RunningGateway) -> None:
    ca, certificate, key = gateway.files("alice")
    body = {"argv": ["sh", "-c", "echo one; sleep 3; echo two"]}
    job = gateway.rest("alice", "POST", "/jobs", body).json["job"]
    follower = subprocess.Popen(
        ["curl", "-sSN", "--cacert", ca, "--cert", certificate, "--key", key,
         f"https://127.0.0.1:{gateway.rest_port}/v1/jobs/{job}/logs?follow=true&format=raw"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"one\n"
    gateway.daemon.kill()
    gateway.daemon.start()
    assert follower.communicate(timeout=30)[0] == b"two\n"
    assert follower.returncode == 0


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json"])
def test_what_tells_of_the_gateway_is_for_certificates_that_are_known(
    gateway: RunningGateway, path: str
) -> None:
    assert gateway.rest("alice", "GET", path).status == 200


def test_totals_of_all_users_are_for_whom_the_policy_gives_them(gateway: RunningGateway) -> None:
    assert gateway.rest("bob", "GET", "/metrics").status == 200
    assert gateway.rest("alice", "GET", "/metrics").status == 403


def test_both_interfaces_run_a_job_by_the_gateways_own_check(gateway: RunningGateway) -> None:
    done = gateway.command(
        "check", "--user", "alice", "--rest-port", str(gateway.rest_port),
        "--grpc-port", str(gateway.grpc_port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + gateway.log_text()
    assert done.stdout.count("hello from another machine") >= 2


def test_it_does_not_serve_as_root(gateway: RunningGateway) -> None:
    done = gateway.command("serve")
    assert done.returncode == 1
    assert "does not serve as root" in done.stderr
