"""Classic BPF over the data of a call: each instruction, and an end in any case."""

from __future__ import annotations

import struct

import pytest

from isolation.seccomp import bpf_machine as bpf

ARCH = 0xC000003E


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(bpf.INSTRUCTION.pack(*instruction) for instruction in instructions)


def test_the_data_lie_where_the_kernel_has_them() -> None:
    data = bpf.pack_data(39, ARCH, 1, 2**64 - 1)
    assert len(data) == 64
    for offset, expected in ((0, 39), (4, ARCH), (16, 1), (20, 0), (24, 2**32 - 1), (32, 0)):
        ran = bpf.run(
            program(
                (bpf.LOAD, 0, 0, offset), (bpf.IF_EQUAL, 0, 1, expected),
                (bpf.RETURN, 0, 0, 1), (bpf.RETURN, 0, 0, 0),
            ),
            data,
        )  # fmt: skip
        assert ran == 1, offset


@pytest.mark.parametrize(
    ("code", "k", "holds"),
    [
        (bpf.IF_EQUAL, 39, True), (bpf.IF_EQUAL, 40, False), (bpf.IF_GREATER, 38, True),
        (bpf.IF_GREATER, 39, False), (bpf.IF_GREATER_OR_EQUAL, 39, True),
        (bpf.IF_GREATER_OR_EQUAL, 40, False),
    ],
)  # fmt: skip
def test_comparisons(code: int, k: int, holds: bool) -> None:  # noqa: FBT001
    compared = program(
        (bpf.LOAD, 0, 0, 0), (code, 1, 0, k), (bpf.RETURN, 0, 0, 0), (bpf.RETURN, 0, 0, 1)
    )
    assert bpf.run(compared, bpf.pack_data(39, ARCH)) == int(holds)


def test_masks_and_far_jumps() -> None:
    jumping = program(
        (bpf.LOAD, 0, 0, 0), (bpf.AND, 0, 0, 7), (bpf.JUMP, 0, 0, 1), (bpf.RETURN, 0, 0, 9),
        (bpf.IF_EQUAL, 0, 1, 39 & 7), (bpf.RETURN, 0, 0, 1), (bpf.RETURN, 0, 0, 2),
    )  # fmt: skip
    assert bpf.run(jumping, bpf.pack_data(39, ARCH)) == 1


def test_what_is_not_understood_is_an_error_and_no_verdict() -> None:
    data = bpf.pack_data(1, ARCH)
    with pytest.raises(ValueError, match="not an instruction"):
        bpf.run(program((0x99, 0, 0, 0)), data)
    with pytest.raises(struct.error):
        bpf.run(program((bpf.JUMP, 0, 0, 5)), data)
    with pytest.raises(struct.error):
        bpf.run(b"", data)
