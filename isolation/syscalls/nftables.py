"""libnftables, the library behind nft(8): a script in its language, carried out as a whole.

Daemon only, and imported when the first private network is made: not part of the lean set.
Which rules there are is decided in `isolation.network.nft_rules`.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

from isolation.syscalls.common import failed

LIBRARY: Final = "libnftables.so.1"
# nftables/libnftables.h
_OUTPUT_JSON: Final = 1 << 4
# What the kernel's answers become in the library's texts; it keeps no errno.
_NUMBERS: Final = {
    "No such file or directory": errno.ENOENT,
    "File exists": errno.EEXIST,
    "Operation not permitted": errno.EPERM,
    "Device or resource busy": errno.EBUSY,
    "not supported": errno.EOPNOTSUPP,
}


def _load() -> ctypes.CDLL:
    """Raises OSError when the library is not installed."""
    library = ctypes.CDLL(LIBRARY)
    context = ctypes.c_void_p
    library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    library.nft_ctx_new.restype = context
    library.nft_ctx_free.argtypes = (context,)
    library.nft_ctx_free.restype = None
    library.nft_ctx_output_set_flags.argtypes = (context, ctypes.c_uint)
    library.nft_ctx_output_set_flags.restype = None
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = (context,)
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = (context,)
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = (context, ctypes.c_char_p)
    return library


class Nftables:
    """The nftables of the network namespace that the making thread is in.

    For one thread at a time. Raises OSError (ENOENT) when the library is not there.
    """

    def __init__(self) -> None:
        try:
            self._library = _load()
        except OSError as error:
            raise OSError(errno.ENOENT, str(error)) from error
        self._context: int | None = self._library.nft_ctx_new(0)
        if self._context is None:
            raise failed(errno.ENOMEM, "nft_ctx_new(0)")
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, script: str) -> None:
        """Carry out every line, or none of them. nft(8).

        Raises OSError with the library's words: ENOENT when something that a line speaks of
        is not there, EPERM without CAP_NET_ADMIN, EINVAL for all that has no number here.
        """
        self._run(script, 0)

    def show(self, command: str) -> str:
        """What a `list` command prints, as JSON. libnftables-json(5). Raises OSError."""
        return self._run(command, _OUTPUT_JSON)

    def close(self) -> None:
        """Let go of the library's memory and socket. Harmless to repeat."""
        context, self._context = self._context, None
        if context is not None:
            self._library.nft_ctx_free(context)

    def _run(self, text: str, flags: int) -> str:
        if self._context is None:
            raise failed(errno.EBADF, "nft_run_cmd_from_buffer after nft_ctx_free")
        self._library.nft_ctx_output_set_flags(self._context, flags)
        result = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        said = self._library.nft_ctx_get_error_buffer(self._context) or b""
        shown = self._library.nft_ctx_get_output_buffer(self._context) or b""
        if result != 0:
            raise _error(said.decode(errors="replace"))
        return str(shown.decode(errors="replace"))


def _error(said: str) -> OSError:
    """The library's complaint, of which the first line says what the matter is."""
    first = said.strip().partition("\n")[0] or "it gave no reason"
    number = next((number for text, number in _NUMBERS.items() if text in first), errno.EINVAL)
    error = OSError(number, f"nftables: {first.rpartition('Error: ')[2]}")
    error.add_note(said)
    return error
