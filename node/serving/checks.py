"""The checks that every request passes before dispatch runs it, in their fixed order.

arity -> replica's word -> authenticated -> possible in MULTI -> ACL -> slot -> redirect -> memory -> write allowed
      -> subscribed context -> loading / stale -> busy with a script -> paused
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from slotmesh.node.acl.check import DenialLog, check_acl
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import (
    SERVER_ASYNC_LOADING,
    SERVER_BUSY,
    SERVER_LOADING,
    SERVER_MEMORY,
    SERVER_PAUSED,
    SERVER_REPLICA,
    SERVER_STALE,
    SERVER_WRITES_REFUSED,
)
from slotmesh.node.clients.client import (
    GATE_AUTH,
    GATE_MONITOR,
    GATE_PRIMARY,
    GATE_REDIRECT,
    GATE_REPLICA,
    GATE_SUBSCRIBED,
    Client,
)
from slotmesh.node.clients.pause import Pause
from slotmesh.node.clustering.host import ClusterHost
from slotmesh.node.memory.eviction import Eviction
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NodeState

_LOOK_AT_DATA: Final = SERVER_LOADING | SERVER_ASYNC_LOADING | SERVER_STALE
_TOUCHES_KEYS: Final = registry.WRITE | registry.READONLY | registry.MAY_REPLICATE
_NO_KEYSPACE: Final = ErrorReply("ERR Replica can't interact with the keyspace")
#: Level 7.2 refuses these inside MULTI before the handler does, which spoils the transaction.
_NO_NESTING: Final = frozenset((b"multi", b"watch"))
#: Inside MULTI these may always come, however little memory is left. EXEC is judged by what it would run.
_WAYS_OUT: Final = frozenset((b"discard", b"quit", b"reset"))
_WORDS_OF_REPLICAS: Final = frozenset((b"replconf", b"psync", b"sync"))

#: Looks at (client, spec, argv); raises CommandError or Deferred.
Check = Callable[[Client, CommandSpec, list[bytes]], None]


class Deferred(Exception):
    """The command may not run now (CLIENT PAUSE): the data plane keeps it and tries again later."""


def check_arity(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """The number of arguments, and that the bare name of a container is not a command by itself."""
    if not spec.takes(len(argv)) or spec.handler is None:
        raise CommandError(errors.wrong_arity(spec.full_name))


def check_auth(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Before authentication only commands that need none may run."""
    if client.gates & GATE_AUTH and not spec.flags & registry.NO_AUTH:
        raise CommandError(errors.NO_AUTH)


