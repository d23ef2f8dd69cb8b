"""The trio driver: turns sockets, time, files and processes into events of the core, and its effects into deeds.

It decides nothing. Effects are carried out strictly in order: at once where nothing has to be saved, else by one task
(a file is synced in a thread before the next effect goes on, so a vote is on disk before it is on the wire). One task
waits for the core's next deadline, one for what comes on any connection (`slotmesh.cluster.poller`). Events may come
from any task: `step` is a plain call.

When the state cannot be written, nothing that rests on it may leave: commands of that batch are answered with an error,
and connections that were to carry something are closed instead.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from subprocess import PIPE, STDOUT

import hiredis
import trio

from slotmesh.cluster.addresses import is_ip
from slotmesh.cluster.faults import Complaints
from slotmesh.cluster.poller import Poller
from slotmesh.node.config.rewrite import replace_file
from slotmesh.node.resp.encoder import encode_command
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.effects import (
    DEBUG,
    NOTICE,
    VERBOSE,
    WARNING,
    Closed,
    Connect,
    Connected,
    Disconnect,
    Effect,
    Emit,
    ErrorReply,
    Event,
    Exit,
    KillScript,
    Log,
    Persist,
    Replied,
    Reply,
    Request,
    Resolve,
    Resolved,
    Respond,
    RunScript,
    ScriptEnded,
    ScriptStarted,
    Send,
    Stored,
    Tick,
    split_free,
)
from slotmesh.sentinel.wire import Wire, connect

CONNECT_TIMEOUT_S = 5.0
"""A connection that is neither made nor refused for this long is given up and tried again."""

LOG_LEVELS = {DEBUG: logging.DEBUG, VERBOSE: logging.DEBUG + 1, NOTICE: logging.INFO, WARNING: logging.WARNING}
TICK_SLACK_MS = 20
"""While all is well, deadlines within this time are met together: what is sent together is answered together."""

CANNOT_EXECUTE = 2
FAULT_PAUSE_S = 0.1
MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A reply that is not over after so much is none; the view of a very large cluster is a tenth of it."""

_logger = logging.getLogger("sentinel")


