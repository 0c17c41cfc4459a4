"""What the gateway counts and shows, read back as a scraper reads it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from gateway import metrics as metrics_module
from gateway.codes import CODES
from gateway.metrics import Metrics, Page
from gateway.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client.metrics_core import Metric

HISTOGRAM = {"bounds": [0.5, 1.0], "buckets": [1, 3], "sum_seconds": 12.5, "count": 4}
ANSWER: dict[str, Any] = {
    "started_ns": 1_700_000_000_500_000_000, "uptime_seconds": 9.5, "draining": False,
    "jobs": {"queued": 3, "starting": 0, "running": 2, "paused": 0, "ended": 17},
    "waiting": {"slots": 2, "held": 1},
    "capacity": {"slots": 256, "millicpus": 7500, "memory_bytes": 4096},
    "promised": {"jobs": 2, "millicpus": 500, "memory_bytes": 1024},
    "submitted": 22, "starts": 19, "requeued": 1, "retries": 2,
    "ends": {"exit": 15, "oom": 0}, "refusals": {"no-such-job": 4},
    "queue_wait": HISTOGRAM, "launch": HISTOGRAM,
    "cpu_usec": 1_500_000, "memory_bytes": 100, "log_bytes": 5, "connections": 2, "problems": 1,
    "store": {"rows": 22, "bytes": 8192},
}  # fmt: skip
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"


def page_of(metrics: Metrics, accept: str = "") -> Page:
    return asyncio.run(metrics.page(accept))


def samples(page: Page) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parsed(page)
        for sample in family.samples
    }


def parsed(page: Page) -> list[Metric]:
    is_open = page.content_type.startswith("application/openmetrics-text")
    return list((open_families if is_open else plain_families)(page.body.decode()))


def answering(answer: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def ask() -> dict[str, Any]:
        return answer

    return ask


def failing(error: Exception) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def ask() -> dict[str, Any]:
        raise error

    return ask


# What it counts


def test_requests_are_counted_by_interface_operation_and_code_and_timed() -> None:
    metrics = Metrics()
    metrics.request("rest", "status", "ok", 0.003)
    metrics.request("rest", "status", "no-such-job", 0.2)
    metrics.request("grpc", "submit", "ok", 0.02)
    found = samples(page_of(metrics))
    assert found["runner_gateway_requests_total", "rest", "ok", "status"] == 1
    assert found["runner_gateway_requests_total", "rest", "no-such-job", "status"] == 1
    assert found["runner_gateway_request_seconds_count", "rest", "status"] == 2
    assert found["runner_gateway_request_seconds_bucket", "rest", "0.005", "status"] == 1
    assert found["runner_gateway_request_seconds_sum", "grpc", "submit"] == 0.02


@pytest.mark.parametrize("verb", ["logs", "events", "exec", "wait", "drain"])
def test_how_long_somebody_follows_or_waits_is_no_latency(verb: str) -> None:
    metrics = Metrics()
    metrics.request("rest", verb, "ok", 3600)
    found = samples(page_of(metrics))
    assert found["runner_gateway_requests_total", "rest", "ok", verb] == 1
    assert not any(key[0].startswith("runner_gateway_request_seconds") for key in found)


@given(st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_whatever_somebody_sends_makes_no_new_label(sent: list[tuple[str, str, str]]) -> None:
    metrics = Metrics()
    for api, verb, code in sent:
        metrics.request(api, verb, code, 0.1)
        metrics.stream_opened(api)
        metrics.refused(code)
    known = {"rest", "grpc", "wire", "other", "ok", *VERBS, *CODES}
    for family in parsed(page_of(metrics)):
        if family.name.startswith("runner_gateway_") and family.name != "runner_gateway_build_info":
            for sample in family.samples:
                sample.labels.pop("le", None)
                assert set(sample.labels.values()) <= known


def test_reasons_of_refused_connections_are_few_whoever_makes_them_up() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.connection_refused(f"reason {number}")
    metrics.connection_refused("reason 0")
    found = samples(page_of(metrics))
    refused = {key: n for key, n in found.items() if "connections_refused" in key[0]}
    assert len(refused) == 65
    assert refused["runner_gateway_connections_refused_total", "other"] == 936
    assert refused["runner_gateway_connections_refused_total", "reason 0"] == 2


def test_streams_output_and_refusals_are_counted() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.stream_opened("wire")
    metrics.stream_closed("wire")
    metrics.log_bytes(1000)
    metrics.log_bytes(24)
    metrics.refused("too-many-requests")
    found = samples(page_of(metrics))
    assert found["runner_gateway_streams", "wire"] == 2
    assert found["runner_gateway_log_bytes_total",] == 1024
    assert found["runner_gateway_refusals_total", "too-many-requests"] == 1


# What it looks up


def test_what_is_watched_is_looked_up_whenever_somebody_asks() -> None:
    metrics, here = Metrics(), [1]
    assert ("runner_gateway_connections",) not in samples(page_of(metrics))
    metrics.watch(connections=lambda: here[0], upstream_connections=lambda: 4)
    metrics.watch(ends=lambda: {"certificate": 2000, "crl": 1000}, complaints=lambda: ["it ended"])
    here[0] = 7
    found = samples(page_of(metrics))
    assert found["runner_gateway_connections",] == 7
    assert found["runner_gateway_upstream_connections",] == 4
    assert found["runner_gateway_expiry_timestamp_seconds", "certificate"] == 2000
    assert found["runner_gateway_expiry_timestamp_seconds", "crl"] == 1000
    assert found["runner_gateway_trust_problems",] == 1


# What runnerd says


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_what_runnerd_says_is_shown_in_either_format(accept: str) -> None:
    found = samples(page_of(Metrics(answering(ANSWER)), accept))
    assert found["runnerd_up",] == 1
    assert found["runnerd_start_time_seconds",] == 1_700_000_000.5
    assert found["runnerd_jobs", "running"] == 2
    assert found["runnerd_jobs_waiting", "slots"] == 2
    assert found["runnerd_job_ends_total", "exit"] == 15
    assert found["runnerd_job_ends_total", "oom"] == 0
    assert found["runnerd_refusals_total", "no-such-job"] == 4
    assert found["runnerd_cpu_seconds_total",] == 1.5
    assert found["runnerd_memory_bytes",] == 100
    assert found["runnerd_log_bytes_total",] == 5
    assert found["runnerd_capacity_cpus",] == 7.5
    assert found["runnerd_promised_slots",] == 2
    for name in ("runnerd_queue_wait_seconds", "runnerd_launch_seconds"):
        assert found[f"{name}_bucket", "0.5"] == 1
        assert found[f"{name}_bucket", "1.0"] == 3
        assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count",] == 4
        assert found[f"{name}_sum",] == 12.5


@pytest.mark.parametrize(
    "error",
    [DaemonUnavailable("missing", "/s", "no socket", "start it"), ConnectionLost("no"),
     TimeoutError()],
)  # fmt: skip
def test_a_runnerd_that_is_away_is_down_and_the_gateways_own_are_shown(error: Exception) -> None:
    metrics = Metrics(failing(error))
    metrics.log_bytes(1)
    found = samples(page_of(metrics))
    assert found["runnerd_up",] == 0
    assert found["runner_gateway_log_bytes_total",] == 1
    assert found["runner_gateway_stats_failures_total", "unavailable"] == 1
    assert not any(key[0].startswith("runnerd_") for key in found if key[0] != "runnerd_up")


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (failing(RequestRefused("not-permitted")), "not-permitted"),
        (failing(RequestRefused("of-a-newer-one")), "other"),
        (answering({"jobs": []}), "unreadable"),
        (answering({**ANSWER, "launch": {**HISTOGRAM, "buckets": [1, "2"]}}), "unreadable"),
    ],
)
def test_a_runnerd_that_gives_no_stats_is_up_all_the_same(ask: Any, code: str) -> None:
    found = samples(page_of(Metrics(ask)))
    assert found["runnerd_up",] == 1
    assert found["runner_gateway_stats_failures_total", code] == 1


def test_what_a_newer_runnerd_says_beyond_it_is_left_aside() -> None:
    assert samples(page_of(Metrics(answering({**ANSWER, "news": 1}))))["runnerd_up",] == 1


def test_a_runnerd_that_says_nothing_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "_STATS_SECONDS", 0.01)

    async def never() -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    assert samples(page_of(Metrics(never)))["runnerd_up",] == 0


def test_why_there_are_no_stats_is_said_once_until_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Any] = [RequestRefused("not-permitted"), RequestRefused("not-permitted"), ANSWER,
                          RequestRefused("not-permitted")]  # fmt: skip
    now = iter(range(0, 100, 5))

    async def ask() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    metrics = Metrics(ask, clock=lambda: next(now))
    for said in (1, 1, 1, 2):
        page_of(metrics)
        assert len(caplog.records) == said


def test_many_who_ask_cost_runnerd_one_question() -> None:
    asked = []

    async def ask() -> dict[str, Any]:
        asked.append(1)
        await asyncio.sleep(0)
        return ANSWER

    async def test() -> None:
        now = 0.0
        metrics = Metrics(ask, clock=lambda: now)
        pages = await asyncio.gather(*(metrics.page() for _ in range(20)))
        assert all(samples(page)["runnerd_up",] == 1 for page in pages)
        await metrics.page()
        assert len(asked) == 1
        now = 1.5
        await metrics.page()
        assert len(asked) == 2

    asyncio.run(test())


def test_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    async def test() -> None:
        there = asyncio.Event()

        async def ask() -> dict[str, Any]:
            await there.wait()
            return ANSWER

        metrics = Metrics(ask)
        first = asyncio.create_task(metrics.page())
        second = asyncio.create_task(metrics.page())
        await asyncio.sleep(0)
        first.cancel()
        there.set()
        assert samples(await second)["runnerd_up",] == 1

    asyncio.run(test())


# How it is shown


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (OPENMETRICS, True),
        ("text/plain;q=0.9, Application/OpenMetrics-Text", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=1.0.0; q=0.000", False),
        ("application/openmetrics-texts", False),
        (f"{'text/x,' * 1000}application/openmetrics-text", False),
        (";;;,,,;q", False),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, is_open: bool) -> None:  # noqa: FBT001
    page = page_of(Metrics(), accept)
    assert page.content_type.startswith("application/openmetrics-text") is is_open
    assert page.body.endswith(b"# EOF\n") is is_open


@given(st.text())
def test_no_accept_header_fails_and_none_comes_back(accept: str) -> None:
    types = {page_of(Metrics()).content_type, page_of(Metrics(), OPENMETRICS).content_type}
    assert page_of(Metrics(), accept).content_type in types


def test_the_plain_text_is_to_be_had_by_itself() -> None:
    body = asyncio.run(Metrics(answering(ANSWER)).render())
    assert b"runnerd_up 1.0" in body


def test_the_document_has_every_metric_and_no_other() -> None:
    metrics = Metrics(answering(ANSWER))
    metrics.watch(
        connections=lambda: 1, upstream_connections=lambda: 1, ends=lambda: {"ca": 1},
        complaints=list,
    )  # fmt: skip
    metrics.request("rest", "status", "ok", 0.1)
    shown = {family.name: family.type for family in parsed(page_of(metrics, OPENMETRICS))}
    named = {
        name + ("_total" if kind == "counter" else "")
        for name, kind in shown.items()
        if not name.startswith("process_")
    }
    text = Path(__file__).parents[3].joinpath("docs", "METRICS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`", text, flags=re.MULTILINE)
    assert set(rows) == named
    assert len(rows) == len(named)
