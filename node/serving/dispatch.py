"""From a request to its reply: the checks every command passes, in one fixed order, and the call itself.

The data plane has a shorter path for commands of clients and servers without any gate raised (`data_plane.py`); it
leads to the same handlers. Everything else comes through `execute`:

    known -> arity -> authenticated -> ACL -> redirect -> memory -> write allowed -> subscribed context
          -> loading / stale -> busy with a script -> paused -> queue in MULTI, or run
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.acl.check import check_acl
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import (
    SERVER_ASYNC_LOADING,
    SERVER_BUSY,
    SERVER_COMMAND_LOG,
    SERVER_HOT_KEYS,
    SERVER_LOADING,
    SERVER_MEMORY,
    SERVER_MONITORS,
    SERVER_PAUSED,
    SERVER_REPLICA,
    SERVER_SLOT_STATS,
    SERVER_STALE,
    SERVER_WRITES_REFUSED,
)
from slotmesh.node.clients.blocking import Block
from slotmesh.node.clients.client import (
    GATE_ASKING,
    GATE_AUTH,
    GATE_IMPORT,
    GATE_LARGE_REQUEST,
    GATE_MONITOR,
    GATE_MULTI,
    GATE_NO_TOUCH,
    GATE_PRIMARY,
    GATE_REDIRECT,
    GATE_REPLICA,
    GATE_REPLY,
    GATE_SUBSCRIBED,
    GATE_TRACKING,
    REPLY_OFF,
    REPLY_ON,
    REPLY_SKIP,
    REPLY_SKIP_NEXT,
    Client,
)
from slotmesh.node.observe.slot_stats import NO_SLOT
from slotmesh.node.resp.values import NO_REPLY, QUEUED, Many, Push
from slotmesh.node.serving.http_guard import HTTP_WORDS
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_AT_DATA: Final = SERVER_LOADING | SERVER_ASYNC_LOADING | SERVER_STALE

INTERNAL_ERROR: Final = ErrorReply(
    "ERR internal error: the command failed in a way that is a bug of this server; see its log"
)


_TOUCHES_KEYS: Final = registry.WRITE | registry.READONLY | registry.MAY_REPLICATE
_NO_KEYSPACE: Final = ErrorReply("ERR Replica can't interact with the keyspace")
#: Level 7.2 refuses these inside MULTI before the handler does, which spoils the transaction.
_NO_NESTING: Final = frozenset((b"multi", b"watch"))
#: Inside MULTI these may always come, however little memory is left. EXEC is judged by what it would run.
_WAYS_OUT: Final = frozenset((b"discard", b"quit", b"reset"))
_WORDS_OF_REPLICAS: Final = frozenset((b"replconf", b"psync", b"sync"))
_REDIRECTIONS: Final = frozenset((b"MOVED", b"ASK", b"CROSSSLOT", b"CLUSTERDOWN", b"TRYAGAIN", b"REDIRECT"))


class Deferred(Exception):
    """The command may not run now (CLIENT PAUSE): the data plane keeps it and tries again later."""


def check_arity(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """The number of arguments, and that the bare name of a container is not a command by itself."""
    if not spec.takes(len(argv)) or spec.handler is None:
        raise CommandError(errors.wrong_arity(spec.full_name))


def check_replica(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """A replica speaks of replication only: a pause does not hold it back, and a reply would end up in its stream. A
    monitor is refused what has to do with keys, as in stock, where it is a kind of replica."""
    if client.gates & GATE_REPLICA and spec.name not in _WORDS_OF_REPLICAS:
        client.server.replication.replicas.turn_out(client, spec)
        raise CommandError(_NO_KEYSPACE)
    if client.gates & GATE_MONITOR and spec.flags & _TOUCHES_KEYS:
        raise CommandError(_NO_KEYSPACE)


def check_auth(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Before authentication only commands that need none may run."""
    if client.gates & GATE_AUTH and not spec.flags & registry.NO_AUTH:
        raise CommandError(errors.NO_AUTH)


