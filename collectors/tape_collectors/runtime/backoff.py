"""When to try again: the delays are a generator."""

from __future__ import annotations

import random
from collections.abc import Iterator

CAP_S = 60.0


def delays(first_s: float = 0.25, cap_s: float = CAP_S, chance: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: nearly none, then full jitter under a ceiling that doubles up to ``cap_s``.

    The caller throws the generator away after *data* came (not after a mere connect), and begins another.
    """
    chance = chance or random.Random()
    yield chance.uniform(0, first_s)
    ceiling = first_s * 2
    while True:
        yield chance.uniform(ceiling / 4, ceiling)
        ceiling = min(cap_s, ceiling * 2)
