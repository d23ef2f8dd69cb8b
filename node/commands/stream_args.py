"""Arguments that several stream commands share: IDs, intervals, trimming, lookups. No command lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.keyspace.database import IGNORE
from slotmesh.node.spec.arguments import INT64_MAX, integer, integer_between
from slotmesh.node.spec.key_specs import key_at
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import Group
from slotmesh.node.types.stream_id import MAX_ID, U64_MAX, format_id, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotmesh.node.server import NodeClient
    from slotmesh.node.types.stream_node import Entry

KEY_LOOK: Final = key_at(b"RO")
KEY_SUB_READ: Final = key_at(b"RO", b"ACCESS", index=2)

BAD_ID: Final = ErrorReply("ERR Invalid stream ID specified as stream command argument")
_BAD_START: Final = ErrorReply("ERR invalid start ID for the interval")
_BAD_END: Final = ErrorReply("ERR invalid end ID for the interval")
_TWO_STRATEGIES: Final = ErrorReply("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
_MAXLEN_NEGATIVE: Final = ErrorReply("ERR The MAXLEN argument must be >= 0.")
_LIMIT_NEGATIVE: Final = ErrorReply("ERR The LIMIT argument must be >= 0.")
_LIMIT_ALONE: Final = ErrorReply("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
_LIMIT_EXACT: Final = ErrorReply("ERR syntax error, LIMIT cannot be used without the special ~ option")
#: Bounds of the default LIMIT, which is 100 nodes.
_DEFAULT_LIMIT: Final = 10_000
_MAX_LIMIT: Final = 1_000_000


def strict_id(text: bytes, missing_seq: int = 0) -> int:
    """An ID `ms` or `ms-seq`. Raises CommandError for anything else, `-` and `+` included."""
    entry_id = parse_id(text, missing_seq)
    if entry_id is None:
        raise CommandError(BAD_ID)
    return entry_id


def loose_id(text: bytes, missing_seq: int = 0) -> int:
    """An ID, or `-` for the lowest and `+` for the highest one."""
    if text == b"-":
        return 0
    if text == b"+":
        return MAX_ID
    return strict_id(text, missing_seq)


def interval_start(text: bytes) -> int:
    """The lower end of an interval: an ID, `(ID` to exclude it, `-` or `+`."""
    if text[:1] != b"(" or len(text) == 1:
        return loose_id(text)
    entry_id = strict_id(text[1:])
    if entry_id == MAX_ID:
        raise CommandError(_BAD_START)
    return entry_id + 1


def interval_end(text: bytes) -> int:
    """The upper end of an interval: an incomplete ID means all of its millisecond."""
    if text[:1] != b"(" or len(text) == 1:
        return loose_id(text, U64_MAX)
    entry_id = strict_id(text[1:], U64_MAX)
    if entry_id == 0:
        raise CommandError(_BAD_END)
    return entry_id - 1


def must_obey(client: NodeClient) -> bool:
    """True for what comes from the primary or the append-only file: it happened there, so it must happen here."""
    return bool(client.gates & GATE_PRIMARY) or client.db.keyspace.expiry_mode == IGNORE


class Trimming:
    """MAXLEN or MINID with its modifiers, as XADD and XTRIM take it. `limit` is None when it was not given.

    `policy` says what becomes of references that groups have: b"" leaves them (KEEPREF), else DELREF or ACKED.
    """

    __slots__ = ("_policy_given", "_strategy", "approximate", "limit", "policy", "threshold")

    def __init__(self) -> None:
        self._strategy = b""
        self._policy_given = False
        self.policy = b""
        self.threshold = 0
        self.approximate = False
        self.limit: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether a strategy was given."""
        return bool(self._strategy)

    def parse_option(self, argv: list[bytes], at: int) -> int:
        """Take the option at index `at`; the index behind it, or `at` when it is none of ours."""
        word = argv[at].lower()
        left = len(argv) - 1 - at
        if word == b"limit" and left:
            self.limit = integer(argv[at + 1])
            if self.limit < 0:
                raise CommandError(_LIMIT_NEGATIVE)
            return at + 2
        if word in (b"keepref", b"delref", b"acked"):
            if self._policy_given:
                raise CommandError(errors.SYNTAX)
            self._policy_given = True
            self.policy = b"" if word == b"keepref" else word.upper()
            return at + 1
        if word not in (b"maxlen", b"minid") or not left:
            return at
        if self._strategy:
            raise CommandError(_TWO_STRATEGIES)
        self._strategy = word.upper()
        self.approximate = False
        at += 1
        if left >= 2 and argv[at] in (b"~", b"="):
            self.approximate = argv[at] == b"~"
            at += 1
        if word == b"minid":
            self.threshold = strict_id(argv[at])
        else:
            self.threshold = integer(argv[at])
            if self.threshold < 0:
                raise CommandError(_MAXLEN_NEGATIVE)
        return at + 1

    def check(self, client: NodeClient, missing: ErrorReply | None = None) -> None:
        """Check how the options go together. `missing`: raised without a strategy."""
        if not self._strategy:
            if self.limit:
                raise CommandError(_LIMIT_ALONE)
            if missing is not None:
                raise CommandError(missing)
        if self.limit is not None and not self.approximate and not must_obey(client):
            raise CommandError(_LIMIT_EXACT)

    def apply(self, client: NodeClient, value: StreamValue) -> int:
        """Trim; how many entries were removed."""
        if self._strategy == b"MAXLEN":
            spare = value.length - self.threshold
            if spare <= 0 or (self.approximate and spare < len(value.nodes[0].ids)):
                return 0  # which is what almost every XADD comes to
            return value.trim_to_length(self.threshold, self.approximate, self.most(client))
        if self._strategy == b"MINID":
            return value.trim_to_id(self.threshold, self.approximate, self.most(client))
        return 0

    def spare(self, value: StreamValue) -> int:
        """How many entries the strategy wants removed, at most."""
        return max(0, value.length - self.threshold) if self._strategy == b"MAXLEN" else value.length

    def last_candidate(self, value: StreamValue) -> int:
        """The greatest ID that the strategy lets go."""
        if self._strategy == b"MINID":
            return self.threshold - 1
        return value.last_id if self._strategy else -1

    def most(self, client: NodeClient) -> int:
        """How many entries may go at most; 0: no limit."""
        if must_obey(client):
            return 0
        if self.limit is not None or not self.approximate:
            return self.limit or 0
        hundred_nodes = 100 * LIMITS.stream_node_max_entries
        return min(hundred_nodes, _MAX_LIMIT) if hundred_nodes > 0 else _DEFAULT_LIMIT

    def outcome(self, value: StreamValue) -> list[bytes]:
        """The exact option that does to an equal stream what `apply` did: for AOF and replicas.

        Empty without a strategy, and when the groups of the stream had a say in what goes (ACKED).
        """
        if not self._strategy or (self.policy == b"ACKED" and value.groups):
            return []
        if self._strategy == b"MAXLEN":
            amount = b"%d" % (len(value) if self.approximate else self.threshold)
        else:
            amount = format_id(value.first_id if self.approximate else self.threshold)
        return [self._strategy, b"=", amount]


