"""An authority that is there, for tests of what is done with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.gateway.pki.commands import Office

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def empty(tmp_path: Path) -> Office:
    """A place for one."""
    return Office(tmp_path / "pki")


@pytest.fixture
def office(empty: Office) -> Office:
    """One with a server's certificate and alice's."""
    empty.do("init", "--server", "--user", "alice")
    return empty
