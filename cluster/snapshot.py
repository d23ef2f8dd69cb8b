"""The live state of a node as a saved one, and back: the bridge between ``view`` and ``state_file``.

Handshakes are not saved. Three vars of ours are added: ``shardId``, ``fenceEpoch`` and ``guard`` (name/voters).
"""

from __future__ import annotations

from slotmesh.cluster.guard import GUARD_NAME, Guard
from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.slot_map import SlotMap
from slotmesh.cluster.state_file import SavedNode, SavedState, StateFileError, is_node_id
from slotmesh.cluster.terms import (
    FLAG_FAIL,
    FLAG_HANDSHAKE,
    FLAG_MYSELF,
    FLAG_NOADDR,
    FLAG_NOFAILOVER,
    FLAG_PFAIL,
    FLAG_PRIMARY,
    FLAG_REPLICA,
)
from slotmesh.cluster.view import ClusterView

VAR_SHARD_ID = "shardId"
VAR_FENCE_EPOCH = "fenceEpoch"
VAR_GUARD = "guard"
_OWN_VARS = (VAR_SHARD_ID, VAR_FENCE_EPOCH, VAR_GUARD)


def save_member(
    member: Member,
    slots: SlotMap,
    *,
    aux: tuple[tuple[str, str], ...] = (),
    plain_port: bool = False,
    told_ip: str = "",
) -> SavedNode:
    """One member as a line of ``nodes.conf`` or ``CLUSTER NODES``.

    ``plain_port`` shows the second client port; ``told_ip`` takes the place of the member's own.
    """
    port = member.pport if plain_port and member.pport else member.port
    mine = member.is_myself
    return SavedNode(
        node_id=member.node_id,
        address=NodeAddress(told_ip or member.ip, port, member.cport, member.hostname),
        flags=member.flags,
        primary_id=member.primary.node_id if member.primary is not None else "",
        ping_sent_ms=member.ping_sent_ms,
        pong_received_ms=member.pong_received_ms,
        config_epoch=member.told_epoch,
        connected=mine or (member.link is not None and member.link.up),
        slots=member.slots,
        migrating_to=tuple((slot, other.node_id) for slot, other in slots.migrating_to.items()) if mine else (),
        importing_from=tuple((slot, other.node_id) for slot, other in slots.importing_from.items()) if mine else (),
        aux=aux,
    )


def save_view(view: ClusterView, guard: Guard, *, with_aux: bool, extra: dict[str, str]) -> SavedState:
    """The whole state. ``extra``: vars of others to keep; ``with_aux``: in the form of stock 7.2 and later."""
    nodes = []
    for member in view.members:
        if member.in_handshake:
            continue
        aux: tuple[tuple[str, str], ...] = ()
        if with_aux and member.shard_id:
            aux = (("shard-id", member.shard_id),)
            if member.human_nodename:
                aux += (("nodename", member.human_nodename),)
        nodes.append(save_member(member, view.slots, aux=aux))
    variables = dict(extra)
    if view.myself.shard_id and not with_aux:
        variables[VAR_SHARD_ID] = view.myself.shard_id
    if guard.fence_epoch:
        variables[VAR_FENCE_EPOCH] = str(guard.fence_epoch)
    if guard.is_armed:
        variables[VAR_GUARD] = f"{guard.name}/{guard.voters}"
    return SavedState(tuple(nodes), view.epochs.current_epoch, view.epochs.last_vote_epoch, variables)


def foreign_vars(saved: SavedState) -> dict[str, str]:
    """The vars of a file that are neither stock's nor ours."""
    return {name: value for name, value in saved.variables.items() if name not in _OWN_VARS}