def find_group(client: NodeClient, key: bytes, name: bytes) -> tuple[StreamValue, Group] | None:
    """The stream of `key` and its group `name`, None when one is missing. WRONGTYPE for another type."""
    value = client.db.read_as(key, StreamValue)
    group = None if value is None else value.groups.get(name)
    return None if value is None or group is None else (value, group)


def no_group(key: bytes, name: bytes) -> ErrorReply:
    """The answer of most commands when key or group is missing."""
    return ErrorReply(b"NOGROUP No such key '%b' or consumer group '%b'" % (key, name))


def entry_reply(entry_id: int, entry: Entry) -> tuple[bytes, Entry]:
    """An entry as all commands return it."""
    return format_id(entry_id), entry


def entries_reply(found: Sequence[tuple[int, Entry]]) -> list[tuple[bytes, Entry]]:
    """Several entries as all commands return them."""
    return [(b"%d-%d" % (entry_id >> 64, entry_id & U64_MAX), entry) for entry_id, entry in found]


def id_block(argv: list[bytes], at: int) -> tuple[bytes, list[int]]:
    """(policy, IDs) of `[KEEPREF|DELREF|ACKED] IDS numids id...`, in any order, from index `at` on."""
    policy = b""
    ids: list[int] | None = None
    while at < len(argv):
        word = argv[at].upper()
        if word in (b"KEEPREF", b"DELREF", b"ACKED") and not policy:
            policy = word
            at += 1
        elif word == b"IDS" and ids is None and at + 1 < len(argv):
            count = integer_between(argv[at + 1], 1, INT64_MAX, _BAD_NUMIDS)
            if at + 2 + count > len(argv):
                raise CommandError(_NUMIDS_MISMATCH)
            ids = [strict_id(text) for text in argv[at + 2 : at + 2 + count]]
            at += 2 + count
        else:
            raise CommandError(errors.SYNTAX)
    if ids is None:
        raise CommandError(errors.SYNTAX)
    return policy or b"KEEPREF", ids


_BAD_NUMIDS: Final = ErrorReply("ERR Number of IDs must be a positive integer")
_NUMIDS_MISMATCH: Final = ErrorReply("ERR The `numids` parameter must match the number of arguments")
