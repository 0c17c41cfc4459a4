"""What grpc has to find in the environment before it is imported. The first import of this package.

gRPC's library speaks TLS 1.2 and 1.3 and has no option to leave out the first. Its ciphers are an
option: with one that needs a secret shared beforehand, which there is none of, no handshake of TLS
1.2 comes about, while those of 1.3 are not chosen by it. `gateway.rpc.peer` looks once more.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_CIPHERS: Final = "GRPC_SSL_CIPHER_SUITES"
_NONE_OF_TLS_1_2: Final = "ECDHE-PSK-CHACHA20-POLY1305"


def prepare() -> None:
    """Raises RuntimeError when grpc was imported before, with other ciphers."""
    if "grpc" in sys.modules and os.environ.get(_CIPHERS) != _NONE_OF_TLS_1_2:
        raise RuntimeError("gateway.rpc has to be imported before grpc, for TLS 1.3 alone")
    os.environ[_CIPHERS] = _NONE_OF_TLS_1_2
    # Each handshake that fails is a line of its own; the gateway counts them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
