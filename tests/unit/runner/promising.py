"""A store that promises, a disk that is synced or fails, and a loop whose turns the test takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.settling import Settling
from runner.store_file import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable


class Ground:
    """What a `Settling` stands on, and one. What it does is noted in `done`."""

    def __init__(self) -> None:
        parts: Any = self
        self.done: list[str] = []
        self.is_failing = False
        self._due: list[tuple[Callable[..., None], Any]] = []
        self._on_promised: Callable[[], None] | None = None
        self._is_settled = True
        self.settling = Settling(parts, parts, self._failed)

    # As the store
    def share_syncs(self, on_promised: Callable[[], None] | None) -> None:
        self._on_promised = on_promised

    def settle(self) -> None:
        if self._is_settled:
            return
        if self.is_failing:
            raise StoreError("it cannot be synced")
        self.done.append("sync")
        self._is_settled = True

    # As the loop
    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        self._due.append((callback, args))

    # The test's
    def promise(self) -> None:
        """Something is committed that somebody is promised."""
        self._is_settled = False
        assert self._on_promised is not None
        self._on_promised()

    def note(self, what: str) -> Callable[[], None]:
        return lambda: self.done.append(what)

    def turn(self) -> None:
        due, self._due = self._due, []
        for callback, args in due:
            callback(*args)

    def rest(self) -> None:
        """Until nothing is due."""
        while self._due:
            self.turn()

    def _failed(self, error: StoreError) -> None:
        self.done.append(f"failed: {error}")
