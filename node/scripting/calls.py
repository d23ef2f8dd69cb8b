"""`redis.call` and the rest of the `redis` table: what scripts reach of the server.

A command of a script goes through `dispatch.call` like anybody's, in the name of a pseudo-client with the rights and
the database of the script's caller. The checks before it are those of dispatch, in stock's order for scripts and with
stock's texts for scripts; what the caller was asked already (arity of EVAL, pauses) is not asked again.

An error is raised as `ScriptFailure`; the sandbox turns it into the table that scripts know (`prelude.lua`).
"""

from __future__ import annotations

import hashlib
import logging
from binascii import crc_hqx
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from slotmesh.cluster.slots import key_slot
from slotmesh.node.acl.check import ALLOWED, denied, judge
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import SERVER_MEMORY, SERVER_REPLICA, SERVER_STALE, SERVER_WRITES_REFUSED
from slotmesh.node.clients.client import (
    GATE_ACL,
    GATE_ASKING,
    GATE_NO_TOUCH,
    GATE_PRIMARY,
    GATE_READONLY,
    GATE_TRACKING,
)
from slotmesh.node.keyspace.propagation import EVERYBODY
from slotmesh.node.scripting.conversion import error_text, number_text, to_int64
from slotmesh.node.scripting.failures import ScriptFailure, Thrown
from slotmesh.node.scripting.memory_cap import RESERVE
from slotmesh.node.scripting.texts import cluster_text, denied_text, worded
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import LOOKUP, CommandSpec

if TYPE_CHECKING:
    from slotmesh.node.acl.check import DenialLog
    from slotmesh.node.clients.client import Client
    from slotmesh.node.clients.tracking import Tracking
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.scripting.randomness import Randomness
    from slotmesh.node.scripting.run import Run
    from slotmesh.node.serving.dispatch import Dispatch
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

_INHERITED_GATES: Final = GATE_ACL | GATE_ASKING | GATE_NO_TOUCH | GATE_PRIMARY | GATE_READONLY
_INT_LIMIT: Final = 1 << 31
#: Replies below this fit into what is always kept free for them (memory_cap.py).
_SMALL: Final = RESERVE // 2
_LEVELS: Final = (logging.DEBUG, logging.DEBUG, logging.INFO, logging.WARNING)
_VERBOSITY: Final = {"debug": 0, "verbose": 1, "notice": 2, "warning": 3}
_NOT_RUNNING: Final = b"redis.%b can only be called inside a script invocation"
_NESTED: Final = b"ERR a command of a script cannot be called while another one runs"
#: From 7.2 on a script may call these; they do not wait then.
_NEVER_WAIT: Final = frozenset(
    (b"blpop", b"brpop", b"brpoplpush", b"blmove", b"blmpop", b"bzpopmin", b"bzpopmax", b"bzmpop", b"wait", b"waitaof")
)


@attrs.frozen
class CallParts:
    """What the commands of scripts run with."""

    state: NodeState
    dispatch: Dispatch
    acl_log: DenialLog
    tracking: Tracking
    write_refusal: Callable[[], ErrorReply | None]
    cluster: Callable[[], ClusterHost | None]


class World(Protocol):
    """What all Lua worlds of a node share."""

    allow_all_commands: bool
    """Scripts may call what no script may."""
    randomness: Randomness


