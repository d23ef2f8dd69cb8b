"""Every error text of the server, in one place, word for word as the stock server (7.0) says them.

A handler raises `CommandError` with an `ErrorReply`; dispatch answers with that reply and the connection lives on. The
first word is the error's code; clients, and the `errorstats` section of INFO, tell errors apart by it.
"""

from __future__ import annotations

from typing import Final


class ErrorReply:
    """What a client is told when a command fails: a value like any other reply.

    The constants below are such values and never exceptions. An exception that is raised again and again collects the
    traceback of every raise, and with it frames and arguments; a value holds nothing but its text.
    """

    __slots__ = ("line", "wire")

    def __init__(self, line: bytes | str) -> None:
        """`line` is the whole text without the leading `-`."""
        self.line = line.encode() if isinstance(line, str) else line
        #: The reply as sent. Line breaks would end it early, so they become spaces, as in stock.
        self.wire = b"-%b\r\n" % self.line.replace(b"\r", b" ").replace(b"\n", b" ")

    @property
    def code(self) -> bytes:
        """The first word, such as `ERR` or `WRONGTYPE`."""
        return self.line.split(b" ", 1)[0]

    def __repr__(self) -> str:
        return f"ErrorReply({self.line!r})"


class CommandError(Exception):
    """Raised by a handler or a check that refuses a command; whoever catches it goes on with `reply` alone.

    It is made anew for each raise and does not outlive the `except` clause that catches it (see `ErrorReply`).
    """

    __slots__ = ("reply",)

    def __init__(self, reply: ErrorReply | bytes | str) -> None:
        super().__init__(reply)
        self.reply = reply if isinstance(reply, ErrorReply) else ErrorReply(reply)

    def __str__(self) -> str:
        return self.reply.line.decode("utf-8", "replace")


WRONG_TYPE: Final = ErrorReply("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX: Final = ErrorReply("ERR syntax error")
NOT_INTEGER: Final = ErrorReply("ERR value is not an integer or out of range")
NOT_FLOAT: Final = ErrorReply("ERR value is not a valid float")
NO_SUCH_KEY: Final = ErrorReply("ERR no such key")
SAME_OBJECT: Final = ErrorReply("ERR source and destination objects are the same")
OUT_OF_RANGE: Final = ErrorReply("ERR index out of range")
NO_AUTH: Final = ErrorReply("NOAUTH Authentication required.")
READ_ONLY: Final = ErrorReply("READONLY You can't write against a read only replica.")
OOM: Final = ErrorReply("OOM command not allowed when used memory > 'maxmemory'.")
LOADING: Final = ErrorReply("LOADING Redis is loading the dataset in memory")
MASTER_DOWN: Final = ErrorReply("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
NO_REPLICAS: Final = ErrorReply("NOREPLICAS Not enough good replicas to write.")
MISCONF: Final = ErrorReply(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands"
    " that may modify the data set are disabled, because this instance is configured to report errors during "
    "writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for "
    "details about the RDB error."
)
CROSS_SLOT: Final = ErrorReply("CROSSSLOT Keys in request don't hash to the same slot")
TRY_AGAIN: Final = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")
CLUSTER_DOWN: Final = ErrorReply("CLUSTERDOWN The cluster is down")
CLUSTER_DOWN_UNBOUND: Final = ErrorReply("CLUSTERDOWN Hash slot not served")
CLUSTER_DOWN_READ_ONLY: Final = ErrorReply("CLUSTERDOWN The cluster is down and only accepts read commands")
FENCED: Final = ErrorReply("CLUSTERDOWN This primary lost its lease from the sentinels and accepts no writes")
EXEC_ABORT: Final = ErrorReply("EXECABORT Transaction discarded because of previous errors.")
BUSY_KEY: Final = ErrorReply("BUSYKEY Target key name already exists.")
UNBLOCKED: Final = ErrorReply("UNBLOCKED client unblocked via CLIENT UNBLOCK")
UNBLOCKED_ROLE: Final = ErrorReply(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)
INCREMENT_OVERFLOW: Final = ErrorReply("ERR increment or decrement would overflow")
STRING_TOO_LONG: Final = ErrorReply("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
OFFSET_RANGE: Final = ErrorReply("ERR offset is out of range")
INVALID_EXPIRE_SET: Final = ErrorReply("ERR invalid expire time in 'set' command")
TIMEOUT_NOT_FLOAT: Final = ErrorReply("ERR timeout is not a float or out of range")
TIMEOUT_NEGATIVE: Final = ErrorReply("ERR timeout is negative")
DB_INDEX: Final = ErrorReply("ERR DB index is out of range")
BAD_DUMP: Final = ErrorReply("ERR DUMP payload version or checksum are wrong")
NO_CLUSTER: Final = ErrorReply("ERR This instance has cluster support disabled")


def lost_leases(name: str, leases: int, needed: int) -> ErrorReply:
    """A guarded primary without a cluster. READONLY has clients of sentinels ask these for the primary again."""
    return ErrorReply(
        f"READONLY This primary is guarded by the sentinels of '{name}' and has {leases} of the {needed} leases "
        f"that it needs to take writes. If they are gone for good, CLUSTER UNGUARD {name} frees it."
    )


def wrong_arity(name: bytes) -> ErrorReply:
    """`name` is the full name: `config|get` for a subcommand."""
    return ErrorReply(b"ERR wrong number of arguments for '%b' command" % name)


def unknown_command(argv: list[bytes]) -> ErrorReply:
    """The stock text: the name and the arguments, cut at 128 characters each."""
    shown = b""
    for arg in argv[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % arg[: 128 - len(shown)]
    return ErrorReply(b"ERR unknown command '%b', with args beginning with: %b" % (argv[0][:128], shown))


def unknown_subcommand(container: bytes, sub: bytes) -> ErrorReply:
    """A container command was given a subcommand that it lacks."""
    return ErrorReply(b"ERR unknown subcommand '%b'. Try %b HELP." % (sub[:128], container.upper()))


def subcommand_syntax(container: bytes, sub: bytes) -> ErrorReply:
    """A subcommand that exists was called with arguments it does not take."""
    return ErrorReply(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (sub[:128], container.upper())
    )


def bad_subcommand_use(container: bytes, sub: bytes) -> ErrorReply:
    """A subcommand exists, but not with these arguments."""
    return ErrorReply(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (sub[:128], container.upper())
    )


def invalid_expire(command: bytes) -> ErrorReply:
    """An expiry that is not positive or overflows."""
    return ErrorReply(b"ERR invalid expire time in '%b' command" % command)


def moved(slot: int, host: bytes, port: int) -> ErrorReply:
    """The slot is served elsewhere, for good."""
    return ErrorReply(b"MOVED %d %b:%d" % (slot, host, port))


def ask(slot: int, host: bytes, port: int) -> ErrorReply:
    """The key may have moved already: ask the slot's importer, this once."""
    return ErrorReply(b"ASK %d %b:%d" % (slot, host, port))
