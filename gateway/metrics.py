"""The gateway's metrics: what it counts itself, what it can look up, and what runnerd says of jobs.

It is told, and decides nothing. Labels have few values, whatever somebody sends: an operation, a
code or an interface that is not known counts as `other`, and nothing of a job, user or certificate
is a label ever. How runnerd's answer becomes metrics is `gateway.metrics_runnerd`'s;
docs/METRICS.md is for people.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from client import __version__
from client.errors import ClientError, RequestRefused
from gateway.codes import CODES
from gateway.metrics_runnerd import RunnerdStats, families, read_stats
from gateway.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from client.protocol import Message

APIS: Final = frozenset({"rest", "grpc", "wire"})
OTHER: Final = "other"
# Of a reason that somebody else names, so many before it is `other`.
_MOST_REASONS: Final = 64
_STATS_SECONDS: Final = 5.0
# Whoever asks in between is given the same: several who scrape cost runnerd no more than one.
_FRESH_SECONDS: Final = 1.0
_LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MOST_ACCEPTED: Final = 32
_OPENMETRICS: Final = "application/openmetrics-text"
_logger: Final = logging.getLogger(__name__)


class Page(NamedTuple):
    """What `/metrics` answers."""

    content_type: str
    body: bytes


class Metrics:
    """All of them. `ask` gives runnerd's answer to `stats`, as the gateway itself, for nobody else.

    Safe to tell from the event loop's thread and from others.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Message]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Times of first counting: as many series again, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._ask = ask
        self._clock = clock
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "runner_gateway_requests", "Requests by outcome", ["api", "verb", "code"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "runner_gateway_request_seconds", "How long an answer took", ["api", "verb"],
            buckets=_LATENCIES, registry=registry,
        )  # fmt: skip
        self._streams = Gauge(
            "runner_gateway_streams", "Streams that are open", ["api"], registry=registry
        )
        for api in sorted(APIS):
            self._streams.labels(api)
        self._log_bytes = Counter(
            "runner_gateway_log_bytes", "Output that was handed out", registry=registry
        )
        self._refused = Counter(
            "runner_gateway_refusals", "What the gateway itself refused", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._turned_away = Counter(
            "runner_gateway_connections_refused", "Handshakes that failed, connections too many",
            ["reason"], registry=registry,
        )  # fmt: skip
        self._unanswered = Counter(
            "runner_gateway_stats_failures", "Times that runnerd gave no stats", ["code"],
            registry=registry,
        )  # fmt: skip
        self._reasons: set[str] = set()
        self._watched = _Watched()
        registry.register(self._watched)
        ProcessCollector(registry=registry)
        # The answer of runnerd, and until when it is good; who asks for the next.
        self._known: tuple[_Runnerd, float] = _Runnerd(None, is_up=False), float("-inf")
        self._asking: asyncio.Task[_Runnerd] | None = None
        self._said: str | None = None

    # What is told (`gateway.session.Meter`)

    def request(self, api: str, verb: str, code: str, seconds: float) -> None:
        """One request has been answered; `code` is `ok` or that of docs/PROTOCOL.md."""
        known = _api(api), verb if verb in VERBS else OTHER
        self._requests.labels(*known, _code(code)).inc()
        # How long somebody follows or waits for says nothing of the gateway.
        if verb not in VERBS or not (VERBS[verb].is_stream or VERBS[verb].is_long):
            self._seconds.labels(*known).observe(seconds)

    def stream_opened(self, api: str) -> None:
        """A stream is open."""
        self._streams.labels(_api(api)).inc()

    def stream_closed(self, api: str) -> None:
        """And closed again."""
        self._streams.labels(_api(api)).dec()

    def log_bytes(self, count: int) -> None:
        """So much output was handed out."""
        self._log_bytes.inc(count)

    def refused(self, reason: str) -> None:
        """The gateway itself refused something, with that code."""
        self._refused.labels(_code(reason)).inc()

    def connection_refused(self, reason: str) -> None:
        """A connection was not let in: a word of `gateway.handshakes` or `gateway.turnstile`."""
        if reason not in self._reasons and len(self._reasons) < _MOST_REASONS:
            self._reasons.add(reason)
        self._turned_away.labels(reason if reason in self._reasons else OTHER).inc()

    # What is looked up

    def watch(
        self,
        *,
        connections: Callable[[], int] | None = None,
        upstream_connections: Callable[[], int] | None = None,
        ends: Callable[[], Mapping[str, int]] | None = None,
        complaints: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """What to look at whenever somebody asks; what is not given stays as it was.

        `ends`: when certificates and lists end in Unix seconds, by `certificate`, `ca`, `crl`.
        `complaints`: why nobody is let in (`gateway.trust.Trust`).
        """
        given = {
            "connections": connections, "upstream_connections": upstream_connections,
            "ends": ends, "complaints": complaints,
        }  # fmt: skip
        self._watched.looks.update({name: look for name, look in given.items() if look is not None})

    # What is shown

    async def page(self, accept: str = "") -> Page:
        """All of them, in OpenMetrics if the Accept header names it, else in plain text 0.0.4."""
        shown = _All(self._registry, await self._runnerd())
        if _wants_openmetrics(accept):
            body: bytes = openmetrics.generate_latest(shown)  # type: ignore[no-untyped-call]
            return Page(openmetrics.CONTENT_TYPE_LATEST, body)
        return Page(CONTENT_TYPE_PLAIN_0_0_4, generate_latest(shown))

    async def render(self) -> bytes:
        """All of them as plain text."""
        return (await self.page()).body

    async def _runnerd(self) -> _Runnerd:
        """What runnerd says, asked once for everybody who wants to know at the same time."""
        known, until = self._known
        if self._ask is None or self._clock() < until:
            return known
        if self._asking is None:
            self._asking = asyncio.create_task(self._asked(self._ask))
        # Who goes away does not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def _asked(self, ask: Callable[[], Awaitable[Message]]) -> _Runnerd:
        try:
            found = await self._answer(ask)
            self._known = found, self._clock() + _FRESH_SECONDS
            return found
        finally:
            self._asking = None

    async def _answer(self, ask: Callable[[], Awaitable[Message]]) -> _Runnerd:
        try:
            async with asyncio.timeout(_STATS_SECONDS):
                stats = read_stats(await ask())
        except RequestRefused as error:
            return self._without(_code(error.code), str(error), is_up=True)
        except (ClientError, OSError, TimeoutError) as error:
            return self._without("unavailable", str(error), is_up=False)
        except msgspec.ValidationError as error:
            return self._without("unreadable", str(error), is_up=True)
        self._said = None
        return _Runnerd(stats, is_up=True)

    def _without(self, code: str, why: str, *, is_up: bool) -> _Runnerd:
        """It is said once, until it changes: somebody scrapes every few seconds."""
        self._unanswered.labels(code).inc()
        if code != self._said:
            self._said = code
            _logger.warning("runnerd gives no stats for /metrics (%s): %s", code, why)
        return _Runnerd(None, is_up=is_up)


class _Runnerd(NamedTuple):
    stats: RunnerdStats | None
    is_up: bool


class _All(Collector):
    """What one page shows, as an encoder takes it."""

    def __init__(self, registry: CollectorRegistry, runnerd: _Runnerd) -> None:
        self._registry, self._runnerd = registry, runnerd

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from families(self._runnerd.stats, is_up=self._runnerd.is_up)


class _Watched(Collector):
    """What is looked up when somebody asks."""

    def __init__(self) -> None:
        self.looks: dict[str, Callable[[], Any]] = {}

    def collect(self) -> Iterator[Metric]:
        about = GaugeMetricFamily(
            "runner_gateway_build_info", "The version, in its label", labels=["version"]
        )
        about.add_metric([__version__], 1)
        yield about
        yield from self._counts()
        if "ends" in self.looks:
            yield _ends(self.looks["ends"]())

    def _counts(self) -> Iterator[Metric]:
        for name, text in (
            ("connections", "Connections of clients, handshakes among them"),
            ("upstream_connections", "Connections to runnerd"),
        ):
            if name in self.looks:
                yield GaugeMetricFamily(f"runner_gateway_{name}", text, self.looks[name]())
        if "complaints" in self.looks:
            count = len(list(self.looks["complaints"]()))
            text = "Reasons for which nobody of an authority is let in"
            yield GaugeMetricFamily("runner_gateway_trust_problems", text, count)


def _ends(times: Mapping[str, int]) -> Metric:
    found = GaugeMetricFamily(
        "runner_gateway_expiry_timestamp_seconds",
        "When a certificate or revocation list in use ends, Unix time", labels=["of"],
    )  # fmt: skip
    for name, seconds in sorted(times.items()):
        found.add_metric([name], seconds)
    return found


def _api(name: str) -> str:
    return name if name in APIS else OTHER


def _code(name: str) -> str:
    return name if name in CODES or name == "ok" else OTHER


def _wants_openmetrics(accept: str) -> bool:
    """Whether a scraper takes OpenMetrics: asks for it, and not with `q=0` (RFC 9110, 12.5.1)."""
    for item in accept.split(",")[:_MOST_ACCEPTED]:
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        if kind == _OPENMETRICS:
            return not any(name in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for name in parameters)
    return False
