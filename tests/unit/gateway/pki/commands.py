"""`runner-gateway pki` as the tests run it: in this process, in a directory of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from click.testing import CliRunner
from cryptography import x509

from gateway.pki import index as register
from gateway.pki.commands import pki
from gateway.pki.places import Inner, Places

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.pki.index import Entry, Index


class Told(NamedTuple):
    """What a verb answered."""

    status: int
    text: str


class Office:
    """An authority's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, *words: str) -> Told:
        """Runs a verb, whatever comes of it. An error is a sentence, never a traceback."""
        done = CliRunner().invoke(pki, [words[0], *self._where(words[0]), *words[1:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Told(done.exit_code, done.output)

    def do(self, *words: str) -> str:
        """Runs a verb that has to work."""
        told = self.ask(*words)
        assert told.status == 0, told.text
        return told.text

    def fail(self, *words: str) -> str:
        """Runs a verb that has to be refused."""
        told = self.ask(*words)
        assert told.status != 0, told.text
        return told.text

    def certificate(self, name: str) -> x509.Certificate:
        """That of a file below the directory."""
        return x509.load_pem_x509_certificate((self.path / name).read_bytes())

    def revocations(self) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl((self.path / "ca.crl").read_bytes())

    def index(self) -> Index:
        return register.load(Inner(Places(str(self.path)).authority).register)

    def entries(self, name: str) -> list[Entry]:
        return self.index().by_name(name)

    def _where(self, verb: str) -> list[str]:
        return [] if verb == "show" else ["--dir", str(self.path)]