def monotonic_ms() -> int:
    """The core's clock. It runs while the process is stopped, and nobody can set it."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Driver:
    """Runs one core. `publish` hands a sentinel event to the subscribers."""

    def __init__(self, core: SentinelCore, config_path: str, publish: Callable[[str, str], None]) -> None:
        self.core = core
        self.config_path = config_path
        self._publish = publish
        self._complaints = Complaints(_logger, time.monotonic)
        self._wires: dict[int, Wire] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._scripts: dict[int, trio.Process] = {}
        self._waiting: dict[int, _Answer] = {}
        self._last_request = 0
        self._poller = Poller(self._end_pass)
        self._in_pass = False
        self._carrying = False
        self._held: set[int] = set()
        """Connections on which something waits for the saving that is under way."""
        self._work = trio.Event()
        self._timer = trio.Event()
        self._armed_ms = 0
        self._nursery: trio.Nursery | None = None

    # -------------------------------------------------------------------------------------------------------- stepping

    def step(self, event: Event) -> None:
        """Give the core an event; its effects are carried out soon."""
        self.core.step(max(monotonic_ms(), self.core.ctx.now_ms), event)
        if self._in_pass:
            return
        if not self.core.ctx.idle:
            self._work.set()
        if self.core.next_deadline_ms() < self._armed_ms:
            self._timer.set()

    def _end_pass(self) -> None:
        """What came is taken in: what follows is done now, unless something has to be saved before."""
        self._in_pass = False
        ctx = self.core.ctx
        if ctx.dirty or self._carrying:
            if self._carrying:
                for send in ctx.take_free(self._held):
                    self._carry_out_one(send, saved=True)
            if not ctx.idle:
                self._work.set()
        elif not ctx.idle:
            for effect in self.core.take_effects():
                self._carry_out_one(effect, saved=True)
        if self.core.next_deadline_ms() < self._armed_ms:
            self._timer.set()

    async def request(self, argv: tuple[bytes, ...]) -> Reply:
        """Have the core execute a command; returns the reply once all that precedes it is done."""
        self._last_request += 1
        request_id, answer = self._last_request, _Answer()
        self._waiting[request_id] = answer
        try:
            try:
                self.step(Request(request_id, argv))
            except Exception:  # a bug of ours
                self._complaints.fault(f"a command, {argv[0][:32]!r},")
                return ErrorReply("ERR internal error; see the log")
            await answer.ready.wait()
        finally:
            del self._waiting[request_id]
        return answer.reply

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._carry_out_all)
                nursery.start_soon(self._keep_time)
                nursery.start_soon(self._poller.run)
                task_status.started()
        finally:
            for wire in self._wires.values():
                wire.close()
            self._poller.close()

    async def _keep_time(self) -> None:
        ticked_ms = 0
        while True:
            self._armed_ms = self.core.next_deadline_ms()
            due_ms = self._armed_ms if self.core.is_hurried else max(self._armed_ms, ticked_ms + TICK_SLACK_MS)
            wait_ms = due_ms - monotonic_ms()
            if ticked_ms and wait_ms > 0:
                self._timer = trio.Event()
                with trio.move_on_after(wait_ms / 1000):
                    await self._timer.wait()
                continue  # the deadline may be another one by now
            ticked_ms = monotonic_ms()
            try:
                self._in_pass = True
                self.step(Tick(wall_ms()))
            except Exception:  # a bug of ours
                self._complaints.fault("a tick")
                await trio.sleep(FAULT_PAUSE_S)  # the deadline may still stand
            finally:
                self._end_pass()

    # --------------------------------------------------------------------------------------------------------- effects

    async def _carry_out_all(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            self._carrying = True
            failed = False
            while not self.core.ctx.idle:
                try:
                    effects = self.core.take_effects()
                except Exception:  # a bug of ours: what cannot be rendered is not saved, nor told
                    self._complaints.fault("a batch of effects")
                    await trio.sleep(FAULT_PAUSE_S)
                    continue
                failed = await self._carry_out(effects, after_failure=failed)
            self._carrying = False

    async def _carry_out(self, effects: list[Effect], *, after_failure: bool) -> bool:
        """Carry out one batch; returns whether its Persist failed.

        `after_failure`: the batch before could not be saved, and this one was decided before the core knew that.
        """
        saved, failed = not after_failure, False
        if effects and isinstance(effects[0], Persist):
            free, effects = split_free(effects, self._held)
            for send in free:
                self._carry_out_one(send, saved=True)
        for effect in effects:
            if isinstance(effect, Persist):
                saved = await self._persist(effect.content)
                failed = not saved
            else:
                self._carry_out_one(effect, saved)
        self._held.clear()
        return failed

    def _carry_out_one(self, effect: Effect, saved: bool) -> None:
        """One effect that is no Persist; `saved`: whether what it rests on could be saved."""
        try:
            if isinstance(effect, Send):
                self._send(effect, saved)
            elif isinstance(effect, Respond):
                self._respond(effect, saved)
            else:
                self._do(effect)
        except Exception:  # a bug of ours: the effects behind it are as due as before
            self._complaints.fault(f"an effect, {type(effect).__name__},")

    def _do(self, effect: Effect) -> None:
        assert self._nursery is not None, "the driver does not run"
        if isinstance(effect, Emit):
            _logger.log(LOG_LEVELS[effect.level], "%s %s", effect.channel, effect.message)
            if effect.level != DEBUG:
                self._publish(effect.channel, effect.message)
        elif isinstance(effect, Log):
            _logger.log(LOG_LEVELS[effect.level], "%s", effect.message)
        elif isinstance(effect, Connect):
            scope = self._scopes[effect.conn_id] = trio.CancelScope()
            self._nursery.start_soon(self._connection, effect, scope)
        elif isinstance(effect, Disconnect):
            if effect.conn_id in self._scopes:  # it may have ended by itself meanwhile
                self._scopes[effect.conn_id].cancel()
        elif isinstance(effect, Resolve):
            self._nursery.start_soon(self._resolve, effect.host)
        elif isinstance(effect, RunScript):
            self._nursery.start_soon(self._run_script, effect)
        elif isinstance(effect, KillScript):
            process = self._scripts.get(effect.job_id)
            if process is not None:
                process.kill()
        elif isinstance(effect, Exit):
            logging.shutdown()
            os._exit(effect.code)

    async def _persist(self, content: str) -> bool:
        try:
            data = content.encode("utf-8", "surrogateescape")
            await trio.to_thread.run_sync(replace_file, self.config_path, data)
        except OSError as error:
            _logger.warning("WARNING: the state could not be saved to %s: %s", self.config_path, error)
            self.step(Stored(False))
            return False
        _logger.info("Sentinel new configuration saved on disk")
        self.step(Stored(True))
        return True

    def _send(self, effect: Send, saved: bool) -> None:
        wire = self._wires.get(effect.conn_id)
        if wire is None:
            return
        if saved:
            wire.send(encode_command(list(effect.argv)))
        else:
            wire.close()

    def _respond(self, effect: Respond, saved: bool) -> None:
        answer = self._waiting.get(effect.request_id)
        if answer is not None:
            failure = ErrorReply("ERR Failed to save config file. Check server logs.")
            answer.reply = effect.reply if saved else failure
            answer.ready.set()

    # ------------------------------------------------------------------------------------------------------ connections

    async def _connection(self, effect: Connect, scope: trio.CancelScope) -> None:
        """Life of one outgoing connection. After the core's own Disconnect it ends without an event."""
        conn_id, refused, reason = effect.conn_id, False, "closed by the peer"
        wire: Wire | None = None
        with scope:
            try:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    wire, remote_ip = await connect(effect.host, effect.port)
                self._wires[conn_id] = wire
                self.step(Connected(conn_id, wire.local_ip(), remote_ip))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wire.drain)
                    reason = await self._follow(conn_id, wire)
                    nursery.cancel_scope.cancel()
            except trio.TooSlowError:
                reason = "timed out"
            except (OSError, UnicodeError) as error:  # UnicodeError: a host that is not even a name
                refused, reason = isinstance(error, ConnectionRefusedError), str(error)
            except Exception:  # a bug of ours
                self._complaints.fault(f"the connection to {effect.host}:{effect.port}")
                reason = "internal error"
        self._wires.pop(conn_id, None)
        del self._scopes[conn_id]
        if wire is not None:
            wire.close()
        if not scope.cancelled_caught:
            try:
                self.step(Closed(conn_id, refused, reason))
            except Exception:  # a bug of ours
                self._complaints.fault("the end of a connection")

    async def _follow(self, conn_id: int, wire: Wire) -> str:
        """Have what a peer says handed on until it has no more to say; why it ended."""
        peer = _Peer()
        descriptor = wire.fileno()

        def end() -> None:
            self._poller.forget(descriptor)
            peer.ended.set()

        wire.on_close = end
        if not wire.closed:
            self._poller.watch(descriptor, lambda _: self._on_readable(conn_id, wire, peer))
            try:
                await peer.ended.wait()
            finally:
                end()
        return peer.reason

    def _on_readable(self, conn_id: int, wire: Wire, peer: _Peer) -> None:
        data = wire.receive_now()
        if data is None:
            return
        self._in_pass = True
        try:
            reason = self._take(conn_id, peer, data) if data else peer.reason
        except Exception:  # a bug of ours
            self._complaints.fault("a reply")
            reason = "internal error"
        if reason:
            peer.reason = reason
            wire.on_close()

    def _take(self, conn_id: int, peer: _Peer, data: bytes) -> str:
        """Hand on the replies in what came; why the connection must end, or the empty string."""
        peer.reader.feed(data)
        peer.unread += len(data)
        try:
            while (value := peer.reader.gets()) is not False:
                peer.unread = 0
                if isinstance(value, hiredis.ReplyError):
                    value = ErrorReply(str(value))
                self.step(Replied(conn_id, value))
        except hiredis.ProtocolError:
            return "speaks another protocol"
        return "sends a reply without end" if peer.unread > MAX_REPLY_BYTES else ""

    async def learn_name(self, host: str) -> None:
        """Look a name up before a command needs it; nothing to do for addresses, or where names are not resolved."""
        ctx = self.core.ctx
        if ctx.options.resolve_hostnames and not is_ip(host) and not ctx.names.get(host):
            await self._resolve(host)

    async def _resolve(self, host: str) -> None:
        ip = ""
        try:
            found = await trio.socket.getaddrinfo(host, None)
            ip = str(found[0][4][0])
        except (OSError, UnicodeError) as error:
            _logger.warning("Failed to resolve hostname '%s': %s", host, error)
        self.step(Resolved(host, ip))

    # ---------------------------------------------------------------------------------------------------------- scripts

    async def _run_script(self, effect: RunScript) -> None:
        try:
            process = await trio.lowlevel.open_process(list(effect.argv), stdout=PIPE, stderr=STDOUT)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument, which may come from outside
            _logger.warning("cannot run %s: %s", effect.argv[0], error)
            self.step(ScriptEnded(effect.job_id, CANNOT_EXECUTE, 0))
            return
        self._scripts[effect.job_id] = process
        self.step(ScriptStarted(effect.job_id, process.pid))
        try:
            assert process.stdout is not None, "the script has no output pipe"
            async for line in process.stdout:
                _logger.debug("%s: %s", effect.argv[0], line.decode("utf-8", "replace").rstrip())
            status = await process.wait()
        finally:
            process.kill()
            del self._scripts[effect.job_id]
        self.step(ScriptEnded(effect.job_id, max(status, 0), max(-status, 0)))


class _Peer:
    """The reading side of a connection, and why it ended."""

    __slots__ = ("ended", "reader", "reason", "unread")

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.unread = 0
        self.ended = trio.Event()
        self.reason = "closed by the peer"


class _Answer:
    """A reply that somebody waits for."""

    __slots__ = ("ready", "reply")

    def __init__(self) -> None:
        self.ready = trio.Event()
        self.reply: Reply = None
