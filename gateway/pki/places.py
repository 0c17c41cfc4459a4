"""Where things are in the directory of an authority.

DIR/                 0700, or 0750 with the gateway's group
  ca.crt             what clients and the gateway trust
  ca.crl             the revocation list in force
  server.crt .key    the gateway's own; the key 0600, or 0640 with its group
  clients/NAME/      0700: ca.crt, NAME.crt, NAME.key, to be carried to NAME
  authority/         0700: ca.key, ca.crt, index.json, issued/SERIAL.crt, lock
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Places(NamedTuple):
    """The paths."""

    directory: str

    @property
    def ca(self) -> str:
        """For everybody."""
        return os.path.join(self.directory, "ca.crt")

    @property
    def revocations(self) -> str:
        """For the gateway."""
        return os.path.join(self.directory, "ca.crl")

    @property
    def authority(self) -> str:
        """For nobody but who may sign."""
        return os.path.join(self.directory, "authority")

    @property
    def clients(self) -> str:
        """Until they are carried to their holders."""
        return os.path.join(self.directory, "clients")


class Inner(NamedTuple):
    """What is in `Places.authority`, wherever it is while it is made."""

    directory: str

    @property
    def key(self) -> str:
        """Who has it can be anybody."""
        return os.path.join(self.directory, "ca.key")

    @property
    def certificate(self) -> str:
        """As `Places.ca`."""
        return os.path.join(self.directory, "ca.crt")

    @property
    def register(self) -> str:
        """What was signed."""
        return os.path.join(self.directory, "index.json")

    @property
    def lock(self) -> str:
        """One at a time."""
        return os.path.join(self.directory, "lock")

    def issued(self, serial: str) -> str:
        """A copy of each certificate."""
        return os.path.join(self.directory, "issued", f"{serial}.crt")
