"""Keys picked at random: RANDOMKEY, and what eviction chooses from."""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, Final

from slotmesh.cluster.slots import SLOT_COUNT

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database

#: `sample_keys` draws so often per key, and looks no deeper into a crowded slot.
_DRAWS: Final = 16
_DEEPEST: Final = 512


def random_key(db: Database, rng: random.Random) -> bytes | None:
    """A key picked at random, expired ones included; None in an empty database.

    Outside a cluster keys are spread evenly, so a position in a random slot is drawn until there is a key: all are
    equally likely, and a large database needs a few draws only. In a cluster hash tags may crowd a slot, and a
    small database might need many draws: there all slots are weighed.
    """
    if not db.size:
        return None
    if not db.keyspace.clustered:
        fair = 2 * (db.size // SLOT_COUNT) + 4
        for _ in range(64):
            held = db.slots[rng.randrange(SLOT_COUNT)]
            position = rng.randrange(fair)
            if held is not None and position < len(held):
                return next(islice(held, position, None))
    used = [held for held in db.slots if held]
    held = rng.choices(used, weights=[len(part) for part in used])[0]
    return next(islice(held, rng.randrange(len(held)), None))


def sample_keys(db: Database, rng: random.Random, count: int) -> list[bytes]:
    """Up to `count` keys picked at random, one and the same perhaps more than once; for eviction.

    As `random_key`, but cheap whatever the distribution: where draws find too few keys (few keys, or hash tags that
    crowd a slot), one more look at all slots yields the rest, and of a crowded slot only its oldest keys are drawn.
    """
    found: list[bytes] = []
    if not db.size:
        return found
    slots, draw = db.slots, rng.random
    fair = 2 * (db.size // SLOT_COUNT) + 4
    for _ in range(_DRAWS * count):
        held = slots[int(draw() * SLOT_COUNT)]
        position = int(draw() * fair)
        if held is not None and position < len(held):
            if len(held) > fair:
                position = int(draw() * min(len(held), _DEEPEST))
            found.append(next(islice(held, position, None)))
            if len(found) == count:
                return found
    used = [held for held in slots if held]
    for held in rng.choices(used, weights=[len(part) for part in used], k=count - len(found)):
        found.append(next(islice(held, int(draw() * min(len(held), _DEEPEST)), None)))
    return found
