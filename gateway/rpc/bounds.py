"""What the gRPC server takes and gives at most, and what that is called among gRPC's options. Pure.

Of requests a second and streams the session's bounds are asked (`gateway.rates`). Sources:
grpc/include/grpc/impl/channel_arg_names.h; docs of "keepalive".
"""

from __future__ import annotations

from typing import Final, NamedTuple

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB


class Bounds(NamedTuple):
    """Sizes in bytes, times in seconds; `_each` of one certificate.

    `slow_seconds`: for so long a call may wait for its message, and one that is written for its
    reader. `reads_each`: so many messages are received at once, of `max_request_bytes` each.
    """

    max_request_bytes: int = 4 * _MIB
    max_metadata_bytes: int = 16 * _KIB
    max_connections: int = 1024
    calls_each: int = 96
    reads_each: int = 8
    streams_of_a_connection: int = 128
    slow_seconds: float = 30.0
    handshake_seconds: float = 10.0
    idle_seconds: float = 300.0
    age_seconds: float = 3600.0
    age_grace_seconds: float = 86400.0


# Answers are runnerd's frames, of at most 4 MiB, in other words.
_MAX_ANSWER: Final = 8 * _MIB
_WINDOW: Final = 64 * _KIB
_PING_SECONDS: Final = 30.0
_PONG_SECONDS: Final = 15.0


def options(bounds: Bounds) -> list[tuple[str, int]]:
    """For grpc.aio.server."""
    return [
        ("grpc.max_receive_message_length", bounds.max_request_bytes),
        ("grpc.max_send_message_length", _MAX_ANSWER),
        ("grpc.max_metadata_size", bounds.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", bounds.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", bounds.max_connections),
        ("grpc.max_concurrent_streams", bounds.streams_of_a_connection),
        ("grpc.server_handshake_timeout_ms", _ms(bounds.handshake_seconds)),
        ("grpc.max_connection_idle_ms", _ms(bounds.idle_seconds)),
        # Calls that go on then may, as long as a job may take; new ones come by a new connection.
        # Who calls is asked again all the while (`gateway.rpc.guard`).
        ("grpc.max_connection_age_ms", _ms(bounds.age_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(bounds.age_grace_seconds)),
        # A peer that is gone is noticed, and so is one that does not read.
        ("grpc.keepalive_time_ms", _ms(_PING_SECONDS)),
        ("grpc.keepalive_timeout_ms", _ms(_PONG_SECONDS)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping as often as every 10 s; after the second time too many they are cut off.
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(10)),
        ("grpc.http2.max_ping_strikes", 2),
        # What a call may send before it is read; by itself it would grow to 16 MiB.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW),
        # Not beside another server that nobody knows of.
        ("grpc.so_reuseport", 0),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
