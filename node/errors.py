"""Every error text of the server, in one place, word for word as the stock server (7.0) says them.

A handler raises `CommandError`; dispatch turns it into one error reply and the connection lives on. The first word is
the error's code; clients, and the `errorstats` section of INFO, tell errors apart by it.
"""

from __future__ import annotations

from typing import Final

from node.resp.encoder import register_encoder


class CommandError(Exception):
    """An error reply: `line` is the whole text without the leading `-`."""

    __slots__ = ("line",)

    def __init__(self, line: bytes | str) -> None:
        super().__init__(line)
        self.line = line.encode() if isinstance(line, str) else line

    @property
    def code(self) -> bytes:
        """The first word, such as `ERR` or `WRONGTYPE`."""
        return self.line.split(b" ", 1)[0]

    @property
    def wire(self) -> bytes:
        """The error reply. Line breaks would end it early, so they become spaces, as in stock."""
        return b"-%b\r\n" % self.line.replace(b"\r", b" ").replace(b"\n", b" ")


register_encoder(CommandError, lambda out, error, resp3: out.append(error.wire))

WRONG_TYPE: Final = CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX: Final = CommandError("ERR syntax error")
NOT_INTEGER: Final = CommandError("ERR value is not an integer or out of range")
NOT_FLOAT: Final = CommandError("ERR value is not a valid float")
NO_SUCH_KEY: Final = CommandError("ERR no such key")
SAME_OBJECT: Final = CommandError("ERR source and destination objects are the same")
OUT_OF_RANGE: Final = CommandError("ERR index out of range")
NO_AUTH: Final = CommandError("NOAUTH Authentication required.")
READ_ONLY: Final = CommandError("READONLY You can't write against a read only replica.")
OOM: Final = CommandError("OOM command not allowed when used memory > 'maxmemory'.")
LOADING: Final = CommandError("LOADING Redis is loading the dataset in memory")
MASTER_DOWN: Final = CommandError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
NO_REPLICAS: Final = CommandError("NOREPLICAS Not enough good replicas to write.")
MISCONF: Final = CommandError(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands"
    " that may modify the data set are disabled, because this instance is configured to report errors during "
    "writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for "
    "details about the RDB error."
)
CROSS_SLOT: Final = CommandError("CROSSSLOT Keys in request don't hash to the same slot")
TRY_AGAIN: Final = CommandError("TRYAGAIN Multiple keys request during rehashing of slot")
CLUSTER_DOWN: Final = CommandError("CLUSTERDOWN The cluster is down")
CLUSTER_DOWN_UNBOUND: Final = CommandError("CLUSTERDOWN Hash slot not served")
CLUSTER_DOWN_READ_ONLY: Final = CommandError("CLUSTERDOWN The cluster is down and only accepts read commands")
FENCED: Final = CommandError("CLUSTERDOWN This primary lost its lease from the sentinels and accepts no writes")
EXEC_ABORT: Final = CommandError("EXECABORT Transaction discarded because of previous errors.")
BUSY_KEY: Final = CommandError("BUSYKEY Target key name already exists.")
UNBLOCKED: Final = CommandError("UNBLOCKED client unblocked via CLIENT UNBLOCK")
UNBLOCKED_ROLE: Final = CommandError(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)
INCREMENT_OVERFLOW: Final = CommandError("ERR increment or decrement would overflow")
STRING_TOO_LONG: Final = CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
OFFSET_RANGE: Final = CommandError("ERR offset is out of range")
INVALID_EXPIRE_SET: Final = CommandError("ERR invalid expire time in 'set' command")
TIMEOUT_NOT_FLOAT: Final = CommandError("ERR timeout is not a float or out of range")
TIMEOUT_NEGATIVE: Final = CommandError("ERR timeout is negative")
DB_INDEX: Final = CommandError("ERR DB index is out of range")
BAD_DUMP: Final = CommandError("ERR DUMP payload version or checksum are wrong")
NO_CLUSTER: Final = CommandError("ERR This instance has cluster support disabled")


def wrong_arity(name: bytes) -> CommandError:
    """`name` is the full name: `config|get` for a subcommand."""
    return CommandError(b"ERR wrong number of arguments for '%b' command" % name)


def unknown_command(argv: list[bytes]) -> CommandError:
    """The stock text: the name and the arguments, cut at 128 characters each."""
    shown = b""
    for arg in argv[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % arg[: 128 - len(shown)]
    return CommandError(b"ERR unknown command '%b', with args beginning with: %b" % (argv[0][:128], shown))


def unknown_subcommand(container: bytes, sub: bytes) -> CommandError:
    """A container command was given a subcommand that it lacks."""
    return CommandError(b"ERR unknown subcommand '%b'. Try %b HELP." % (sub[:128], container.upper()))


def subcommand_syntax(container: bytes, sub: bytes) -> CommandError:
    """A subcommand that exists was called with arguments it does not take."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (sub[:128], container.upper())
    )


def bad_subcommand_use(container: bytes, sub: bytes) -> CommandError:
    """A subcommand exists, but not with these arguments."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (sub[:128], container.upper())
    )


def invalid_expire(command: bytes) -> CommandError:
    """An expiry that is not positive or overflows."""
    return CommandError(b"ERR invalid expire time in '%b' command" % command)


def moved(slot: int, host: bytes, port: int) -> CommandError:
    """The slot is served elsewhere, for good."""
    return CommandError(b"MOVED %d %b:%d" % (slot, host, port))


def ask(slot: int, host: bytes, port: int) -> CommandError:
    """The key may have moved already: ask the slot's importer, this once."""
    return CommandError(b"ASK %d %b:%d" % (slot, host, port))
