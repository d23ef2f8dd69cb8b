"""What each slot costs: processor time and bytes, for CLUSTER SLOT-STATS (Valkey 8).

Counted only while `cluster-slot-stats-enabled` is on, which raises a gate that takes every command off the data plane's
fast path. A command belongs to the slot of its keys; EXEC and scripts count as one call. Bytes are those of the
request and the reply in RESP, whether or not the request came inline; what replicas and subscribers get is left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.slots import SLOT_COUNT, key_slot
from slotmesh.node.base.gates import SERVER_SLOT_STATS
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.resp.encoder import encode, encode_command

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.spec.registry import CommandSpec
    from slotmesh.node.state import NodeState

#: MULTI came before EXEC and had no slot yet.
_MULTI_BYTES: Final = len(b"*1\r\n$5\r\nmulti\r\n")


#: A command that counts for no slot: it has no keys, or another one runs it.
NO_SLOT: Final = -1


class SlotStats:
    """Counters per slot: `nanos`, `bytes_in`, `bytes_out`."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self.nanos = array("Q", bytes(8 * SLOT_COUNT))
        self.bytes_in = array("Q", bytes(8 * SLOT_COUNT))
        self.bytes_out = array("Q", bytes(8 * SLOT_COUNT))
        state.config.on_change("cluster-slot-stats-enabled", self._switch)
        self._switch(state.config.cluster_slot_stats_enabled)

    def _switch(self, on: bool) -> None:
        self._state.set_gate(SERVER_SLOT_STATS, on)

    def slot_of(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> int:
        """Where a call that is about to run counts; NO_SLOT if nowhere."""
        if client.in_exec or client.sock is None or client.gates & GATE_PRIMARY:
            return NO_SLOT
        if spec.full_name == b"exec":
            slots = {self._slot_of_keys(queued, words) for queued, words in client.multi or ()} - {NO_SLOT}
            return slots.pop() if len(slots) == 1 else NO_SLOT
        return self._slot_of_keys(spec, argv)

    @staticmethod
    def _slot_of_keys(spec: CommandSpec, argv: list[bytes]) -> int:
        positions = spec.key_positions(argv)
        return key_slot(argv[positions[0]]) if positions else NO_SLOT

    def queued(self, spec: CommandSpec, argv: list[bytes]) -> None:
        """A command was put into the queue of MULTI; its time will be EXEC's."""
        slot = self._slot_of_keys(spec, argv)
        if slot != NO_SLOT:
            self.bytes_in[slot] += len(encode_command(argv))
            self.bytes_out[slot] += len(b"+QUEUED\r\n")

    def called(
        self, slot: int, client: Client, spec: CommandSpec, argv: list[bytes], nanos: int, result: Any, *, again: bool
    ) -> None:
        """A call of `slot` has run. `again`: a blocked client was tried once more, its request has been counted."""
        if not again:
            self.bytes_in[slot] += len(encode_command(argv)) + (_MULTI_BYTES if spec.full_name == b"exec" else 0)
        if type(result) is Block:
            return
        self.nanos[slot] += nanos
        reply: list[bytes] = []
        encode(reply, result, client.resp3)
        self.bytes_out[slot] += sum(map(len, reply))

    def forget(self, slots: Iterable[int]) -> None:
        """The slots went to another node."""
        for slot in slots:
            self.nanos[slot] = self.bytes_in[slot] = self.bytes_out[slot] = 0

    def reset(self) -> None:
        """Everything back to zero (CONFIG RESETSTAT)."""
        self.forget(range(SLOT_COUNT))
