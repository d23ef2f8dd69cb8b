"""What the shards of a guarded cluster are called, so that all sentinels call them alike.

A unit is called NAME/<first 8 hex digits of the shard id>. Servers of stock 7.0 have no shard ids; there the id of the
shard's first known primary serves, and stays when the primary changes. As two sentinels may have met the shard with
different primaries, a sentinel that starts listens to the others' hello messages first (`NAMING_MS`) and takes over
their names as it hears them. It need not where no sentinel has guarded a node of ours yet: there is no name to take
over, and those that start together find the same primaries. Should names differ after all (also: because a shard got
another id), everybody moves to the alphabetically first one.
"""

from __future__ import annotations

import re

from slotmesh.sentinel.effects import WARNING
from slotmesh.sentinel.hello import Hello
from slotmesh.sentinel.instance import Guard, Unit
from slotmesh.sentinel.state import Context
from slotmesh.sentinel.topology import ShardView

NAMING_MS = 2_500
"""How long a new guard listens for the names other sentinels use: one publish period and a bit."""

HEARD_MS = 50
"""When a name was heard, those of the other shards follow at once: the shards are looked at after so long."""

UNIT_ID_LENGTH = 8
_UNIT_ID = re.compile(r"[0-9A-Za-z]{1,40}")

MAX_HEARD = 4_096
"""Names remembered per cluster: anybody may publish on the hello channel."""


class UnitNames:
    """Finds, takes over and settles the names of units."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._heard: dict[str, dict[str, Hello]] = {}  # guard name -> unit id -> hello that used it

    def forget(self, guard: Guard) -> None:
        self._heard.pop(guard.name, None)

    def name_for(self, guard: Guard, shard: ShardView) -> str | None:
        """The name for a shard that has no unit yet; None while it is too early to tell, or when it is taken."""
        unit_id = self._adopted_id(guard, shard)
        if unit_id is None:
            if not shard.shard_id and self._ctx.now_ms < guard.names_settled_ms:
                guard.ask_again_ms = guard.names_settled_ms
                return None
            unit_id = (shard.shard_id or shard.primary.node_id)[:UNIT_ID_LENGTH]
        name = f"{guard.name}/{unit_id}"
        # Two shards whose ids begin alike: the second one waits until a hello names it.
        return None if name in self._ctx.units else name

    def _adopted_id(self, guard: Guard, shard: ShardView) -> str | None:
        """What another sentinel calls this shard, if it was heard."""
        for unit_id, hello in self._heard.get(guard.name, {}).items():
            if f"{guard.name}/{unit_id}" not in self._ctx.units and self._means(hello, unit_id, shard):
                return unit_id
        return None

    def _means(self, hello: Hello, unit_id: str, shard: ShardView) -> bool:
        if any(view.node_id.startswith(unit_id) for view in shard.members()):
            return True
        address = self._ctx.address(shard.primary.host, shard.primary.port)
        return self._ctx.same_host(address, hello.primary_host, hello.primary_port)

    def find_unit(self, hello: Hello) -> Unit | None:
        """A hello about a unit name we do not have: remember it, and rename our unit if theirs comes first."""
        guard_name, slash, unit_id = hello.unit_name.partition("/")
        guard = self._ctx.guards.get(guard_name)
        if guard is None or not slash or _UNIT_ID.fullmatch(unit_id) is None:
            return None
        heard = self._heard.setdefault(guard_name, {})
        if unit_id not in heard and guard.ask_again_ms > self._ctx.now_ms:  # a shard may wait for this name
            guard.ask_again_ms = min(guard.ask_again_ms, self._ctx.now_ms + HEARD_MS)
            self._ctx.touch(guard)
        if unit_id in heard or len(heard) < MAX_HEARD:
            heard[unit_id] = hello
        for unit in guard.units.values():
            at_primary = self._ctx.same_host(unit.primary.address, hello.primary_host, hello.primary_port)
            by_id = any(member.node_id.startswith(unit_id) for member in unit.members())
            if at_primary or by_id:
                if hello.unit_name < unit.name:
                    self._rename(guard, unit, hello.unit_name)
                    return unit
                return None  # they will move to our name when they hear it
        return None

    def _rename(self, guard: Guard, unit: Unit, name: str) -> None:
        self._ctx.emit(WARNING, "-monitor", unit)
        del guard.units[unit.name]
        del self._ctx.units[unit.name]
        unit.name = unit.primary.name = name
        guard.units[name] = self._ctx.units[name] = unit
        self._ctx.emit(WARNING, "+monitor", unit, f" quorum {guard.settings.quorum}")
        self._ctx.persist()
