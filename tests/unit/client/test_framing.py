"""A request becomes a frame, or names the field that cannot be one."""

from __future__ import annotations

import pytest

from client import protocol
from client.errors import RequestRefused
from client.framing import encode_request


def test_a_request_is_a_frame_of_id_op_and_args() -> None:
    frame = encode_request(7, "status", {"job": "3f2a"})
    assert protocol.frame_length(frame[:4]) == len(frame) - 4
    assert protocol.decode_body(frame[4:]) == {"id": 7, "op": "status", "args": {"job": "3f2a"}}


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"cursor": 2**70}, "cursor"),
        ({"limits": {"memory_max_bytes": -(2**64)}}, "limits.memory_max_bytes"),
        ({"limits": {"io": [{"path": "/"}, {"path": object()}]}}, "limits.io[1].path"),
        ({"job": "caf\udcff"}, "job"),
    ],
)
def test_what_msgpack_cannot_carry_is_refused_by_field(args: dict[str, object], field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        encode_request(1, "x", args)
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)
    assert caught.value.allowed


def test_a_request_above_the_frame_bound_is_refused_before_it_is_sent() -> None:
    with pytest.raises(RequestRefused, match="at most 4194304"):
        encode_request(1, "x", {"data": b"x" * protocol.MAX_FRAME_BYTES})
