"""Our two nftables tables in the kernel: written, asked for, written again when dropped.

What is in them is `network.nft_rules`'s, who has a place in them `network.private_host`'s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from isolation.network import nft_base, nft_rules
from isolation.network.addresses import TABLE_PREFIX
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.host_bridge import remedy_for
from isolation.syscalls.nftables import Nftables

if TYPE_CHECKING:
    from isolation.network.addresses import Names

_FAMILIES: Final = frozenset({"ip", "bridge"})


class RuleTables:
    """For one thread, and the network namespace that it is in. Raises OSError when made."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._nft = Nftables()

    def run(self, script: str) -> None:
        """Carry a script out, all of it or nothing. Raises PrivateNetworkError."""
        try:
            self._nft.run(script)
        except OSError as error:
            raise self._refused(error) from error

    def remove(self) -> None:
        """Delete what is there of the tables. Raises PrivateNetworkError."""
        families = self._families()
        if families:
            self.run(nft_base.remove(self._names, sorted(families)))

    @property
    def complete(self) -> bool:
        """Whether both tables are there."""
        return self._families() == _FAMILIES

    def job_chains(self) -> set[str]:
        """The chains that were made for jobs."""
        if "ip" not in self._families():
            return set()
        found = self._objects("list chains ip", "chain")
        ours = (str(each["name"]) for each in found if each["table"] == self._names.table)
        return {name for name in ours if nft_rules.is_made_for_jobs(name)}

    def opened(self) -> tuple[str, ...]:
        """The interfaces that a runnerd made forward, as the rules remember."""
        if "ip" not in self._families():
            return ()
        return tuple(self._opened(self._names.table))

    def opened_by_others(self) -> set[str]:
        """The interfaces that other runnerds of this host made forward."""
        names = (str(t["name"]) for t in self._objects("list tables ip", "table"))
        others = (
            name for name in names if name.startswith(TABLE_PREFIX) and name != self._names.table
        )
        return {interface for name in others for interface in self._opened(name)}

    def close(self) -> None:
        """Let go of the library. The tables stay."""
        self._nft.close()

    def _opened(self, table: str) -> list[str]:
        found = self._objects(f"list set ip {table} opened", "set")
        return [str(name) for each in found for name in each.get("elem", [])]

    def _families(self) -> set[str]:
        found = self._objects("list tables", "table")
        return {str(each["family"]) for each in found if each["name"] == self._names.table}

    def _objects(self, command: str, kind: str) -> list[dict[str, Any]]:
        try:
            listed = json.loads(self._nft.show(command) or '{"nftables": []}')
        except OSError as error:
            raise self._refused(error) from error
        return [each[kind] for each in listed["nftables"] if kind in each]

    def _refused(self, error: OSError) -> PrivateNetworkError:
        step = f"change or read the rules of table {self._names.table}"
        return from_os_error(error, step, remedy_for(error.errno))
