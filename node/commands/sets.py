"""Set commands on one set, and SMOVE. Unions, intersections and differences are in `sets_algebra.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT, server_deletion
from slotmesh.node.base.errors import CommandError
from slotmesh.node.keyspace.notify import GENERIC, SET
from slotmesh.node.resp.values import OrderedSet
from slotmesh.node.spec.arguments import positive_count, random_count
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_INSERT, KEY_READ, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.set import HASHTABLE, SetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEY_LOOK: Final = key_at(b"RO")
_KEY_POP: Final = key_at(b"RW", b"ACCESS", b"DELETE")
_KEYS_MOVE: Final = _KEY_POP + key_at(b"RW", b"INSERT", index=2)
_ANY_OUTPUT: Final = (b"nondeterministic_output",)
#: Members that one SREM which stands for a SPOP takes out, at level 7.2.
_SREM_MEMBERS: Final = 1024
#: SPOP rebuilds the set when it takes this many times more than it leaves.
_REBUILD_FACTOR: Final = 5
#: Distinct random members are drawn one by one only from sets this many times larger than the draw.
_DRAW_FACTOR: Final = 3


@command(
    "sadd",
    arity=-3,
    syntax="key member [member ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members to add",
    summary="Adds members to a set; the number of new ones.",
)
def cmd_sadd(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write(key)
    if type(value) is not SetValue:
        value = db.create(key, value, SetValue)
    if value.form != HASHTABLE and COMPAT.newer:
        value.expect(argv[2], len(argv) - 2)
    if len(argv) == 3:
        if not value.add(argv[2]):
            return 0
        added = 1
    else:
        added = sum(map(value.add, argv[2:]))
        if not added:
            return 0
    db.changed(key, SET, b"sadd", added)
    return added


@command(
    "srem",
    arity=-3,
    syntax="key member [member ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members to remove",
    summary="Removes members; the set goes with its last one.",
)
def cmd_srem(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write_as(key, SetValue)
    if value is None:
        return 0
    removed = 0
    for member in argv[2:]:
        removed += value.remove(member)
    if removed:
        db.changed(key, SET, b"srem", removed)
        db.drop_if_empty(key, value)
    return removed


@command(
    "smove",
    arity=4,
    syntax="source destination member",
    flags=WRITE | FAST,
    keys=_KEYS_MOVE,
    group="set",
    since="1.0.0",
    complexity="O(1)",
    summary="Moves a member from one set to another.",
)
def cmd_smove(client: NodeClient, argv: list[bytes]) -> Any:
    _, source, target, member = argv
    db = client.db
    value = db.write(source)
    if value is None:
        return 0
    if type(value) is not SetValue:
        raise CommandError(errors.WRONG_TYPE)
    other = db.write_as(target, SetValue)
    if other is value:
        return int(member in value)
    if not value.remove(member):
        return 0
    db.changed(source, SET, b"srem")
    db.drop_if_empty(source, value)
    if other is None:
        other = SetValue()
        if COMPAT.newer:
            other.expect(member, 1)
        db.put(target, other)
    if other.add(member):
        db.changed(target, SET, b"sadd")
    return 1


@command(
    "sismember",
    arity=3,
    syntax="key member",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="set",
    since="1.0.0",
    complexity="O(1)",
    summary="Tells whether a set has a member.",
)
def cmd_sismember(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SetValue)
    return 1 if value is not None and argv[2] in value.members else 0


@command(
    "smismember",
    arity=-3,
    syntax="key member [member ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="set",
    since="6.2.0",
    complexity="O(N), N the number of members asked for",
    summary="Tells which of several members a set has.",
)
def cmd_smismember(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SetValue)
    members = value.members if value is not None else ()
    return [1 if member in members else 0 for member in argv[2:]]


@command(
    "scard",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="set",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the number of members.",
)
def cmd_scard(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SetValue)
    return 0 if value is None else len(value.members)


@command(
    "smembers",
    arity=2,
    syntax="key",
    flags=READONLY,
    keys=KEY_READ,
    group="set",
    since="1.0.0",
    complexity="O(N), N the size of the set",
    summary="Returns all members.",
    tips=(b"nondeterministic_output_order",),
)
def cmd_smembers(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SetValue)
    return OrderedSet([] if value is None else value.listed())


def _pop_many(client: NodeClient, argv: list[bytes]) -> Any:
    """SPOP with a count: a set of distinct members. Propagated as what it came to: SREM, or DEL when all went."""
    db, key = client.db, argv[1]
    count = positive_count(argv[2])
    value = db.write_as(key, SetValue)
    if value is None or not count:
        return OrderedSet([])
    size = len(value)
    if count >= size:
        # What leaves the keyspace is taken apart later on: it must not share its members with the reply.
        taken, value.members = value.members, set()
        db.changed(key, SET, b"spop", size)
        db.delete(key)
        db.changed(key, GENERIC, b"del", 0)
        client.propagate_as([server_deletion(client.server.config), key])
        return OrderedSet(list(taken))
    rng = client.server.rng
    if (size - count) * _REBUILD_FACTOR > count:
        taken = {value.pop_random(rng) for _ in range(count)}
    else:
        kept = {value.pop_random(rng) for _ in range(size - count)}
        taken, value.members = value.members, set()
        db.put(key, SetValue(kept))
    db.changed(key, SET, b"spop", count)
    members = list(taken)
    # Level 7.2 spares replicas and log one huge command.
    step = _SREM_MEMBERS if COMPAT.newer else count
    client.propagate_as(*([b"SREM", key, *members[start : start + step]] for start in range(0, count, step)))
    return OrderedSet(members)


@command(
    "spop",
    arity=-2,
    syntax="key [count]",
    flags=WRITE | FAST,
    keys=_KEY_POP,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members returned",
    summary="Removes random members and returns them.",
    tips=_ANY_OUTPUT,
)
def cmd_spop(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 3:
        return _pop_many(client, argv)
    if len(argv) > 3:
        raise CommandError(errors.SYNTAX)
    db, key = client.db, argv[1]
    value = db.write_as(key, SetValue)
    if value is None:
        return None
    member = value.pop_random(client.server.rng)
    db.changed(key, SET, b"spop")
    db.drop_if_empty(key, value)
    client.propagate_as([b"SREM", key, member])
    return member


@command(
    "srandmember",
    arity=-2,
    syntax="key [count]",
    flags=READONLY,
    keys=KEY_READ,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members returned",
    summary="Returns random members.",
    tips=_ANY_OUTPUT,
)
def cmd_srandmember(client: NodeClient, argv: list[bytes]) -> Any:
    """A positive count gives distinct members, a negative one exactly that many, repeats allowed."""
    if len(argv) > 3:
        raise CommandError(errors.SYNTAX)
    rng = client.server.rng
    if len(argv) == 2:
        value = client.db.read_as(argv[1], SetValue)
        return None if value is None else value.random_member(rng)
    count = random_count(argv[2])
    value = client.db.read_as(argv[1], SetValue)
    if value is None or not count:
        return []
    if count < 0:
        return [value.random_member(rng) for _ in range(-count)]
    size = len(value)
    if count >= size:
        return value.listed()
    if count * _DRAW_FACTOR > size:
        return rng.sample(list(value.members), count)
    chosen: dict[bytes, None] = {}
    while len(chosen) < count:
        chosen[value.random_member(rng)] = None
    return list(chosen)