class Calls:
    """The server as seen from one Lua world. `engine` is that world, set once it exists."""

    def __init__(self, parts: CallParts, scripting: World, client: Client) -> None:
        """`client`: a pseudo-client of its own."""
        self._state = parts.state
        self._parts = parts
        self._scripting = scripting
        self._client = client
        self._client.is_script = True
        self.engine: Any = None
        self.thrown = Thrown()
        self.run: Run | None = None
        self._calling = False

    # -- a run -----------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """What is called from now on belongs to `run`."""
        client, caller = self._client, run.caller
        client.db = caller.db
        client.user = caller.user
        client.resp3 = False
        client.gates = caller.gates & _INHERITED_GATES
        client.readonly = caller.readonly
        client.write_offset = caller.write_offset
        client.in_exec = caller.in_exec
        self.run = run

    def end(self) -> None:
        """The run is over."""
        self.run = None

    # -- commands --------------------------------------------------------------------------------------------

    def call(self, *args: Any) -> Any:
        """`redis.call`: the reply. Raises ScriptFailure."""
        try:
            result = self._invoke(args)
            if type(result) is ErrorReply:
                raise ScriptFailure(error_text(result.line), True)
            return self._shown(result)
        except ScriptFailure as failure:
            thrown = self.thrown.like(failure)
        args, result = (), None  # Lua keeps the error, and with it this frame, for as long as it likes
        raise thrown

    def pcall(self, *args: Any) -> Any:
        """`redis.pcall`: the reply, or an error as a table. Raises ScriptFailure when no error of a command is it."""
        try:
            return self._shown(self._invoke(args))
        except ScriptFailure as failure:
            if self.run is not None and not failure.final:
                return self.engine.error_table(failure.text, failure.counted)
            thrown = self.thrown.like(failure)
        args = ()
        raise thrown

    def _shown(self, result: Any) -> Any:
        """A reply as the script sees it. Raises ScriptFailure when it is too large."""
        kind = type(result)
        if kind is int:
            return result
        if kind is bytes:
            if len(result) > _SMALL:
                self.engine.check_room(len(result))
            return result
        return self.engine.to_lua(result, self._client.resp3)

    def _invoke(self, args: tuple[Any, ...]) -> Any:
        run = self.run
        if run is None:
            raise ScriptFailure(worded(_NOT_RUNNING % b"call/pcall"))
        if self._calling:  # a finalizer, which may run whenever Lua collects garbage
            raise ScriptFailure(_NESTED)
        self.engine.check_room()
        argv = self._argv(args)
        state, parts, client = self._state, self._parts, self._client
        self._calling = True
        try:
            spec = self._admit(run, client, argv)
            state.stats.commands += 1
            run.caller.commands_run += 1
            result = parts.dispatch.call(client, spec, argv)
            if run.caller.gates & GATE_TRACKING:
                parts.tracking.after_command(run.caller, spec, argv)
            return result
        finally:
            self._calling = False

    @staticmethod
    def _argv(args: tuple[Any, ...]) -> list[bytes]:
        """Strings and numbers as arguments. Raises ScriptFailure."""
        argv: list[bytes] = []
        for arg in args:
            kind = type(arg)
            if kind is bytes:
                argv.append(arg)
            elif kind is int or kind is float:
                argv.append(number_text(arg))
            else:
                raise ScriptFailure(worded(b"Lua redis lib command arguments must be strings or integers"))
        if not argv:
            raise ScriptFailure(worded(b"Please specify at least one argument for this redis lib call"))
        return argv

    def _admit(self, run: Run, client: Client, argv: list[bytes]) -> CommandSpec:
        """The command's spec, if the script may run it now. Raises ScriptFailure, counted as a rejected call."""
        spec = LOOKUP.get(argv[0])
        if spec is None or spec.subcommands is not None:
            try:
                spec = registry.find(argv)
            except CommandError:
                raise self._rejected(None, worded(b"Unknown Redis command called from script")) from None
        if not spec.min_arity <= len(argv) <= spec.max_arity:
            raise self._rejected(spec, worded(b"Wrong number of args calling Redis command from script"))
        flags, gates = spec.flags, self._state.gates
        if flags & registry.NOSCRIPT and not self._is_allowed(spec):
            raise self._rejected(spec, b"ERR This Redis command is not allowed from script")
        if gates & SERVER_STALE and not flags & registry.STALE:
            raise self._rejected(spec, b"ERR Can not execute the command on a stale replica")
        if client.gates & GATE_ACL:
            verdict = denied(self._parts.acl_log, client, spec, argv)
            if verdict != ALLOWED:
                raise self._rejected(spec, denied_text(verdict, client.user.name, spec.full_name))
        if run.read_only and flags & (registry.WRITE | registry.MAY_REPLICATE):
            raise self._rejected(spec, b"ERR Write commands are not allowed from read-only scripts.")
        if gates:
            self._check_server(run, spec, gates)
        if flags & registry.WRITE:
            run.wrote = True
        if self._parts.cluster() is not None:
            self._check_slot(run, client, spec, argv)
        return spec

    def _is_allowed(self, spec: CommandSpec) -> bool:
        """Whether a script may call a command that is not made for scripts."""
        return self._scripting.allow_all_commands or (COMPAT.newer and spec.full_name in _NEVER_WAIT)

    def _check_server(self, run: Run, spec: CommandSpec, gates: int) -> None:
        """Whether this node takes writes now. A run that wrote already may go on: half of it would be worse."""
        state = self._state
        if run.wrote or run.trusted:
            return
        if spec.flags & registry.WRITE and gates & (SERVER_REPLICA | SERVER_WRITES_REFUSED):
            refusal = self._parts.write_refusal()
            if refusal is not None:
                raise self._rejected(spec, refusal.line)
        if gates & SERVER_MEMORY and spec.flags & registry.DENYOOM and state.out_of_memory and not run.allow_oom:
            raise self._rejected(spec, errors.OOM.line)

    def _check_slot(self, run: Run, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """A script uses keys of this node only; one that declares flags, of one slot only, unless it says otherwise."""
        state, keyspace = self._state, self._state.keyspace
        keyspace.hot_key = None
        if run.trusted or not (spec.key_specs or spec.find_keys):
            return
        served, slot = state.served, -1
        if spec.single_key > 0 and served is not None:
            key = argv[spec.single_key]
            slot = key_slot(key) if b"{" in key else crc_hqx(key, 0) & 0x3FFF
            if served[slot]:
                keyspace.hot_key, keyspace.hot_slot = key, slot
        if keyspace.hot_key is None:
            cluster = self._parts.cluster()
            assert cluster is not None
            try:
                cluster.routing.check(client, spec, argv)
            except CommandError as error:
                raise self._rejected(spec, cluster_text(error.reply, spec.full_name)) from None
            if keyspace.hot_key is None:
                return
            slot = keyspace.hot_slot
        if not run.allow_cross_slot:
            if run.slot < 0:
                run.slot = slot
            elif run.slot != slot:
                raise self._rejected(spec, b"ERR Script attempted to access keys that do not hash to the same slot")

    def _rejected(self, spec: CommandSpec | None, line: bytes) -> ScriptFailure:
        self._state.stats.count_error(ErrorReply(line))
        if spec is not None:
            spec.rejected_calls += 1
        return ScriptFailure(line, True)

    # -- the rest of the table -------------------------------------------------------------------------------

    def sha1hex(self, *args: Any) -> bytes:
        """`redis.sha1hex`."""
        if len(args) != 1:
            raise ScriptFailure(b"ERR wrong number of arguments")
        text = args[0]
        if type(text) in (int, float):
            text = _to_text(self.engine, text)
        return hashlib.sha1(text if type(text) is bytes else b"").hexdigest().encode()

    def log(self, *args: Any) -> None:
        """`redis.log`."""
        if len(args) < 2:
            raise ScriptFailure(worded(b"redis.log() requires two arguments or more."))
        number = _to_number(args[0])
        if number is None:
            raise ScriptFailure(b"ERR First argument must be a number (log level).")
        level = _to_int(number)
        if not 0 <= level <= 3:
            raise ScriptFailure(worded(b"Invalid debug level."))
        if level >= _VERBOSITY.get(self._state.config.loglevel, 0):
            words = [_to_text(self.engine, word) for word in args[1:] if type(word) in (bytes, int, float)]
            log.log(_LEVELS[level], "%s", b" ".join(words).decode(errors="backslashreplace"))

    def setresp(self, *args: Any) -> None:
        """`redis.setresp`: the protocol in which the script sees replies from now on."""
        if self.run is None:
            raise ScriptFailure(worded(_NOT_RUNNING % b"setresp"))
        if len(args) != 1:
            raise ScriptFailure(worded(b"redis.setresp() requires one argument."))
        version = _to_int(_to_number(args[0]) or 0)
        if version not in (2, 3):
            raise ScriptFailure(b"ERR RESP version must be 2 or 3.")
        self._client.resp3 = version == 3
        self.engine.set_resp3(self._client.resp3)

    def set_repl(self, *args: Any) -> None:
        """`redis.set_repl`: who gets what the script changes from now on."""
        run = self.run
        if run is None:
            raise ScriptFailure(worded(_NOT_RUNNING % b"set_repl"))
        if len(args) != 1:
            raise ScriptFailure(worded(b"redis.set_repl() requires two arguments."))
        targets = _to_int(_to_number(args[0]) or 0)
        if targets & ~EVERYBODY:
            raise ScriptFailure(b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
        run.targets = self._state.propagation.targets = targets

    def acl_check_cmd(self, *args: Any) -> bool:
        """`redis.acl_check_cmd`: whether the caller of the script may run a command."""
        run = self.run
        if run is None:
            raise ScriptFailure(worded(_NOT_RUNNING % b"acl_check_cmd"))
        argv = self._argv(args)
        try:
            spec = registry.find(argv)
        except CommandError:
            raise ScriptFailure(worded(b"Invalid command passed to redis.acl_check_cmd()")) from None
        return judge(run.caller.user, spec, argv, self._client.db.index)[0] == ALLOWED

    def random(self, *args: Any) -> float:
        """`math.random`: of [0, 1), of [1, upper] or of [lower, upper]."""
        drawn = self._scripting.randomness.draw()
        if not args:
            return drawn
        if len(args) > 2:
            raise ScriptFailure(b"wrong number of arguments", plain=True)
        bounds = [_int_argument(args, i, b"random") for i in range(len(args))]
        low, high = (1, bounds[0]) if len(args) == 1 else bounds
        if low > high:
            raise ScriptFailure(b"bad argument #%d to 'random' (interval is empty)" % len(args), plain=True)
        return int(drawn * (high - low + 1)) + low

    def random_seed(self, *args: Any) -> None:
        """`math.randomseed`."""
        self._scripting.randomness.seed(_int_argument(args, 0, b"randomseed"))

    def count_error(self, line: bytes) -> None:
        """A script replies with an error inside an array."""
        self._state.stats.count_error(ErrorReply(line))


def _int_argument(args: tuple[Any, ...], index: int, function: bytes) -> int:
    """A number as a C int takes it: without its fraction, the lower 32 bits. Raises ScriptFailure."""
    number = _to_number(args[index]) if index < len(args) else None
    if number is None:
        given = b"no value" if index >= len(args) else _lua_type(args[index])
        text = b"bad argument #%d to '%b' (number expected, got %b)" % (index + 1, function, given)
        raise ScriptFailure(text, plain=True)
    return (to_int64(number) + (1 << 31)) % (1 << 32) - (1 << 31)


def _lua_type(value: Any) -> bytes:
    if value is None:
        return b"nil"
    if type(value) is bool:
        return b"boolean"
    return b"string" if type(value) is bytes else b"table"


def _to_number(value: Any) -> float | None:
    """A number, or a string that Lua would take for one: what C's `strtod` reads, with spaces around it."""
    if type(value) is int or type(value) is float:
        return float(value)
    if type(value) is bytes and b"_" not in value:
        try:
            text = value.decode("ascii").strip()
            return float.fromhex(text) if text.lstrip("+-")[:2] in ("0x", "0X") else float(text)
        except (ValueError, OverflowError):
            return None
    return None


def _to_int(number: float) -> int:
    """A number as a C int, without its fraction; what does not fit is the smallest one, as the processor has it."""
    if not -_INT_LIMIT <= number < _INT_LIMIT:
        return -_INT_LIMIT
    return int(number)


def _to_text(engine: Any, word: Any) -> bytes:
    """A string, or a number as Lua writes it."""
    return word if type(word) is bytes else engine.to_text(word)