def check_multi_allowed(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Some commands make no sense inside MULTI."""
    if client.multi is not None and (spec.flags & registry.NO_MULTI or (COMPAT.newer and spec.name in _NO_NESTING)):
        raise CommandError("ERR Command not allowed inside a transaction")


def check_slot(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """In a cluster, every key must belong to one slot, and the slot to this node."""
    cluster = client.server.cluster
    if cluster is None:
        return
    if client.gates & GATE_PRIMARY or client.sock is None:
        client.server.keyspace.hot_key = None
        return
    cluster.routing.check(client, spec, argv)


def check_redirect(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Outside a cluster, a replica sends those who can follow to its primary: writers, and readers but for READONLY."""
    primary = client.server.config.replicaof
    if not client.gates & GATE_REDIRECT or primary is None or client.server.cluster is not None:
        return
    flags = spec.flags
    if spec.full_name == b"exec":
        for queued, _words in client.multi or ():
            flags |= queued.flags
    if flags & registry.WRITE or (flags & registry.READONLY and not client.readonly):
        if client.server.replication.failover.in_progress:
            raise Deferred  # that one is no primary yet, and may never be
        raise CommandError(f"REDIRECT {primary[0]}:{primary[1]}")


def check_memory(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Over `maxmemory`: evict, and refuse what would use more when that does not suffice."""
    server = client.server
    if not server.state.gates & SERVER_MEMORY or client.gates & GATE_PRIMARY or client.sock is None:
        return
    if not server.state.gates & SERVER_BUSY:  # evictions must not get between the changes of a script
        server.state.out_of_memory = not server.eviction.make_room()
    if server.state.out_of_memory and _needs_memory(client, spec):
        raise CommandError(errors.OOM)


def _needs_memory(client: Client, spec: CommandSpec) -> bool:
    """Whether a command is refused for lack of memory. Queueing takes some, whatever is queued."""
    if client.multi is None:
        return bool(spec.flags & registry.DENYOOM)
    if spec.name == b"exec":
        return any(queued.judged(client, argv).flags & registry.DENYOOM for queued, argv in client.multi)
    return (not COMPAT.newer and spec.name not in _WAYS_OUT) or bool(spec.flags & registry.DENYOOM)


def check_write_allowed(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """A replica, a node that cannot save, one with too few replicas or without lease takes no writes."""
    if not spec.flags & registry.WRITE or client.gates & GATE_PRIMARY:
        return
    server = client.server
    if not server.state.gates & (SERVER_REPLICA | SERVER_WRITES_REFUSED) or client.sock is None:
        return
    refusal = server.write_refusal()
    if refusal is not None:
        raise CommandError(refusal)


def check_subscribed(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """A RESP2 client with subscriptions can tell replies from messages only if it sends few commands."""
    if client.gates & GATE_SUBSCRIBED and not client.resp3 and not spec.flags & registry.IN_SUBSCRIBED:
        raise CommandError(
            b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
            b"this context" % spec.full_name
        )


def check_loading(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """While the data set is loaded, or is stale by configuration, most commands must wait."""
    server = client.server
    if not server.state.gates & _LOOK_AT_DATA or client.gates & GATE_PRIMARY or client.sock is None:
        return
    if server.state.gates & SERVER_STALE and not spec.flags & registry.STALE:
        raise CommandError(errors.MASTER_DOWN)
    if server.state.gates & SERVER_LOADING and not spec.flags & registry.LOADING:
        raise CommandError(errors.LOADING)
    if server.state.gates & SERVER_ASYNC_LOADING and spec.flags & registry.NO_ASYNC_LOADING:
        raise CommandError(errors.LOADING)


def check_busy(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """While a script exceeds its time limit, only what may end it, and what changes nothing, is served."""
    if client.server.state.gates & SERVER_BUSY and not spec.flags & registry.ALLOW_BUSY:
        raise CommandError(client.server.scripting.busy_error)


def check_paused(client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """CLIENT PAUSE holds commands back without answering them."""
    server = client.server
    if (
        server.state.gates & SERVER_PAUSED
        and client.sock is not None
        and client.replica is None
        and not client.gates & GATE_PRIMARY
        and server.pause.holds_back(client, spec, argv)
    ):
        raise Deferred


CHECKS: Final[tuple[Callable[[Client, CommandSpec, list[bytes]], None], ...]] = (
    check_arity,
    check_replica,
    check_auth,
    check_multi_allowed,
    check_acl,
    check_slot,
    check_redirect,
    check_memory,
    check_write_allowed,
    check_subscribed,
    check_loading,
    check_busy,
    check_paused,
)


def execute(client: Client, argv: list[bytes]) -> Any:
    """Check and run one request; the value to reply, an error included.

    Raises Deferred when the request must wait for a pause to end.
    """
    spec = None
    if client.gates & GATE_TRACKING:
        client.server.tracking.limit_table(client.server.config.tracking_table_max_keys)
    if client.gates & GATE_MONITOR:
        client.server.monitors.hand_out()
    try:
        spec = registry.find(argv)
        client.last_command = spec.full_name
        judged = spec if spec.judge is None else spec.judged(client, argv)
        for check in CHECKS:
            check(client, judged, argv)
    except Deferred:
        raise
    except CommandError as error:
        return _refuse(client, spec, argv, error.reply)
    except Exception:  # a bug of ours: nothing has run
        client.server.complaints.fault(f"a check of {argv[0][:64]!r}")
        return _refuse(client, spec, argv, INTERNAL_ERROR)
    if client.multi is not None and not spec.flags & registry.NOT_QUEUED:
        client.multi.append((spec, argv))
        if spec.name == b"select":
            client.queued_db = to_uint(argv[1])
        if client.server.state.gates & SERVER_SLOT_STATS and client.server.cluster is not None:
            client.server.cluster.slot_stats.queued(spec, argv)
        result: Any = QUEUED
    else:
        result = _call_listener(client, spec, argv) if client.gates & GATE_SUBSCRIBED else call(client, spec, argv)
        if client.gates & GATE_ASKING:
            _use_up_asking(client, spec)
    if client.gates & GATE_LARGE_REQUEST or client.server.state.gates & SERVER_COMMAND_LOG:
        client.set_gate(GATE_LARGE_REQUEST, False)
        client.server.command_logs.note_request(client, spec, argv)
    return _spoken(client, result)


def _refuse(client: Client, spec: CommandSpec | None, argv: list[bytes], error: ErrorReply) -> Any:
    """A request did not pass its checks, or is of no command that we know (no `spec`); what to reply."""
    server = client.server
    client.set_gate(GATE_LARGE_REQUEST, False)
    if spec is None and argv[0].lower() in HTTP_WORDS and client.sock is not None:
        server.http_guard.turn_away(client)
        return NO_REPLY
    if spec is not None:
        spec.rejected_calls += 1
    if spec is not None and spec.full_name == b"exec":
        error = _reject_exec(client, error)
    elif client.multi is not None:
        client.multi_failed = True
    if client.gates & GATE_ASKING:
        _use_up_asking(client, spec)
    server.stats.count_error(error)
    return _spoken(client, error)


def _use_up_asking(client: Client, spec: CommandSpec | None) -> None:
    """ASKING holds for one command, whatever becomes of that, or for one transaction."""
    if client.multi is None and (spec is None or spec.name != b"asking"):
        client.set_gate(GATE_ASKING, False)


def _call_listener(client: Client, spec: CommandSpec, argv: list[bytes]) -> Any:
    """Run a command of a client with subscriptions. From level 7.2 on, messages that it causes and gets itself follow
    its reply; before, they precede it.
    """
    if not COMPAT.newer:
        return call(client, spec, argv)
    client.to_follow = []
    try:
        result = call(client, spec, argv)
    finally:
        messages, client.to_follow = client.to_follow, None
    if not messages:
        return result
    if type(result) is Block:
        client.reply(Many(messages))
        return result
    replies = result.items if type(result) is Many else [_spoken(client, result)]
    return Many([*replies, *messages])


def leave_multi(client: Client) -> None:
    """Forget the queue of MULTI, and the watches with it."""
    client.multi = client.queued_db = None
    client.multi_failed = False
    client.set_gate(GATE_MULTI, False)
    client.server.watching.unwatch(client)


def _reject_exec(client: Client, error: ErrorReply) -> ErrorReply:
    """EXEC may not run: the transaction is over. A redirection stays one, so that clients understand it."""
    leave_multi(client)
    if error.code in _REDIRECTIONS:
        return error
    return ErrorReply(b"EXECABORT Transaction discarded because of: " + error.line.removeprefix(b"ERR "))


def _spoken(client: Client, result: Any) -> Any:
    """`result`, unless CLIENT REPLY silences it. Pushes are never silenced."""
    mode = client.reply_mode
    if mode == REPLY_ON or type(result) in (Push, Many, Block):
        return result
    if mode == REPLY_SKIP_NEXT:
        client.reply_mode = REPLY_SKIP
        return NO_REPLY
    if mode == REPLY_SKIP:
        client.reply_mode = REPLY_ON
        client.set_gate(GATE_REPLY, False)
        return NO_REPLY
    assert mode == REPLY_OFF
    return NO_REPLY


def call(client: Client, spec: CommandSpec, argv: list[bytes], *, again: bool = False) -> Any:
    """Run a command that passed its checks: statistics, propagation, slow log. Errors are returned, not raised.

    EXEC, scripts and blocked clients that are served call this directly; the latter run their command `again`. A
    command that blocks counts as a call once it is served.
    """
    server = client.server
    keyspace = server.keyspace
    if client.gates & GATE_TRACKING:
        server.tracking.before_command(client)
    access = keyspace.access
    quiet = (
        client.gates & GATE_NO_TOUCH and not spec.flags & registry.ADMIN and not spec.full_name.startswith(b"object|")
    )
    if quiet:  # commands that tell of access times touch nothing, and need them
        keyspace.access = None
    sees_expired = client.gates & GATE_IMPORT and server.importing.sees_expired(client)
    if sees_expired:
        keyspace.expiry_ignored.__enter__()
    slot_stats = (
        server.cluster.slot_stats if server.state.gates & SERVER_SLOT_STATS and server.cluster is not None else None
    )
    slot = NO_SLOT if slot_stats is None else slot_stats.slot_of(client, spec, argv)
    dirty = keyspace.dirty
    client.last_command = spec.full_name
    started = perf_counter_ns()
    try:
        assert spec.handler is not None
        result = spec.handler(client, argv)
    except CommandError as error:
        spec.failed_calls += 1
        server.stats.count_error(error.reply)
        result = error.reply
    except Exception:  # a bug of ours, as in the data plane
        result = server.handler_failed(spec, argv)
    if quiet and keyspace.access is None:
        keyspace.access = access
    if sees_expired:
        keyspace.expiry_ignored.__exit__()
    nanos = perf_counter_ns() - started
    if type(result) is not Block:
        spec.calls += 1
        spec.nanos += nanos
    if spec.timings is not None:
        server.note_latency(spec, nanos)
    if keyspace.dirty > dirty or client.rewritten is not None:
        server.propagation.after_command(client, argv)
        client.write_offset = server.write_offset()
    if slot_stats is not None and slot != NO_SLOT:
        slot_stats.called(slot, client, spec, argv, nanos, result, again=again)
    if server.state.gates & SERVER_HOT_KEYS:
        server.hot_keys.called(client, spec, argv, nanos, result)
    if nanos >= server.state.slow_nanos and type(result) is not Block:
        server.note_slow(client, spec, argv, nanos)
    if server.state.gates & SERVER_MONITORS and not again:
        server.monitors.called(client, spec, argv)
    if client.gates & GATE_TRACKING:
        server.tracking.after_command(client, spec, argv)
    if type(result) is Block:
        if client.deny_blocking or client.in_exec:
            return result.timeout_reply()
        result.spec, result.argv = spec, argv
    return result


def run_again(client: Client, block: Block) -> Any:
    """Try a blocked command once more: its reply, or a Block when it must go on waiting.

    Level 7.2 asks first whether the client's user still may.
    """
    if COMPAT.newer:
        try:
            check_acl(client, block.spec, block.argv)
        except CommandError as error:
            block.spec.rejected_calls += 1
            client.server.stats.count_error(error.reply)
            return error.reply
    return call(client, block.spec, block.argv, again=True)
