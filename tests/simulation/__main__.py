"""`scripts/simulate`: see tests.simulation.measure."""

from __future__ import annotations

import sys

from tests.simulation.measure import main

sys.exit(main())
