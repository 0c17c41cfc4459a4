"""The caller's trace, read from its headers and handed to its jobs: W3C Trace Context.

The gateway makes no spans: it passes on what it is given, as somebody who takes no part in a trace
is to (w3.org/TR/trace-context, 3). What comes in is anybody's: bounded before it is parsed, and
what is malformed is no trace, never an error. What goes out is made anew from the parsed values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Self, TypeAlias

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str | bytes]]

_PARENT: Final = "traceparent"
_STATE: Final = "tracestate"
# One of version 00 has 55; a later version may be longer.
_MOST_PARENT: Final = 128
# What is to be passed on at least (3.3.1.5); nobody is owed more.
_MOST_STATE: Final = 512
_MOST_HEADERS: Final = 8
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Trace(msgspec.Struct, frozen=True):
    """Where in which trace a request belongs: ids in lower-case hex, `flags` a byte.

    `state` is what systems on the way keep for themselves, empty without.
    """

    trace_id: str
    parent_id: str
    flags: int
    state: str = ""

    @classmethod
    def from_headers(cls, headers: Headers) -> Self | None:
        """The trace that headers or metadata name; None: none that is valid.

        Give pairs, or what has all of them as its items, so that two of a name are seen. A
        `tracestate` that is wrong or long is left out, and the trace still counts.
        """
        parents, states = _named(headers)
        # Two parents are none (3.2.1).
        if len(parents) != 1 or not _is_clean(parents[0], _MOST_PARENT):
            return None
        state = ",".join(states)
        carrier = {_PARENT: parents[0]}
        if _is_clean(state, _MOST_STATE):
            carrier[_STATE] = state
        span = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
        if not span.is_valid:
            return None
        kept = span.trace_state.to_header() if span.trace_state else ""
        return cls(f"{span.trace_id:032x}", f"{span.span_id:016x}", int(span.trace_flags), kept)


def environment(trace: Trace) -> Mapping[str, str]:
    """TRACEPARENT and TRACESTATE for a job: how a program learns of them that has no headers."""
    span = SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(trace.flags),
        trace_state=TraceState.from_header([trace.state]) if trace.state else None,
    )
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(NonRecordingSpan(span), Context()))
    return {name.upper(): value for name, value in carrier.items()}


def _named(headers: Headers) -> tuple[list[str], list[str]]:
    """What is given as `traceparent` and as `tracestate`, in order."""
    found: dict[str, list[str]] = {_PARENT: [], _STATE: []}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        kept = found.get(name.lower())
        if kept is not None and len(kept) < _MOST_HEADERS:
            kept.append(_text(value))
    return found[_PARENT], found[_STATE]


def _text(value: str | bytes) -> str:
    """Metadata of gRPC may be bytes; what is no ASCII is no trace."""
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _is_clean(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isprintable()
