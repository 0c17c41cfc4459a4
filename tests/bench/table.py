"""Every figure there is, in the order in which it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.figures_logs import BANDWIDTH, FOLLOW, FOLLOWERS
from tests.bench.figures_requests import REQUESTS, ROUND_TRIP
from tests.bench.figures_scale import CROWD, MEMORY, QUEUE
from tests.bench.figures_start import RATE, START, WHOLE

if TYPE_CHECKING:
    from tests.bench.kinds import Figure

FIGURES: Final[tuple[Figure, ...]] = (
    START, RATE, WHOLE, ROUND_TRIP, REQUESTS, BANDWIDTH, FOLLOW, FOLLOWERS, MEMORY, QUEUE, CROWD,
)  # fmt: skip
