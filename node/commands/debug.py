"""DEBUG: tools of tests. Refused unless `enable-debug-command` allows it.

Only what means something here exists; what pokes into the C structures of the stock server (crashes, allocator
internals, dict statistics) is an unknown subcommand. OBJECT and the packed encodings are told as the stock server would
lay them out.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.describe import is_local
from slotmesh.node.commands import debug_faults
from slotmesh.node.commands.help import help_reply
from slotmesh.node.config.kinds import parse_memory
from slotmesh.node.config.rewrite import draft_of
from slotmesh.node.keyspace.access import AccessFrequencies, record_times
from slotmesh.node.keyspace.notify import STRING
from slotmesh.node.keyspace.propagation import NO_DATABASE
from slotmesh.node.observe.digest import data_digest, value_digest
from slotmesh.node.persistence.encode import list_nodes
from slotmesh.node.resp.encoder import encode
from slotmesh.node.resp.values import OK, OrderedSet, Push, Raw, Status, Verbatim
from slotmesh.node.spec.arguments import floating, positive_count
from slotmesh.node.spec.registry import ADMIN, LOADING, NOSCRIPT, STALE, command
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.string import string_encoding

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_DENIED: Final = ErrorReply(
    'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local '
    "connection, otherwise you need to set this option in the configuration file, and then restart the server."
)

#: A list node's length has 32 bits, a little of which is spared.
_MOST_ALONE_BYTES: Final = (1 << 32) - (1 << 20)


@command(
    "debug",
    arity=-2,
    flags=ADMIN | NOSCRIPT | LOADING | STALE,
    group="server",
    since="1.0.0",
    complexity="Depends on the subcommand",
    summary="Helps tests: pauses, fingerprints, reloads.",
)
def cmd_debug(client: NodeClient, argv: list[bytes]) -> Any:
    allowed = client.server.config.enable_debug_command
    if allowed == "no" or (allowed == "local" and not is_local(client)):
        raise CommandError(_DENIED)
    entry = _SUBCOMMANDS.get(argv[1].lower())
    if entry is None or not entry[1] <= len(argv) - 2 <= entry[2]:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '%b'. Try DEBUG HELP." % argv[1][:128]
        )
    return entry[0](client, argv)


def _sleep(client: NodeClient, argv: list[bytes]) -> Any:
    """Stop everything, on purpose: that is what tests of slow servers need."""
    time.sleep(max(0.0, floating(argv[2])))
    return OK


def _object(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.stored(argv[2])
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    is_string = isinstance(value, (bytes, bytearray))
    encoding = string_encoding(value) if is_string else value.encoding()
    length = len(value) if is_string else value.size_bytes()
    keyspace = client.server.keyspace
    idle_ms = 0
    if not isinstance(keyspace.access, AccessFrequencies):
        idle_ms = record_times(keyspace).idle_ms(client.db.index, argv[2])
    used_s = (keyspace.now_ms - idle_ms) // 1000
    text = b"Value at:0x%x refcount:1 encoding:%b serializedlength:%d lru:%d lru_seconds_idle:%d"
    text %= (id(value), encoding, length, used_s & 0xFFFFFF, idle_ms // 1000)
    return Status(text + _quicklist_facts(value, client.server.config.list_compress_depth))


def _quicklist_facts(value: Any, compress_depth: int) -> bytes:
    """What DEBUG OBJECT adds for a quicklist: its nodes as a file would have them."""
    if type(value) is not ListValue or value.packed:
        return b""
    sizes = [len(node) for _, node in list_nodes(value)]
    facts = (len(sizes), len(value) / len(sizes), LIMITS.list_max_listpack_size, compress_depth != 0, sum(sizes))
    text = b" ql_nodes:%d ql_avg_node:%.2f ql_listpack_max:%d ql_compressed:%d ql_uncompressed_size:%d"
    return text % facts


def _listpack(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.peek(argv[2])
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    if isinstance(value, (bytes, bytearray)) or value.encoding() != b"listpack":
        raise CommandError("ERR Not a listpack encoded object.")
    return Status(b"Value kept in Python containers; stock would keep a listpack of %d elements" % len(value))


def _digest(client: NodeClient, argv: list[bytes]) -> Any:
    return Status(data_digest(client.server.keyspace).encode())


def _digest_value(client: NodeClient, argv: list[bytes]) -> Any:
    db = client.db
    digests = []
    for key in argv[2:]:
        value = db.peek(key)
        text = "0" * 40 if value is None else value_digest(value, db.expire_at(key) is not None)
        digests.append(Status(text.encode()))
    return digests


def _set_active_expire(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.cron.active_expire = argv[2] != b"0"
    return OK


def _reload(client: NodeClient, argv: list[bytes]) -> Any:
    options = {word.lower() for word in argv[2:]}
    if not options <= {b"merge", b"noflush", b"nosave"}:
        raise CommandError("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    client.server.persistence.reload(
        save=b"nosave" not in options, flush=b"noflush" not in options, merge=b"merge" in options
    )
    log.warning("DB reloaded by DEBUG RELOAD")
    return OK


def _load_log(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.persistence.reload_log()
    log.warning("Append Only File loaded by DEBUG LOADAOF")
    return OK


def _populate(client: NodeClient, argv: list[bytes]) -> Any:
    count = positive_count(argv[2])
    prefix = argv[3] if len(argv) > 3 else b"key"
    size = positive_count(argv[4]) if len(argv) > 4 else 0
    db = client.db
    for number in range(count):
        key, value = b"%b:%d" % (prefix, number), b"value:%d" % number
        if db.write(key) is None:
            db.set(key, value[:size].ljust(size, b"\0") if size else value)
            db.changed(key, STRING, b"set", 0)
    return OK


def _log(client: NodeClient, argv: list[bytes]) -> Any:
    log.warning("DEBUG LOG: %s", argv[2].decode("utf-8", "replace"))
    return OK


def _error(client: NodeClient, argv: list[bytes]) -> Any:
    raise CommandError(argv[2])


def _segfault(client: NodeClient, argv: list[bytes]) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)
    return OK


def _panic(client: NodeClient, argv: list[bytes]) -> Any:
    log.critical("DEBUG PANIC called at Unix time %d", time.time())
    os.abort()


def _quicklist_packed_threshold(client: NodeClient, argv: list[bytes]) -> Any:
    """From this length on an element is a list node of its own in dumps and files; 0: as the node size has it."""
    size = parse_memory(argv[2])
    if size is None or size > _MOST_ALONE_BYTES:
        raise CommandError("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
    LIMITS.list_alone_bytes = size
    return OK


def _stringmatch_length(client: NodeClient, argv: list[bytes]) -> Any:
    from slotmesh.node.base.glob import match  # only this test tool needs it here

    return int(match(argv[3], argv[2]))


_PROTOCOL: Final[dict[bytes, Any]] = {
    b"string": b"Hello World",
    b"integer": 12345,
    b"double": 3.141,
    b"null": None,
    b"array": [0, 1, 2],
    b"set": OrderedSet([0, 1, 2]),
    b"map": {0: False, 1: True, 2: False},
    b"verbatim": Verbatim(b"This is a verbatim\nstring"),
    b"true": True,
    b"false": False,
}
_BIG_NUMBER: Final = b"1234567999999999999999999999999999999"


def _protocol(client: NodeClient, argv: list[bytes]) -> Any:
    kind = argv[2].lower()
    if kind in _PROTOCOL:
        return _PROTOCOL[kind]
    if kind == b"bignum":
        return Raw(b"(%b\r\n" % _BIG_NUMBER) if client.resp3 else _BIG_NUMBER
    out: list[bytes] = []
    if kind == b"attrib":
        if client.resp3 and not client.is_script:  # scripts do not see attributes
            out.append(b"|1\r\n")
            encode(out, b"key-popularity", True)
            encode(out, [b"key:123", 90], True)
        if client.is_script:
            return b"Some real reply following the attribute"
        encode(out, b"Some real reply following the attribute", client.resp3)
        return Raw(b"".join(out))
    if kind == b"push":
        if not client.resp3:
            raise CommandError("ERR RESP2 is not supported by this command")
        encode(out, Push((b"server-cpu-usage", 42)), True)
        encode(out, b"Some real reply following the push reply", True)
        return Raw(b"".join(out))
    raise CommandError(
        "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|"
        "map|attrib|push|verbatim|true|false"
    )


def _rewrite_config(client: NodeClient, argv: list[bytes]) -> Any:
    draft_of(client.server.config, everything=True).put_in_place()
    return OK


def _pause_cron(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.cron.paused = argv[2] != b"0"
    return OK


def _change_replication_id(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.replication.change_id()
    return OK


def _allow_all_in_scripts(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.scripting.allow_all_commands = argv[2] != b"0"
    return OK


def _replicate(client: NodeClient, argv: list[bytes]) -> Any:
    """Whatever is said goes to the replicas, and is not done here."""
    client.server.propagation.to_replicas(NO_DATABASE, argv[2:])
    return OK


_HELP: Final = (
    ("AOF-FLUSH-SLEEP <microseconds>", "Sleep before every write to the append-only file."),
    ("CHANGE-REPL-ID", "Give this primary another replication id."),
    ("CLOSE-CLUSTER-LINK-ON-PACKET-DROP <0|1>", "Close the link of a frame that DROP-CLUSTER-PACKET-FILTER drops."),
    ("CLUSTERLINK KILL <to|from|all> <node-id>", "Break the links of the bus to a node, from it, or both."),
    ("CONFIG-REWRITE-FORCE-ALL", "Rewrite the configuration file with all directives, defaults included."),
    ("DIGEST", "Show a fingerprint of the whole data set."),
    ("DIGEST-VALUE <key> [<key> ...]", "Show fingerprints of values."),
    ("DROP-CLUSTER-PACKET-FILTER <packet-type>", "Drop the frames of the bus of a type. -1 for none."),
    ("ERROR <string>", "Reply with <string> as an error."),
    ("LISTPACK <key>", "Say how a packed value is kept."),
    ("LOADAOF", "Write out the append-only file and load it again."),
    ("LOG <message>", "Write <message> to the log."),
    ("OBJECT <key>", "Show how a value is kept."),
    ("PANIC", "Abort the process."),
    ("PAUSE-CRON <0|1>", "Stop the periodic work."),
    ("POPULATE <count> [<prefix>] [<size>]", "Make <count> keys, unknown to replicas and log."),
    ("PROTOCOL <type>", "Reply with a value of a RESP type."),
    ("QUICKLIST-PACKED-THRESHOLD <size>", "Write list elements of <size> bytes as nodes of their own. 0 for default."),
    ("RELOAD [MERGE] [NOFLUSH] [NOSAVE]", "Save a snapshot and load it again."),
    ("REPLICATE <command> [<arg> ...]", "Send a command to the replicas that is not run here: data will diverge."),
    ("REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|time>", "No effect: there are no reply buffers of fixed size."),
    ("REPLYBUFFER RESIZING <0|1>", "No effect, likewise."),
    ("SEGFAULT", "Die of SIGSEGV."),
    ("SET-ACTIVE-EXPIRE <0|1>", "Switch the removal of expired keys that nobody asks for."),
    ("SET-DISABLE-DENY-SCRIPTS <0|1>", "Let scripts call commands that no script may call."),
    ("SET-SKIP-CHECKSUM-VALIDATION <0|1>", "Take RDB files and payloads whose checksum is wrong."),
    ("SLEEP <seconds>", "Do nothing at all for <seconds>."),
    ("STRINGMATCH-LEN <text> <pattern>", "Tell whether a glob pattern fits."),
)

#: name -> (function, least and most arguments behind the name).
_SUBCOMMANDS: Final[dict[bytes, tuple[Callable[[NodeClient, list[bytes]], Any], int, int]]] = {
    b"aof-flush-sleep": (debug_faults.slow_log_writes, 1, 1),
    b"change-repl-id": (_change_replication_id, 0, 0),
    b"close-cluster-link-on-packet-drop": (debug_faults.close_on_drop, 1, 1),
    b"clusterlink": (debug_faults.kill_link, 3, 3),
    b"config-rewrite-force-all": (_rewrite_config, 0, 0),
    b"digest": (_digest, 0, 0),
    b"digest-value": (_digest_value, 0, 1 << 31),
    b"drop-cluster-packet-filter": (debug_faults.drop_packets, 1, 1),
    b"error": (_error, 1, 1),
    b"listpack": (_listpack, 1, 1),
    b"loadaof": (_load_log, 0, 0),
    b"log": (_log, 1, 1),
    b"object": (_object, 1, 1),
    b"panic": (_panic, 0, 0),
    b"pause-cron": (_pause_cron, 1, 1),
    b"populate": (_populate, 1, 3),
    b"protocol": (_protocol, 1, 1),
    b"quicklist-packed-threshold": (_quicklist_packed_threshold, 1, 1),
    b"reload": (_reload, 0, 3),
    b"replicate": (_replicate, 1, 1 << 31),
    b"replybuffer": (debug_faults.reply_buffers, 2, 2),
    b"segfault": (_segfault, 0, 0),
    b"set-active-expire": (_set_active_expire, 1, 1),
    b"set-disable-deny-scripts": (_allow_all_in_scripts, 1, 1),
    b"set-skip-checksum-validation": (debug_faults.skip_checksums, 1, 1),
    b"sleep": (_sleep, 1, 1),
    b"stringmatch-len": (_stringmatch_length, 2, 2),
    b"help": (lambda client, argv: help_reply(b"DEBUG", _HELP), 0, 0),
}
