"""Metrics and traces of a real gateway at a real runnerd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from tests.kernel.gateway.harness import RunningGateway

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def scraped(gateway: RunningGateway, accept: str = "") -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    answer = gateway.rest("bob", "GET", "/metrics", Accept=accept)
    assert answer.status == 200, answer.body
    is_open = "openmetrics" in answer.headers["content-type"]
    families = (open_families if is_open else plain_families)(answer.body.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def run(gateway: RunningGateway, *argv: str, **headers: str) -> str:
    """A job of alice's, once it has ended: its id."""
    answer = gateway.rest("alice", "POST", "/jobs", {"argv": list(argv)}, **headers)
    assert answer.status == 201, answer.body
    job: str = answer.json["job"]

    def has_ended() -> bool:
        return bool(gateway.rest("alice", "GET", f"/jobs/{job}").json["state"] == "ended")

    wait_until(has_ended)
    return job


def test_a_job_is_seen_in_the_metrics_of_runnerd_and_of_the_gateway(
    gateway: RunningGateway,
) -> None:
    wait_until(lambda: scraped(gateway).get(("runnerd_up",)) == 1.0)
    before = scraped(gateway)
    run(gateway, "sh", "-c", "echo hello; exit 3")
    wait_until(
        lambda: (
            scraped(gateway)["runnerd_job_ends_total", "exit"]
            > before["runnerd_job_ends_total", "exit"]
        )
    )
    after = scraped(gateway, ACCEPT)

    def more(*name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more("runnerd_job_ends_total", "exit") == 1
    assert more("runnerd_jobs_submitted_total") == 1
    assert more("runnerd_launch_seconds_count") == 1
    assert more("runnerd_queue_wait_seconds_count") == 1
    assert more("runnerd_log_bytes_total") == len("hello\n")
    assert more("runner_gateway_requests_total", "rest", "ok", "submit") == 1
    assert more("runner_gateway_request_seconds_count", "rest", "submit") == 1
    assert more("runner_gateway_requests_total", "rest", "ok", "status") >= 1
    assert after["runner_gateway_connections",] >= 1
    assert after["runner_gateway_upstream_connections",] >= 1
    for name in ("certificate", "ca", "crl"):
        assert after["runner_gateway_expiry_timestamp_seconds", name] > 1_700_000_000


def test_no_user_job_or_certificate_is_named(gateway: RunningGateway) -> None:
    job = run(gateway, "true")
    body = gateway.rest("bob", "GET", "/metrics").body.decode()
    for word in (job, job[:8], "alice", "bob"):
        assert word not in body


def test_what_is_refused_is_counted(gateway: RunningGateway) -> None:
    before = scraped(gateway)
    assert gateway.rest("bob", "POST", "/jobs", {"argv": ["true"]}).status == 403
    name = ("runner_gateway_refusals_total", "not-permitted")
    assert scraped(gateway)[name] == before.get(name, 0) + 1


def test_a_runnerd_that_is_away_is_down_in_the_metrics(gateway: RunningGateway) -> None:
    gateway.daemon.kill()
    try:
        wait_until(lambda: scraped(gateway)["runnerd_up",] == 0.0)
    finally:
        gateway.daemon.start()
    wait_until(lambda: scraped(gateway)["runnerd_up",] == 1.0)


def test_a_job_is_told_of_the_trace_of_its_request(gateway: RunningGateway) -> None:
    job = run(gateway, "sh", "-c", 'echo "$TRACEPARENT $TRACESTATE"',
              traceparent=PARENT, tracestate="vendor=1")  # fmt: skip
    log = gateway.rest("alice", "GET", f"/v1/jobs/{job}/logs", Accept="text/plain")
    assert log.body.decode() == f"{PARENT} vendor=1\n"


def test_a_malformed_trace_is_none(gateway: RunningGateway) -> None:
    job = run(gateway, "sh", "-c", 'echo "${TRACEPARENT-none}"', traceparent="00-nonsense")
    log = gateway.rest("alice", "GET", f"/v1/jobs/{job}/logs", Accept="text/plain")
    assert log.body == b"none\n"


def test_a_certificate_for_the_metrics_alone_is_given_nothing_else(gateway: RunningGateway) -> None:
    issued = gateway.command("pki", "issue", "--user", "scraper")
    assert issued.returncode == 0, issued.stderr
    policy = gateway.directory / "policy.toml"
    before = policy.read_text()
    binding = '[[binding]]\nmatch = "runnerd:user:scraper"\nuser = "nobody"\nverbs = ["stats"]\n'
    policy.write_text(f"{before}\n{binding}")
    try:
        wait_until(lambda: gateway.rest("scraper", "GET", "/metrics").status == 200)
        assert gateway.rest("scraper", "GET", "/jobs").status == 403
    finally:
        policy.write_text(before)
    wait_until(lambda: gateway.rest("scraper", "GET", "/metrics").status == 403)