def check_multi_allowed(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Some commands make no sense inside MULTI."""
    if client.multi is not None and (spec.flags & registry.NO_MULTI or (COMPAT.newer and spec.name in _NO_NESTING)):
        raise CommandError("ERR Command not allowed inside a transaction")


def _needs_memory(client: Client, spec: CommandSpec) -> bool:
    """Whether a command is refused for lack of memory. Queueing takes some, whatever is queued."""
    if client.multi is None:
        return bool(spec.flags & registry.DENYOOM)
    if spec.name == b"exec":
        return any(queued.judged(client, argv).flags & registry.DENYOOM for queued, argv in client.multi)
    return (not COMPAT.newer and spec.name not in _WAYS_OUT) or bool(spec.flags & registry.DENYOOM)


def check_subscribed(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """A RESP2 client with subscriptions can tell replies from messages only if it sends few commands."""
    if client.gates & GATE_SUBSCRIBED and not client.resp3 and not spec.flags & registry.IN_SUBSCRIBED:
        raise CommandError(
            b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
            b"this context" % spec.full_name
        )


class Checks:
    """The checks of one node. `cluster` is set once the node is a member of one."""

    def __init__(
        self,
        state: NodeState,
        acl_log: DenialLog,
        *,
        eviction: Eviction,
        pause: Pause,
        busy_error: Callable[[], ErrorReply],
        failing_over: Callable[[], bool],
        turn_out: Callable[[Client, CommandSpec], None],
        write_refusal: Callable[[], ErrorReply | None],
    ) -> None:
        """`busy_error`: what others are told while a script runs too long. `failing_over`: whether this node is about
        to follow its former replica. `turn_out`: closes a replica that sent what none may send. `write_refusal`: why
        no client may write, asked while a gate says so.
        """
        self._state = state
        self._eviction = eviction
        self._pause = pause
        self._busy_error = busy_error
        self._failing_over = failing_over
        self._turn_out = turn_out
        self._write_refusal = write_refusal
        self.cluster: ClusterHost | None = None
        self.check_acl: Final[Check] = partial(check_acl, acl_log)
        self.in_order: Final[tuple[Check, ...]] = (
            check_arity,
            self.check_replica,
            check_auth,
            check_multi_allowed,
            self.check_acl,
            self.check_slot,
            self.check_redirect,
            self.check_memory,
            self.check_write_allowed,
            check_subscribed,
            self.check_loading,
            self.check_busy,
            self.check_paused,
        )

    def check_replica(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """A replica speaks of replication only: a pause does not hold it back, and a reply would end up in its stream.
        A monitor is refused what has to do with keys, as in stock, where it is a kind of replica."""
        if client.gates & GATE_REPLICA and spec.name not in _WORDS_OF_REPLICAS:
            self._turn_out(client, spec)
            raise CommandError(_NO_KEYSPACE)
        if client.gates & GATE_MONITOR and spec.flags & _TOUCHES_KEYS:
            raise CommandError(_NO_KEYSPACE)

    def check_slot(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """In a cluster, every key must belong to one slot, and the slot to this node."""
        cluster = self.cluster
        if cluster is None:
            return
        if client.gates & GATE_PRIMARY or client.sock is None:
            self._state.keyspace.hot_key = None
            return
        cluster.routing.check(client, spec, argv)

    def check_redirect(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """Outside a cluster, a replica sends those who can follow to its primary: writers, and readers without READONLY
        having been said."""
        primary = self._state.config.replicaof
        if not client.gates & GATE_REDIRECT or primary is None or self.cluster is not None:
            return
        flags = spec.flags
        if spec.full_name == b"exec":
            for queued, _words in client.multi or ():
                flags |= queued.flags
        if flags & registry.WRITE or (flags & registry.READONLY and not client.readonly):
            if self._failing_over():
                raise Deferred  # that one is no primary yet, and may never be
            raise CommandError(f"REDIRECT {primary[0]}:{primary[1]}")

    def check_memory(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """Over `maxmemory`: evict, and refuse what would use more when that does not suffice."""
        if not self._state.gates & SERVER_MEMORY or client.gates & GATE_PRIMARY or client.sock is None:
            return
        if not self._state.gates & SERVER_BUSY:  # evictions must not get between the changes of a script
            self._state.out_of_memory = not self._eviction.make_room()
        if self._state.out_of_memory and _needs_memory(client, spec):
            raise CommandError(errors.OOM)

    def check_write_allowed(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """A replica, a node that cannot save, one with too few replicas or without lease takes no writes."""
        if not spec.flags & registry.WRITE or client.gates & GATE_PRIMARY:
            return
        if not self._state.gates & (SERVER_REPLICA | SERVER_WRITES_REFUSED) or client.sock is None:
            return
        refusal = self._write_refusal()
        if refusal is not None:
            raise CommandError(refusal)

    def check_loading(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """While the data set is loaded, or is stale by configuration, most commands must wait."""
        if not self._state.gates & _LOOK_AT_DATA or client.gates & GATE_PRIMARY or client.sock is None:
            return
        if self._state.gates & SERVER_STALE and not spec.flags & registry.STALE:
            raise CommandError(errors.MASTER_DOWN)
        if self._state.gates & SERVER_LOADING and not spec.flags & registry.LOADING:
            raise CommandError(errors.LOADING)
        if self._state.gates & SERVER_ASYNC_LOADING and spec.flags & registry.NO_ASYNC_LOADING:
            raise CommandError(errors.LOADING)

    def check_busy(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """While a script exceeds its time limit, only what may end it, and what changes nothing, is served."""
        if self._state.gates & SERVER_BUSY and not spec.flags & registry.ALLOW_BUSY:
            raise CommandError(self._busy_error())

    def check_paused(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """CLIENT PAUSE holds commands back without answering them."""
        if (
            self._state.gates & SERVER_PAUSED
            and client.sock is not None
            and client.replica is None
            and not client.gates & GATE_PRIMARY
            and self._pause.holds_back(client, spec, argv)
        ):
            raise Deferred
