"""Which node serves a command: the redirections of Redis Cluster.

`check` is the full rule, for one command; the order of its steps is the stock server's, because clients depend on which
of two errors they see. `served` is its short form for the data plane: one byte per slot, true when any command on a
single key of that slot may run here without another look.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from slotmesh.cluster.slots import SLOT_COUNT, key_slot
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_ASKING
from slotmesh.node.spec import registry

if TYPE_CHECKING:
    from slotmesh.cluster.members import Member
    from slotmesh.cluster.view import ClusterView
    from slotmesh.node.clients.client import Client
    from slotmesh.node.spec.registry import CommandSpec
    from slotmesh.node.state import NodeState

_MIGRATES: Final = (b"migrate",)
#: Their keys are none, but lead to a slot; at an open one the handler knows where the scan goes on.
_CURSORS: Final = (b"clusterscan",)


class Routing:
    """The routing table of one node, kept in step with the cluster's view by `refresh`."""

    def __init__(self, state: NodeState, view: ClusterView) -> None:
        self._state = state
        self._view = view
        self.served = bytearray(SLOT_COUNT)
        #: By slot: whether this node is a replica of its owner, so that a READONLY client may read here.
        self.readable = bytearray(SLOT_COUNT)
        self._key: tuple[int, bool, str] | None = None
        self._run_ends: list[int] = []
        self._run_ends_version = -1

    def refresh(self) -> bool:
        """Bring `served` up to date; true when anything that redirections depend on has changed."""
        view = self._view
        primary = view.myself if view.myself.is_primary else view.myself.primary
        key = (view.slots.version, view.cluster_ok, "" if primary is None else primary.node_id)
        if key == self._key:
            return False
        self._key = key
        open_slots = (*view.slots.migrating_to, *view.slots.importing_from)
        self.served[:] = self.readable[:] = bytes(SLOT_COUNT)
        if view.cluster_ok and primary is not None:
            table = self.served if primary is view.myself else self.readable
            table[:] = primary.slots.to_flags()
            for slot in open_slots:
                table[slot] = 0
        return True

    def run_end(self, slot: int) -> int:
        """Where the run of slots ends that have the owner of `slot` and, but for `slot` itself, are not moving away."""
        slots = self._view.slots
        if self._run_ends_version != slots.version:
            ends = list(range(1, SLOT_COUNT + 1))
            for at in range(SLOT_COUNT - 2, -1, -1):
                if slots.owners[at + 1] is slots.owners[at] and at + 1 not in slots.migrating_to:
                    ends[at] = ends[at + 1]
            self._run_ends, self._run_ends_version = ends, slots.version
        return self._run_ends[slot]

    # -- the full rule ---------------------------------------------------------------------------------------

    def check(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """Raise MOVED, ASK, CROSSSLOT, TRYAGAIN or CLUSTERDOWN unless this node may run the command.

        Leaves the key's slot in `keyspace.hot_key` / `hot_slot`.
        """
        if spec.full_name == b"exec":
            keys = [key for queued, args in client.multi or () for key in _keys(queued, args)]
            writes = any(queued.flags & registry.WRITE for queued, _ in client.multi or ())
        else:
            keys = _keys(spec, argv)
            writes = bool(spec.flags & registry.WRITE)
        if not keys:
            return
        slot = key_slot(keys[0])
        if self._view.slots.owners[slot] is None:
            raise CommandError(errors.CLUSTER_DOWN_UNBOUND)
        for key in keys:
            if key_slot(key) != slot:
                raise CommandError(errors.CROSS_SLOT)
        self._check_slot(client, spec, slot, keys, writes)
        keyspace = self._state.keyspace
        keyspace.hot_key, keyspace.hot_slot = keys[0], slot

    def _check_slot(self, client: Client, spec: CommandSpec, slot: int, keys: list[bytes], writes: bool) -> None:
        view = self._view
        slots = view.slots
        me = view.myself
        owner = slots.owners[slot]
        assert owner is not None
        if not view.cluster_ok:
            self._check_down(spec, writes)
        is_message = _is_message(client, spec)  # shard channels have no keys that may have moved already
        # A READONLY client may do at a replica whatever is no write, and is answered as the primary would answer: what
        # has moved away, or not come yet, is elsewhere. Replicas know the open slots of their primary.
        reads_here = me.primary is not None and client.readonly and not writes
        serving = me.primary if reads_here else me
        # In 7.0 a transaction with messages alone is judged like one with keys that do not exist.
        is_open = not is_message or (spec.full_name == b"exec" and not COMPAT.newer)
        target = slots.migrating_to.get(slot) if owner is serving and is_open else None
        importing = slot in slots.importing_from and (me.is_primary or reads_here)
        if (target is not None or importing) and spec.full_name in _MIGRATES:
            return
        if target is not None or importing:
            missing = self._missing(keys) if is_open and spec.full_name not in _CURSORS else 0
            if target is not None and missing:
                if missing != len(keys):
                    raise CommandError(errors.TRY_AGAIN)
                raise CommandError(errors.ask(slot, *self.endpoint(target, client)))
            if importing and (client.gates & GATE_ASKING or spec.flags & registry.ASKING):
                if missing and any(key != keys[0] for key in keys):
                    raise CommandError(errors.TRY_AGAIN)
                return
        if owner is me:
            return
        if me.primary is owner and (is_message or reads_here):
            return
        raise CommandError(errors.moved(slot, *self.endpoint(owner, client)))

    def _check_down(self, spec: CommandSpec, writes: bool) -> None:
        config = self._state.config
        if spec.group == "pubsub":
            if not config.cluster_allow_pubsubshard_when_down:
                raise CommandError(errors.CLUSTER_DOWN)
        elif not config.cluster_allow_reads_when_down:
            raise CommandError(errors.CLUSTER_DOWN)
        elif writes:
            raise CommandError(errors.CLUSTER_DOWN_READ_ONLY)

    def _missing(self, keys: list[bytes]) -> int:
        db = self._state.keyspace.dbs[0]
        return sum(db.peek(key) is None for key in keys)

    def endpoint(self, member: Member, client: Client | None = None) -> tuple[bytes, int]:
        """Host and port to tell a client, by `cluster-announce-view` or `cluster-preferred-endpoint-type`."""
        seen_from = self.view_host(client)
        if seen_from:
            return seen_from.encode(), member.port
        kind = self._state.config.cluster_preferred_endpoint_type
        if kind == "hostname":
            host = member.hostname or "?"
        elif kind == "unknown-endpoint":
            host = ""
        else:
            host = member.ip
        return host.encode(), member.port

    def view_host(self, client: Client | None) -> str:
        """The host that `cluster-announce-view` has for where this client comes from; empty for none."""
        views = self._state.config.cluster_announce_view
        if not views or client is None:
            return ""
        host = client.addr.rpartition(":")[0].strip("[]")
        try:
            address = ip_address(host)
        except ValueError:
            return ""  # a unix socket
        return next((told for network, told in views if address in network), "")

    def blocked_error(self, client: Client, keys: list[bytes]) -> ErrorReply | None:
        """What to tell a client that waits for `keys`, now that the map has changed; None: let it wait."""
        view = self._view
        if not view.cluster_ok:
            return errors.CLUSTER_DOWN
        slot = key_slot(keys[0])
        owner = view.slots.owners[slot]
        if owner is view.myself or (slot in view.slots.importing_from and view.myself.is_primary):
            return None
        if owner is None:
            return errors.CLUSTER_DOWN_UNBOUND
        if client.readonly and view.myself.primary is owner:
            return None
        return errors.moved(slot, *self.endpoint(owner, client))


def _is_message(client: Client, spec: CommandSpec) -> bool:
    """Shard channels are open at replicas of their slot as well, READONLY or not; so is a transaction that uses one."""
    if spec.full_name == b"exec":
        return any(queued.flags & registry.PUBSUB for queued, _ in client.multi or ())
    return bool(spec.flags & registry.PUBSUB)


def _keys(spec: CommandSpec, argv: list[bytes]) -> list[bytes]:
    return [argv[i] for i in spec.key_positions(argv)] if spec.key_specs or spec.find_keys else []
