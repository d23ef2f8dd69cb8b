"""The users of a node: logging in, changing users, aclfile, and the log of denials.

Clients point at their `User`; a change of a user changes that object in place, so it holds for open connections at
once. `GATE_ACL` is raised only for users with less than all rights, so that the default user costs nothing per command.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from slotmesh.node.acl import rules
from slotmesh.node.acl.check import DENIED_AUTH, may_listen
from slotmesh.node.acl.describe import describe_user
from slotmesh.node.acl.grants import Grants, grants_of
from slotmesh.node.acl.rules import Catalogue, RuleError, UnmatchedParenthesis, User, join_selectors, password_hash
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError
from slotmesh.node.clients.client import GATE_ACL, GATE_AUTH, KIND_PUBSUB, Client
from slotmesh.node.clients.describe import describe_client
from slotmesh.node.config.configuration import Config
from slotmesh.node.config.kinds import ConfigFileError, bytes_of, text_of
from slotmesh.node.config.rewrite import Draft
from slotmesh.node.spec import registry
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

_GROUPING_MS: Final = 60_000
_SCANNED_FOR_GROUPING: Final = 10


class LogEntry:
    """Denials of one kind that were close in time. `created_ms` is when the latest came, `first_ms` the first."""

    __slots__ = ("client_info", "context", "count", "created_ms", "first_ms", "id", "name", "reason", "what")

    def __init__(
        self, number: int, reason: int, context: bytes, what: bytes, name: bytes, client_info: bytes, now_ms: int
    ) -> None:
        self.id = number
        self.reason = reason
        self.context = context
        self.what = what
        self.name = name
        self.client_info = client_info
        self.created_ms = self.first_ms = now_ms
        self.count = 1


class AclLog:
    """The latest denials, newest first, at most `acllog-max-len`."""

    def __init__(self, state: NodeState, principal: Callable[[Client], Client]) -> None:
        """`principal`: the client that a pseudo-client of scripts speaks for."""
        self._state = state
        self._principal = principal
        self.entries: deque[LogEntry] = deque()
        #: Denials by reason since the start or CONFIG RESETSTAT.
        self.denials: Counter[int] = Counter()
        self._next_id = 0

    def add(self, client: Client, reason: int, what: bytes, name: bytes | None = None) -> None:
        """Note a denial; one like a recent one is counted there."""
        now_ms = self._state.clock.now_ms
        name = client.user.name if name is None else name
        context = b"multi" if client.multi is not None or client.in_exec else b"toplevel"
        if client.sock is None:
            context = b"lua"
            client = self._principal(client)  # the log names who is to blame
        self.denials[reason] += 1
        entry = LogEntry(self._next_id, reason, context, what, name, describe_client(client), now_ms)
        for old in list(self.entries)[:_SCANNED_FOR_GROUPING]:
            if (old.reason, old.context, old.what, old.name) == (reason, context, what, name) and (
                abs(now_ms - old.created_ms) <= _GROUPING_MS
            ):
                self.entries.remove(old)
                entry.count += old.count
                entry.id, entry.first_ms = old.id, old.first_ms
                break
        else:
            self._next_id += 1
        self.entries.appendleft(entry)
        while len(self.entries) > self._state.config.acllog_max_len:
            self.entries.pop()


class Acl:
    """All users of one node. The default user always exists and is always the same object."""

    def __init__(self, state: NodeState, clients: Mapping[int, Client], principal: Callable[[Client], Client]) -> None:
        """`principal`: the client that a pseudo-client of scripts speaks for."""
        self._clients = clients
        self._config = state.config
        known = [(spec.full_name, spec.categories) for spec in registry.every_spec()]
        self.catalogue = Catalogue(known, state.config.databases)
        self.log = AclLog(state, principal)
        self.default = self._new_default()
        self._grants: dict[User, Grants] = {}
        self.users: dict[bytes, User] = {b"default": self.default}
        self._config.on_change("requirepass", self.set_default_password)
        self._config.user_lines = lambda: [line.removeprefix(b"user ") for line in self.lines()]
        self._load_at_start()

    def _new_default(self) -> User:
        user = User(b"default")
        for rule in (b"+@all", b"~*", b"&*", b"on", b"nopass"):
            user.apply(rule, self.catalogue)
        return user

    @property
    def _all_channels(self) -> bool:
        return self._config.acl_pubsub_default == "allchannels"

    # -- clients ---------------------------------------------------------------------------------------------

    def start_client(self, client: Client) -> None:
        """A new connection is the default user, logged in when that user is on and needs no password."""
        client.authenticated = self.default.no_password and self.default.enabled
        self._become(client, self.default)

    def log_in(self, client: Client, name: bytes, password: bytes, command: bytes) -> bool:
        """Make `client` the user `name`. False, and an entry in the log, when the credentials are wrong.

        `command`: the word that the client used, AUTH or HELLO, for the log.
        """
        user = self.users.get(name)
        if user is None or not self._credentials_match(user, password):
            self.log.add(client, DENIED_AUTH, command, name)
            return False
        client.authenticated = True
        self._become(client, user)
        return True

    @staticmethod
    def _credentials_match(user: User, password: bytes) -> bool:
        if not user.enabled:
            return False
        digest = password_hash(password)
        matches = [hmac.compare_digest(digest, known) for known in user.passwords]
        return user.no_password or any(matches)

    def _become(self, client: Client, user: User) -> None:
        client.user = user
        self._refresh(client)

    def _refresh(self, client: Client) -> None:
        open_to_all = self.default.no_password and self.default.enabled
        client.set_gate(GATE_AUTH, not client.authenticated and not open_to_all)
        client.set_gate(GATE_ACL, not client.user.unlimited)
        client.grants = {} if client.user.unlimited else self._grants_of(client.user)

    def _grants_of(self, user: User) -> Grants:
        found = self._grants.get(user)
        if found is None:
            found = self._grants[user] = grants_of(user, registry.every_spec())
        return found

    def refresh_clients(self) -> None:
        """Rights changed: the gates of all clients follow."""
        self._grants.clear()
        for client in self._clients.values():
            if client.user is not None:  # None: the link to our primary, which no rights apply to
                self._refresh(client)

    # -- changing users --------------------------------------------------------------------------------------

    def set_user(self, name: bytes, changes: Sequence[bytes], caller: Client | None = None) -> None:
        """ACL SETUSER: all changes or none. Raises CommandError."""
        user = self.users.get(name)
        draft = User(name, self._all_channels)
        if user is not None:
            draft.become(user)
        try:
            joined = join_selectors(changes)
        except UnmatchedParenthesis as error:
            opening = changes[error.index]
            raise CommandError(b"ERR Unmatched parenthesis in acl selector starting at '%b'." % opening) from error
        for rule in joined:
            try:
                draft.apply(rule, self.catalogue, self._all_channels)
            except RuleError as error:
                reason = error.args[0].encode()
                raise CommandError(b"ERR Error in ACL SETUSER modifier '%b': %b" % (rule, reason)) from error
        if user is None:
            self.users[name] = draft
        else:
            self._close_listeners_without_right(user, draft, caller)
            user.become(draft)
        self.refresh_clients()

    def delete_user(self, name: bytes, caller: Client | None = None) -> bool:
        """Remove a user and close its connections; False when there is none. Not for the default user."""
        user = self.users.pop(name, None)
        if user is None:
            return False
        self._close_clients_of(user, caller)
        return True

    def set_default_password(self, password: bytes) -> None:
        """`requirepass`: the default user's only password, or none when empty."""
        self.default.apply(b"resetpass", self.catalogue)
        self.default.apply(b">" + password if password else b"nopass", self.catalogue)
        self.refresh_clients()

    def _close_clients_of(self, user: User, caller: Client | None) -> None:
        for client in list(self._clients.values()):
            if client.user is user:
                client.user = self.default
                client.authenticated = False
                self._refresh(client)
                close_client(client, caller)

    def _close_listeners_without_right(self, old: User, new: User, caller: Client | None) -> None:
        """A user lost channels: connections that listen to one of those are closed."""
        if any(selector.all_channels for selector in new.selectors):
            return
        allowed = [channel for selector in new.selectors for channel in selector.channels]
        before = [channel for selector in old.selectors for channel in selector.channels]
        if not any(selector.all_channels for selector in old.selectors) and set(before) <= set(allowed):
            return
        for client in list(self._clients.values()):
            if client.user is old and client.kind == KIND_PUBSUB:
                patterns_fit = all(may_listen(allowed, pattern, True) for pattern in client.patterns)
                listened = (*client.channels, *client.shard_channels)
                if not patterns_fit or not all(may_listen(allowed, channel, False) for channel in listened):
                    close_client(client, caller)

    # -- files -----------------------------------------------------------------------------------------------

    def lines(self) -> list[bytes]:
        """All users in the form of an aclfile, sorted by name."""
        return [
            b"user %b %b" % (name, describe_user(user, self.catalogue)) for name, user in sorted(self.users.items())
        ]

    def _load_at_start(self) -> None:
        """Users of the configuration or of the aclfile, and `requirepass`. Raises ConfigFileError."""
        config = self._config
        if config.requirepass:
            self.set_default_password(config.requirepass)
        if config.aclfile and config.users:
            raise ConfigFileError(
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is "
                "invalid. This setup is very likely to lead to configuration errors and security holes, please define "
                "either an ACL file or declare users directly in your redis.conf, but not both."
            )
        for words in config.users:
            self._load_configured(words)
        if config.aclfile:
            problems = self.load_file()
            if problems:
                raise ConfigFileError(f"Aborting Redis startup because of ACL errors: {text_of(problems)}")

    def _load_configured(self, words: list[bytes]) -> None:
        name = words[0]
        if rules.has_unclean_letters(name):
            raise ConfigFileError("Spaces not allowed in ACL usernames")
        user = self.users.setdefault(name, User(name, self._all_channels))
        if user is self.default:
            user.apply(b"reset", self.catalogue, self._all_channels)
        for rule in words[1:]:
            try:
                user.apply(rule, self.catalogue, self._all_channels)
            except RuleError as error:
                raise ConfigFileError(
                    f"Error loading ACL rule '{text_of(rule)}' for the user named '{text_of(name)}': {error.args[0]}"
                ) from error
        if not user.enabled:
            log.info(
                "The user '%s' is disabled (there is no 'on' modifier in the user description). Make sure this is not "
                "a configuration error.",
                text_of(name),
            )

    def load_file(self, caller: Client | None = None) -> bytes:
        """ACL LOAD: replace all users by those of the aclfile; what is wrong with it, or nothing."""
        path = self._config.aclfile
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            return bytes_of(f"Error loading ACLs, opening file '{path}': {reason}")
        users, problems = self._parse_file(bytes_of(path), content)
        if problems:
            return b"".join(problems) + (
                b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            )
        loaded_default = users.pop(b"default", None) or self._new_default()
        self.default.become(loaded_default)
        gone = [user for user in self.users.values() if user is not self.default]
        self.users = {b"default": self.default, **users}
        for user in gone:
            successor = users.get(user.name) if COMPAT.newer else None
            if successor is None:
                self._close_clients_of(user, caller)
            else:
                self._hand_over(user, successor, caller)
        self.refresh_clients()
        return b""

    def _hand_over(self, old: User, new: User, caller: Client | None) -> None:
        """Level 7.2: whoever is logged in as a user that is still there stays, but for listeners that lost channels."""
        self._close_listeners_without_right(old, new, caller)
        for client in self._clients.values():
            if client.user is old:
                client.user = new

    def _parse_file(self, path: bytes, content: bytes) -> tuple[dict[bytes, User], list[bytes]]:
        users: dict[bytes, User] = {}
        problems: list[bytes] = []
        for number, line in enumerate(content.split(b"\n"), 1):
            words = line.strip(b" \t\r\n").split(b" ")
            if words == [b""]:
                continue
            place = b"%b:%d" % (path, number)
            if words[0] != b"user" or len(words) < 2:
                problems.append(b"%b should start with user keyword followed by the username. " % place)
            elif rules.has_unclean_letters(words[1]):
                problems.append(b"'%b: username '%b' contains invalid characters. " % (place, words[1]))
            elif words[1] in users:
                problems.append(b"WARNING: Duplicate user '%b' found on line %d. " % (words[1], number))
            else:
                users[words[1]] = user = User(words[1], self._all_channels)
                problems += self._apply_line(user, words[2:], place)
        return users, problems

    def _apply_line(self, user: User, words: list[bytes], place: bytes) -> list[bytes]:
        problems: list[bytes] = []
        try:
            joined = join_selectors(words)
        except UnmatchedParenthesis:
            return [b"%b: Unmatched parenthesis in selector definition." % place]
        syntax_told = False
        for rule in joined:
            rule = rule.strip(b"\t\r\n")
            try:
                user.apply(rule, self.catalogue, self._all_channels)
            except RuleError as error:
                reason = error.args[0].encode()
                if error.args[0] == rules.UNKNOWN_NAME:
                    problems.append(b"%b: Error in applying operation '%b': %b. " % (place, rule, reason))
                elif not syntax_told:
                    # what else is wrong may hold a password: say no more than that it is wrong
                    problems.append(b"%b: %b. " % (place, reason))
                    syntax_told = True
        return problems

    def saved_file(self) -> Draft:
        """ACL SAVE: the file with all users, still to be put in place. Raises OSError; the old file is intact then."""
        return Draft(self._config.aclfile, b"".join(line + b"\n" for line in self.lines()))


def close_client(client: Client, caller: Client | None) -> None:
    """Close a connection; the caller's own is closed once it has its reply."""
    if client is caller:
        client.close_after_reply = True
    else:
        client.server.data_plane.drop(client)


def check_user_lines(config: Config, words: list[bytes]) -> str:
    """What is wrong with a `user` line of a configuration file, as the file's error should say it; empty when fine.

    Unknown commands are left for the start proper to judge, as in stock.
    """
    if any(known[0] == words[1] for known in config.users):
        return f"Error in user declaration '{text_of(words[1])}': {rules.DUPLICATE_USER}"
    known = [(spec.full_name, spec.categories) for spec in registry.every_spec()]
    catalogue = Catalogue(known, config.databases)
    draft = User(words[1])
    try:
        joined = join_selectors(words[2:])
    except UnmatchedParenthesis as error:
        return f"Error in user declaration '{text_of(words[2 + error.index])}': {rules.WRONG_FORMAT}"
    for rule in joined:
        try:
            draft.apply(rule, catalogue)
        except RuleError as error:
            if error.args[0] != rules.UNKNOWN_NAME:
                return f"Error in user declaration '{text_of(rule)}': {error.args[0]}"
    config.users.append([words[1], *joined])
    return ""
