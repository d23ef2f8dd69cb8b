"""Scripts and functions of one node: the cache of scripts, the libraries, the run under way and its time limit.

Everything Lua is made when first needed. EVAL and functions live in two Lua worlds, as in stock, so that SCRIPT FLUSH
can throw one away. What a run changes leaves as one unit (MULTI ... EXEC) for the log and the replicas.

A run that exceeds `busy-reply-threshold` is *busy*: `interrupt`, which Lua calls several times in a millisecond, then
gives way now and then, so that clients, the bus, replicas and timers get their turn (node/base/fibers.py), and
dispatch answers all but a few commands with BUSY.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import SERVER_BUSY, SERVER_MONITORS, SERVER_STALE
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.keyspace.propagation import EVERYBODY
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.scripting import flags as script_flags
from slotmesh.node.scripting.cache import Script, ScriptCache
from slotmesh.node.scripting.failures import CompileError, RunError
from slotmesh.node.scripting.functions import Functions
from slotmesh.node.scripting.randomness import Randomness
from slotmesh.node.scripting.run import Run
from slotmesh.node.scripting.texts import worded
from slotmesh.node.spec.arguments import to_int64

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.observe.monitors import Monitors
    from slotmesh.node.scripting.calls import CallParts
    from slotmesh.node.scripting.engine import Engine
    from slotmesh.node.serving.data_plane import DataPlane
    from slotmesh.node.spec.registry import CommandSpec

log = logging.getLogger("node")

NO_SCRIPT: Final = ErrorReply("NOSCRIPT No matching script. Please use EVAL.")
BUSY_SCRIPT: Final = ErrorReply(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
)
BUSY_FUNCTION: Final = ErrorReply(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
)
_NOT_BUSY: Final = ErrorReply("NOTBUSY No scripts in execution right now.")
_OF_PRIMARY: Final = ErrorReply(
    "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed."
)
_WROTE: Final = ErrorReply(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script "
    "termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)
_TOO_MANY_KEYS: Final = ErrorReply("ERR Number of keys can't be greater than number of args")
_NEGATIVE_KEYS: Final = ErrorReply("ERR Number of keys can't be negative")
_BAD_KEYS: Final = ErrorReply("ERR Bad number of keys provided")
_NO_CLUSTER: Final = ErrorReply("ERR Can not run script on cluster, 'no-cluster' flag is set.")
_READ_ONLY: Final = ErrorReply("ERR Can not execute a script with write flag using *_ro command.")
_KILLED: Final = b"Script killed by user with SCRIPT KILL..."
_FUNCTION_KILLED: Final = b"Function killed"
_SHUT_DOWN: Final = b"ERR The server is going down"
_LOAD_TIMEOUT: Final = b"ERR FUNCTION LOAD timeout"
_LOAD_TIMEOUT_NS: Final = 500_000_000
_SHA1_LENGTH: Final = 40
#: How long a busy script runs before others get their turn again.
_TURN_NS: Final = 1_000_000


class Scripting:
    """All that concerns scripts on one node."""

    def __init__(
        self,
        parts: CallParts,
        data_plane: DataPlane,
        monitors: Monitors,
        *,
        new_client: Callable[[], Client],
        signalled: Callable[[], bool],
    ) -> None:
        """`new_client`: a pseudo-client, for what scripts call. `signalled`: whether a signal wants the node to end."""
        self._state = parts.state
        self._parts = parts
        self._data_plane = data_plane
        self._monitors = monitors
        self._new_client = new_client
        self._signalled = signalled
        #: Behind `math.random`, for scripts and functions alike.
        self.randomness = Randomness()
        self.cache = ScriptCache()
        self._engine: Engine | None = None
        self._run: Run | None = None
        self._load_deadline_ns = 0
        self._resume_until_ns = 0
        self.functions = Functions(self._new_engine)
        self._state.config.on_change("lua-memory-limit", self._limit_memory)
        #: DEBUG SET-DISABLE-DENY-SCRIPTS: scripts may call what no script may.
        self.allow_all_commands = False

    # -- the worlds ------------------------------------------------------------------------------------------

    def _new_engine(self, register: Any = None) -> Engine:
        from slotmesh.node.scripting.calls import Calls
        from slotmesh.node.scripting.engine import Engine

        return Engine(
            Calls(self._parts, self, self._new_client()),
            self.interrupt,
            self._state.config.lua_memory_limit,
            register,
        )

    def _limit_memory(self, limit: int) -> None:
        """CONFIG SET lua-memory-limit."""
        for engine in (self._engine, self.functions.world):
            if engine is not None:
                engine.memory.set_limit(limit)

    @property
    def engine(self) -> Engine:
        """The world of EVAL."""
        if self._engine is None:
            self._engine = self._new_engine()
        return self._engine

    # -- the cache -------------------------------------------------------------------------------------------

    def load(self, body: bytes, *, passing: bool = False) -> Script:
        """The script with this text, compiled if it is new. `passing`: for EVAL. Raises CommandError."""
        script = self.cache.with_body(body)
        if script is None:
            flags, source = script_flags.parse_script(body)
            try:
                function = self.engine.compile(source)
            except CompileError as error:
                raise CommandError(b"ERR Error compiling script (new function): " + error.text) from None
            script = Script(hashlib.sha1(body).hexdigest().encode(), body, flags, function)
            self.cache.add(script, passing=passing)
        elif not passing:
            self.cache.keep(script)
        return script

    def find(self, sha: bytes) -> Script:
        """The script with this SHA1. Raises CommandError."""
        script = self.cache.with_sha(sha)
        if script is None:
            raise CommandError(NO_SCRIPT)
        return script

    def flush(self) -> None:
        """Forget all scripts, and the world they lived in unless one of them runs (scripts allowed everything)."""
        self.cache.clear()
        if self._engine is not None and self._run is None:
            self._engine.close()
            self._engine = None

    def flags_of(self, argv: list[bytes], *, by_sha: bool) -> int:
        """The flags of the script that an EVAL or EVALSHA would run, as far as can be told."""
        script = self.cache.with_sha(argv[1]) if by_sha else self.cache.with_body(argv[1])
        if script is not None:
            return script.flags
        if by_sha:
            return script_flags.COMPATIBLE
        try:
            return script_flags.parse_script(argv[1])[0]
        except CommandError:
            return script_flags.COMPATIBLE

    # -- running ---------------------------------------------------------------------------------------------

    def eval(self, client: Client, spec: CommandSpec, argv: list[bytes], *, by_sha: bool, read_only: bool) -> Any:
        """EVAL and its kin. Raises CommandError."""
        if self._state.gates & SERVER_MONITORS:  # before the commands of the script
            self._monitors.feed(client, spec, argv)
        if by_sha and len(argv[1]) != _SHA1_LENGTH:
            raise CommandError(NO_SCRIPT)
        keys = _key_count(argv, errors.NOT_INTEGER)
        script = self.find(argv[1]) if by_sha else self.load(argv[1], passing=True)
        self.cache.used(script)
        run = Run(client, spec, argv, script.sha, is_eval=True)
        self._admit(run, script.flags, read_only)
        return self._execute(self.engine, run, script.function, keys)

    def call_function(self, client: Client, spec: CommandSpec, argv: list[bytes], *, read_only: bool) -> Any:
        """FCALL and FCALL_RO. Raises CommandError."""
        if self._state.gates & SERVER_MONITORS:
            self._monitors.feed(client, spec, argv)
        function = self.functions.find(argv[1])
        keys = _key_count(argv, _BAD_KEYS)
        run = Run(client, spec, argv, function.name, is_eval=False)
        self._admit(run, function.flags, read_only)
        return self._execute(self.functions.engine, run, function.callback, keys)

    def _admit(self, run: Run, flags: int, read_only: bool) -> None:
        """Whether a script with these flags may start here. Raises CommandError.

        What depends on the state of the node, dispatch has judged already, by the flags of the script.
        """
        state = self._state
        if flags & script_flags.COMPATIBLE:
            if state.gates & SERVER_STALE and not run.caller.gates & GATE_PRIMARY:
                raise CommandError(errors.MASTER_DOWN)
        else:
            if flags & script_flags.NO_CLUSTER and self._parts.cluster() is not None:
                raise CommandError(_NO_CLUSTER)
            if read_only and not flags & script_flags.NO_WRITES:
                raise CommandError(_READ_ONLY)
            run.allow_oom = bool(flags & script_flags.ALLOW_OOM)
            run.allow_cross_slot = bool(flags & script_flags.ALLOW_CROSS_SLOT)
            read_only = read_only or bool(flags & script_flags.NO_WRITES)
            if self._parts.cluster() is not None and state.keyspace.hot_key is not None and run.argv[2] != b"0":
                run.slot = state.keyspace.hot_slot
        run.read_only = read_only

    def _execute(self, engine: Engine, run: Run, function: Any, keys: int) -> Any:
        client = run.caller
        calls, propagation = engine.calls, self._state.propagation
        calls.begin(run)
        self._run = run
        propagation.begin_batch()
        try:
            return engine.run(function, run.name, keys, run.argv[3:], client.resp3)
        except RunError as error:
            failure = ErrorReply(error.text)
            if not error.counted:
                raise CommandError(failure) from None
            run.spec.failed_calls += 1  # the error itself was counted when it happened
            return failure
        finally:
            if self._data_plane.stopping:
                propagation.drop_batch()
            propagation.end_batch()
            propagation.targets = EVERYBODY
            client.propagate_as()  # the batch has brought what there is to propagate
            self._run = None
            calls.end()
            if run.busy:
                self._end_busy(run)

    def load_library(self, code: bytes, *, replace: bool, trusted: bool) -> bytes:
        """FUNCTION LOAD: the name of the library. `trusted`: its text ran before, so no time limit.

        Raises CommandError.
        """
        self._load_deadline_ns = 0 if trusted else perf_counter_ns() + _LOAD_TIMEOUT_NS
        try:
            return self.functions.load(code, replace=replace)
        finally:
            self._load_deadline_ns = 0

    def load_saved_library(self, code: bytes, *, replace: bool = False) -> None:
        """A library from a file or a primary. Raises LoadError."""
        try:
            self.load_library(code, replace=replace, trusted=True)
        except CommandError as error:
            raise LoadError(f"a function library cannot be loaded: {error}") from error

    # -- the time limit --------------------------------------------------------------------------------------

    def interrupt(self) -> bytes | None:
        """Called while Lua runs, several times in a millisecond: why it must stop, or None."""
        run = self._run
        if run is None:
            deadline = self._load_deadline_ns
            return _LOAD_TIMEOUT if deadline and perf_counter_ns() > deadline else None
        threshold = self._state.config.busy_reply_threshold
        if not run.busy:
            overdue = threshold and run.duration_ms >= threshold
            if not overdue and not self._signalled():
                return None
            self._begin_busy(run)
        state = self._state
        if state.fibers.can_give_way and perf_counter_ns() >= self._resume_until_ns:
            self._data_plane.give_way(run.caller)
            self._resume_until_ns = perf_counter_ns() + _TURN_NS
        if self._data_plane.stopping or run.cut_off:
            return _SHUT_DOWN
        if run.killed:
            log.warning("Lua script killed by user with %s KILL.", "SCRIPT" if run.is_eval else "FUNCTION")
            return worded(_KILLED if run.is_eval else _FUNCTION_KILLED)
        return None

    def _begin_busy(self, run: Run) -> None:
        log.warning(
            "Slow script detected: still in execution after %d milliseconds. You can try killing the script using the "
            "%s command. Script name is: %s.",
            run.duration_ms,
            "SCRIPT KILL" if run.is_eval else "FUNCTION KILL",
            run.name.decode(),
        )
        run.busy = True
        self._state.set_gate(SERVER_BUSY, True)

    def _end_busy(self, run: Run) -> None:
        self._state.set_gate(SERVER_BUSY, False)
        self._state.refresh_clock()

    @property
    def busy_error(self) -> ErrorReply:
        """What others are told while a run is busy."""
        return BUSY_SCRIPT if self._run is None or self._run.is_eval else BUSY_FUNCTION

    @property
    def running(self) -> Run | None:
        """The run under way."""
        return self._run

    def principal(self, client: Client) -> Client:
        """The client that a script's pseudo-client speaks for; any other is itself."""
        return self._run.caller if client.is_script and self._run is not None else client

    def kill(self, *, is_eval: bool) -> None:
        """SCRIPT KILL and FUNCTION KILL. Raises CommandError."""
        run = self._run
        if run is None:
            raise CommandError(_NOT_BUSY)
        if run.trusted:
            raise CommandError(_OF_PRIMARY)
        if run.wrote:
            raise CommandError(_WROTE)
        if run.is_eval != is_eval:
            raise CommandError(self.busy_error)
        run.killed = True

    # -- figures ---------------------------------------------------------------------------------------------

    def stats_fields(self) -> dict[str, Any]:
        """What scripts add to the `stats` section of INFO at level 7.2."""
        return {"evicted_scripts": self.cache.evicted} if COMPAT.newer else {}

    def info_fields(self) -> dict[str, Any]:
        """What scripts add to the `memory` section of INFO."""
        from slotmesh.node.observe.info import human_bytes

        vm_eval = self._engine.bytes_used if self._engine is not None else 0
        vm_functions = self.functions.vm_bytes
        kept = self.cache.size_bytes + self.functions.size_bytes
        return {
            "used_memory_lua": vm_eval,
            "used_memory_vm_eval": vm_eval,
            "used_memory_lua_human": human_bytes(vm_eval),
            "used_memory_scripts_eval": self.cache.size_bytes,
            "number_of_cached_scripts": len(self.cache),
            "number_of_functions": len(self.functions.by_name),
            "number_of_libraries": len(self.functions.libraries),
            "used_memory_vm_functions": vm_functions,
            "used_memory_vm_total": vm_eval + vm_functions,
            "used_memory_vm_total_human": human_bytes(vm_eval + vm_functions),
            "used_memory_functions": self.functions.size_bytes,
            "used_memory_scripts": kept,
            "used_memory_scripts_human": human_bytes(kept),
        }


def _key_count(argv: list[bytes], bad: ErrorReply) -> int:
    keys = to_int64(argv[2])
    if keys is None:
        raise CommandError(bad)
    if keys > len(argv) - 3:
        raise CommandError(_TOO_MANY_KEYS)
    if keys < 0:
        raise CommandError(_NEGATIVE_KEYS)
    return keys
