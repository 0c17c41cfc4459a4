"""What every troublemaker is: a thread that acts at random times until it is over."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from tests.torture.session import Session


class Trouble(threading.Thread):
    """One troublemaker; `act` does its harm once."""

    name_of_it = ""

    def __init__(self, session: Session, seconds: float, dice: Random) -> None:
        super().__init__(name=self.name_of_it, daemon=True)
        self.session = session
        self.dice = dice
        self._seconds = seconds

    def run(self) -> None:
        """Harm, at times that are exponentially distributed."""
        while not self.rest():
            with self.session.looking_after(None):
                self.act()
        with self.session.looking_after(None):
            self.make_good()

    def rest(self) -> bool:
        """Wait for the next time; True when it is over."""
        return self.session.over.wait(self.dice.expovariate(1 / self._seconds))

    def act(self) -> None:
        """Do it."""
        raise NotImplementedError

    def make_good(self) -> None:
        """Leave nothing of it."""

    def pause(self, most: float) -> None:
        """A while, however soon it is over."""
        time.sleep(self.dice.uniform(0.02, most))