def restore_members(saved: SavedState, now_ms: int) -> tuple[Members, SlotMap]:
    """Members and slot map of a saved state; ``StateFileError`` when it does not say who we are."""
    mine = [node for node in saved.nodes if node.flags & FLAG_MYSELF]
    if len(mine) != 1:
        raise StateFileError(f"exactly one node must be flagged myself, not {len(mine)}")
    me = _restore_member(mine[0], now_ms)
    # What only others may say of us: no event would ever clear it, and a handshake would not be written back.
    me.in_handshake = me.no_address = me.pfail = me.failed = False
    me.role = me.role or FLAG_PRIMARY
    members = Members(me)
    for node in saved.nodes:
        if members.get(node.node_id) is None:
            members.add(_restore_member(node, now_ms))
    slots = SlotMap(members)
    for node in saved.nodes:
        member = members.get(node.node_id)
        assert member is not None
        if member.is_replica and node.primary_id and node.primary_id != node.node_id:
            members.attach(member, _known_or_new(members, node.primary_id, now_ms))
    for node in saved.nodes:
        owner = members.get(node.node_id)
        assert owner is not None
        slots.assign(node.slots - slots.assigned, owner)
        for slot, other in node.migrating_to:
            slots.set_migrating(slot, _known_or_new(members, other, now_ms))
        for slot, other in node.importing_from:
            slots.set_importing(slot, _known_or_new(members, other, now_ms))
    _restore_shard_ids(members, saved)
    return members, slots


def _known_or_new(members: Members, node_id: str, now_ms: int) -> Member:
    """A node that is referred to; one without a line of its own has no address yet."""
    member = members.get(node_id)
    if member is None:
        member = Member(node_id, now_ms, no_address=True)
        members.add(member)
    return member


def _restore_member(node: SavedNode, now_ms: int) -> Member:
    flags = node.flags
    role = flags & (FLAG_PRIMARY | FLAG_REPLICA)
    address = node.address
    met_ms = now_ms if flags & FLAG_HANDSHAKE else 0  # the others are no news
    member = Member(node.node_id, met_ms, role, address.ip, address.port, address.cport, hostname=address.hostname)
    member.is_myself = bool(flags & FLAG_MYSELF)
    member.no_address = bool(flags & FLAG_NOADDR)
    member.pfail = bool(flags & FLAG_PFAIL)
    member.failed = bool(flags & FLAG_FAIL)
    member.in_handshake = bool(flags & FLAG_HANDSHAKE)
    member.no_failover = bool(flags & FLAG_NOFAILOVER)
    member.failed_since_ms = now_ms if member.failed else 0
    member.ping_sent_ms = now_ms if node.ping_sent_ms else 0
    member.pong_received_ms = now_ms if node.pong_received_ms else 0
    # A replica's line shows its primary's epoch; it has none of its own.
    member.config_epoch = 0 if member.is_replica and node.primary_id else node.config_epoch
    return member


def _restore_shard_ids(members: Members, saved: SavedState) -> None:
    for node in saved.nodes:
        member = members.get(node.node_id)
        assert member is not None
        aux = dict(node.aux)
        member.shard_id = aux.get("shard-id", "")
        member.human_nodename = aux.get("nodename", "")
    me = members.myself
    told = saved.variables.get(VAR_SHARD_ID, "")
    if told and not is_node_id(told):
        raise StateFileError(f"bad {VAR_SHARD_ID}")
    me.shard_id = me.shard_id or told
    if me.primary is not None and me.shard_id:
        me.primary.shard_id = me.shard_id


def restore_guard(guard: Guard, saved: SavedState) -> None:
    """The guard and fence of a saved state; ``StateFileError`` when they are damaged."""
    fence = to_uint(saved.variables.get(VAR_FENCE_EPOCH, "0"))
    name, slash, told = saved.variables.get(VAR_GUARD, "").rpartition("/")
    voters = to_uint(told) if slash else 0
    if fence is None or voters is None or (slash and GUARD_NAME.match(name) is None):
        raise StateFileError(f"bad {VAR_FENCE_EPOCH} or {VAR_GUARD}")
    guard.restore(name, voters, fence)
