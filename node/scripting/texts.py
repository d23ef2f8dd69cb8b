"""What scripts are told when something goes wrong, word for word as the stock server says it, at both compat levels.

Level 7.2 has the words of Valkey 8, which calls the table of functions `server`.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.acl.check import DENIED_COMMAND, DENIED_DATABASE, DENIED_KEY
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import ErrorReply

_DENIALS: Final = {
    DENIED_COMMAND: b"can't run this command or subcommand",
    DENIED_KEY: b"can't access at least one of the keys mentioned in the command arguments",
    DENIED_DATABASE: b"can't access the database",
}
_DENIED_CHANNEL: Final = b"can't publish to the channel mentioned in the command"
#: What came after 7.0 in other words.
_NEWER: Final = {
    b"Unknown Redis command called from script": b"Unknown command called from script",
    b"Wrong number of args calling Redis command from script": b"Wrong number of args calling command from script",
    b"Please specify at least one argument for this redis lib call": b"Please specify at least one argument for this "
    b"call",
    b"Lua redis lib command arguments must be strings or integers": b"Command arguments must be strings or integers",
    b"Invalid debug level.": b"Invalid log level.",
    b"redis.set_repl() requires two arguments.": b"server.set_repl() requires one argument.",
    b"Script killed by user with SCRIPT KILL...": b"Script killed by user with SCRIPT KILL.",
    b"Function killed": b"Script killed by user with FUNCTION KILL.",
}
_OLDER: Final = {b"Function killed": b"Script killed by user with SCRIPT KILL..."}


#: A run that goes beyond `lua-memory-limit` ends with this.
OUT_OF_MEMORY: Final = b"ERR The script needs more memory than lua-memory-limit allows"


def worded(text: bytes) -> bytes:
    """An error text of 7.0 in the words of the level, with its code."""
    if COMPAT.newer:
        text = _NEWER.get(text, text).replace(b"redis.", b"server.")
    return b"ERR " + _OLDER.get(text, text)


def denied_text(verdict: int, user: bytes, command: bytes) -> bytes:
    """The user who runs the script may not do this."""
    if not COMPAT.newer:
        return b"ERR The user executing the script " + _DENIALS.get(verdict, _DENIED_CHANNEL)
    if verdict == DENIED_COMMAND:
        return b"ERR ACL failure in script: User %b has no permissions to run the '%b' command" % (user, command)
    what = {DENIED_KEY: b"a key", DENIED_DATABASE: b"database"}.get(verdict, b"a channel")
    return b"ERR ACL failure in script: No permissions to access " + what


def cluster_text(error: ErrorReply, command: bytes) -> bytes:
    """A redirection that a client would have got."""
    if error is errors.CLUSTER_DOWN_READ_ONLY:
        return b"ERR Script attempted to execute a write command while the cluster is down and readonly"
    if error is errors.CLUSTER_DOWN:
        return b"ERR Script attempted to execute a command while the cluster is down"
    if COMPAT.newer:
        if error is errors.CROSS_SLOT:
            return b"ERR Command '%b' in script attempted to access keys that don't hash to the same slot" % command
        if error is errors.TRY_AGAIN:
            return (
                b"ERR Unable to execute command '%b' in script because undeclared keys were accessed during rehashing "
                b"of the slot" % command
            )
        if error is errors.CLUSTER_DOWN_UNBOUND:
            return b"ERR Script attempted to access a slot not served"
    return b"ERR Script attempted to access a non local key in a cluster node"
