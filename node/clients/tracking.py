"""Server-assisted client caching (CLIENT TRACKING): who must be told that a cached key is no longer valid.

Default mode: the keys that a client reads are remembered for it; the first change of a key tells everyone who read it
and forgets them. Broadcast mode: a client names prefixes, and at the end of every pass hears of all keys below them
that changed. The table of remembered keys is bounded by `tracking-table-max-keys`: beyond it, keys are forgotten at
random with an invalidation, so a client at worst reads again what it had.

A client that ends its tracking leaves its entries behind; they go when their keys do. Messages to the client whose own
command caused them follow its reply, as in stock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_TRACKING, Client
from slotmesh.node.resp.values import Push
from slotmesh.node.spec import registry

if TYPE_CHECKING:
    from slotmesh.node.keyspace.keyspace import Keyspace
    from slotmesh.node.spec.registry import CommandSpec

CHANNEL: Final = b"__redis__:invalidate"
#: Keys forgotten per housekeeping round when the table is too large; grows while it stays so.
_EFFORT: Final = 100
#: Read-only commands whose own keys are not what the client reads: the commands inside are tracked instead.
_SCRIPTS: Final = frozenset((b"eval_ro", b"evalsha_ro", b"fcall_ro"))


class TrackingState:
    """What one client asked for. `redirect`: id of the client that gets the messages, 0 for itself."""

    __slots__ = (
        "active",
        "broadcast",
        "broken_redirect",
        "caching",
        "client",
        "noloop",
        "optin",
        "optout",
        "prefixes",
        "redirect",
    )

    def __init__(self, client: Client) -> None:
        self.client = client
        self.active = True
        self.redirect = 0
        self.broadcast = self.optin = self.optout = self.noloop = False
        self.caching = False
        self.broken_redirect = False
        self.prefixes: dict[bytes, None] = {}


class Tracking:
    """All tracking clients of one node."""

    def __init__(self, keyspace: Keyspace, client_by_id: Callable[[int], Client | None], rng: random.Random) -> None:
        self._keyspace = keyspace
        self._client_by_id = client_by_id
        self._rng = rng
        self._readers: dict[bytes, dict[TrackingState, None]] = {}
        self._prefixes: dict[bytes, dict[TrackingState, None]] = {}
        #: For each prefix the keys that changed in this pass, and who changed them last (None: nobody that tracks).
        self._changed: dict[bytes, dict[bytes, TrackingState | None]] = {}
        self._states: dict[TrackingState, None] = {}
        self._current: TrackingState | None = None
        self._owed: list[bytes | None] = []
        self._rounds_over_limit = 0
        self.total_items = 0

    # -- figures for INFO ------------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """Clients that track."""
        return len(self._states)

    @property
    def keys(self) -> int:
        """Keys remembered for somebody."""
        return len(self._readers)

    @property
    def prefix_count(self) -> int:
        """Prefixes that somebody listens to."""
        return len(self._prefixes)

    # -- switching -------------------------------------------------------------------------------------------

    def turn_on(
        self,
        client: Client,
        *,
        redirect: int,
        broadcast: bool,
        optin: bool,
        optout: bool,
        noloop: bool,
        prefixes: Sequence[bytes],
    ) -> None:
        """CLIENT TRACKING ON. The options are compatible; prefixes add to those of before."""
        state: TrackingState | None = client.tracking
        if state is None:
            state = client.tracking = TrackingState(client)
            self._states[state] = None
            client.set_gate(GATE_TRACKING, True)
            self._keyspace.watched += 1
            self._keyspace.refresh_observed()
        state.redirect, state.broken_redirect = redirect, False
        state.broadcast, state.optin, state.optout, state.noloop = broadcast, optin, optout, noloop
        if broadcast:
            for prefix in prefixes or (b"",):
                state.prefixes[prefix] = None
                self._prefixes.setdefault(prefix, {})[state] = None

    def turn_off(self, client: Client) -> None:
        """CLIENT TRACKING OFF, RESET, or the client went away."""
        state: TrackingState | None = client.tracking
        if state is None:
            return
        for prefix in state.prefixes:
            listeners = self._prefixes[prefix]
            del listeners[state]
            if not listeners:
                del self._prefixes[prefix]
                self._changed.pop(prefix, None)
        state.active = False
        del self._states[state]
        client.tracking = None
        client.set_gate(GATE_TRACKING, False)
        self._keyspace.watched -= 1
        self._keyspace.refresh_observed()
        if self._current is state:
            self._current = None
        if not self._states:
            # The last one: nobody tells us of changes any more, so what is remembered would only grow stale.
            self._forget_readers()

    @staticmethod
    def check_prefixes(client: Client, prefixes: Sequence[bytes]) -> None:
        """A key must fall below one prefix of a client only. Raises CommandError."""
        state: TrackingState | None = client.tracking
        held = state.prefixes if state is not None else {}
        for i, prefix in enumerate(prefixes):
            for other in held:
                if prefix.startswith(other) or other.startswith(prefix):
                    raise CommandError(_overlap(prefix, b"an existing prefix", other))
            for other in prefixes[i + 1 :]:
                if prefix.startswith(other) or other.startswith(prefix):
                    raise CommandError(_overlap(prefix, b"another provided prefix", other))

    # -- around a command of a tracking client ---------------------------------------------------------------

    def before_command(self, client: Client) -> None:
        """A tracking client begins a command: what it is owed for its last one comes first."""
        if not client.in_exec:
            self.pay()
            self._current = client.tracking

    def after_command(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """It is done: remember what was read."""
        state: TrackingState | None = client.tracking
        if state is None:
            return
        self.remember(state, spec, argv)
        if client.multi is None and not client.in_exec and not spec.full_name.startswith(b"client|"):
            state.caching = False

    def remember(self, state: TrackingState, spec: CommandSpec, argv: list[bytes]) -> None:
        """Note the keys of a reading command for the client of `state`."""
        if state.broadcast or not spec.flags & registry.READONLY or spec.name in _SCRIPTS:
            return
        if (state.optin and not state.caching) or (state.optout and state.caching):
            return
        for index in spec.key_positions(argv):
            readers = self._readers.setdefault(argv[index], {})
            if state not in readers:
                readers[state] = None
                self.total_items += 1

    # -- invalidation ----------------------------------------------------------------------------------------

    def touched(self, key: bytes) -> None:
        """A key changed: called by the keyspace."""
        for prefix in self._prefixes:
            if key.startswith(prefix):
                self._changed.setdefault(prefix, {})[key] = self._current
        self._invalidate(key)

    def _invalidate(self, key: bytes) -> None:
        readers = self._readers.pop(key, None)
        if readers is None:
            return
        self.total_items -= len(readers)
        for state in readers:
            if not state.active or state.broadcast:
                continue
            if state is not self._current:
                self._send(state, [key])
            elif not state.noloop:
                self._owed.append(key)

    def flushed(self) -> None:
        """Whole databases were emptied: one message without keys tells that all are invalid."""
        for state in self._states:
            if state is self._current:
                self._owed.append(None)
            else:
                self._send(state, None)
        self._forget_readers()
        self._changed.clear()

    def _forget_readers(self) -> None:
        """Forget who read what: up to `tracking-table-max-keys` keys."""
        self._keyspace.lazy_free.add_parts([self._readers])
        self._readers = {}
        self.total_items = 0

    def pay(self) -> None:
        """Send the current client what its own command invalidated: its reply is on the way now."""
        state, self._current = self._current, None
        if self._owed:
            owed, self._owed = self._owed, []
            if state is not None and state.active:
                for key in owed:
                    self._send(state, None if key is None else [key])

    def end_of_pass(self) -> None:
        """Send what is owed and what broadcasts have gathered."""
        if not self._states:
            return
        self.pay()
        changed, self._changed = self._changed, {}
        for prefix, keys in sorted(changed.items()):
            for state in list(self._prefixes.get(prefix, ())):
                chosen = sorted(key for key, by in keys.items() if not (state.noloop and by is state))
                if chosen:
                    self._send(state, chosen)

    def _send(self, state: TrackingState, keys: list[bytes] | None) -> None:
        target: Client | None = state.client
        if state.redirect:
            target = self._client_by_id(state.redirect)
            if target is None:
                state.broken_redirect = True
                if state.client.resp3:
                    state.client.reply(Push((b"tracking-redir-broken", state.redirect)))
                return
        assert target is not None
        if target.resp3:
            target.reply(Push((b"invalidate", keys)))
        elif state.redirect and (target.channels or target.patterns or target.shard_channels):
            target.reply(Push((b"message", CHANNEL, keys)))

    def limit_table(self, max_keys: int) -> bool:
        """Housekeeping: keep the table below `tracking-table-max-keys` (0: no limit); whether it was above."""
        if not max_keys or len(self._readers) <= max_keys:
            self._rounds_over_limit = 0
            return False
        self._rounds_over_limit += 1
        surplus = min(len(self._readers) - max_keys, _EFFORT * self._rounds_over_limit)
        for key in self._rng.sample(list(self._readers), surplus):
            self._invalidate(key)
        return True


def _overlap(prefix: bytes, kind: bytes, other: bytes) -> ErrorReply:
    return ErrorReply(
        b"ERR Prefix '%b' overlaps with %b '%b'. Prefixes for a single client must not overlap." % (prefix, kind, other)
    )
