"""Users and what they may do: the ACL rule language, without any I/O.

A user has flags, password hashes and selectors. A selector allows commands, key patterns, channel patterns and (as in
Valkey 9.1) databases; a command may run if one selector allows all of it. The first selector is the root one, which
plain rules change; `( ... )` makes further ones. Rules are applied one after the other, each to what the ones before it
left. Words and rule order are those of the stock server (7.0), so its aclfiles and `user` lines can be exchanged with
ours. Deciding whether a request may run is in `check.py`, turning a user back into rules in `describe.py`.

Allowed commands are kept as a set of full names (`get`, `config|get`): a name is easier to trust than a bit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from slotmesh.cluster.numbers import to_uint

#: In the order in which ACL CAT and COMMAND INFO show them.
CATEGORIES: Final = (
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
)

READ: Final = 1
WRITE: Final = 2

_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_UNCLEAN: Final = re.compile(rb"[\x00\s]")


class RuleError(Exception):
    """A rule that cannot be applied. `args[0]` is the stock server's explanation."""


SYNTAX: Final = "Syntax error"
UNKNOWN_NAME: Final = "Unknown command or category name in ACL"
KEYS_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
    "'resetkeys' to start with an empty list of patterns"
)
CHANNELS_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try "
    "'resetchannels' to start with an empty list of channels"
)
NO_SUCH_PASSWORD: Final = "The password you are trying to remove from the user does not exist"
BAD_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
BAD_DATABASE: Final = "The provided database ID is out of range or non-numeric"
ARGUMENT_OF_SUBCOMMAND: Final = "Allowing first-arg of a subcommand is not supported"
DUPLICATE_USER: Final = "Duplicate user found. A user can only be defined once in config files"
WRONG_FORMAT: Final = "Wrong format"


class Catalogue:
    """What rules can name: commands (full name -> categories, subcommands as `container|sub`), and how many databases
    there are.
    """

    def __init__(self, commands: Iterable[tuple[bytes, Sequence[str]]], databases: int = 16) -> None:
        self.databases = databases
        self.categories: dict[bytes, frozenset[str]] = {name: frozenset(words) for name, words in commands}
        self._subs: dict[bytes, list[bytes]] = {}
        for name in self.categories:
            container, bar, _ = name.partition(b"|")
            if bar:
                self._subs.setdefault(container, []).append(name)

    def family(self, name: bytes) -> list[bytes]:
        """A command with its subcommands: what a rule about the command changes."""
        return [name, *self._subs.get(name, ())]

    def has_subcommands(self, name: bytes) -> bool:
        """Whether `name` is a container."""
        return name in self._subs

    def in_category(self, category: str) -> list[bytes]:
        """The commands of a category."""
        return [name for name, words in self.categories.items() if category in words]


class Selector:
    """One set of rights. `future`: commands that are unknown today are allowed as well (`+@all` was said).

    `said`: the rules about commands since `+@all` or `-@all`, those left out that a later one makes void.
    `databases`: the only ones that are allowed; None for all.
    """

    __slots__ = (
        "all_channels",
        "all_commands",
        "all_keys",
        "channels",
        "commands",
        "databases",
        "first_args",
        "future",
        "keys",
        "said",
    )

    def __init__(self, all_channels: bool = False) -> None:
        self.all_keys = False
        self.all_channels = all_channels
        self.all_commands = False
        self.future = False
        self.commands: set[bytes] = set()
        self.keys: dict[bytes, int] = {}
        self.channels: list[bytes] = []
        self.databases: frozenset[int] | None = None
        self.first_args: dict[bytes, list[bytes]] = {}
        self.said: list[bytes] = []

    def copy(self) -> Selector:
        """An independent copy."""
        twin = Selector(self.all_channels)
        twin.all_keys, twin.all_commands, twin.future = self.all_keys, self.all_commands, self.future
        twin.commands, twin.keys, twin.channels = set(self.commands), dict(self.keys), list(self.channels)
        twin.said = list(self.said)
        twin.databases = self.databases
        twin.first_args = {name: list(args) for name, args in self.first_args.items()}
        return twin

    def apply(self, rule: bytes, catalogue: Catalogue) -> None:
        """Apply one rule about commands, keys, channels or databases. Raises RuleError."""
        word = rule.lower()
        if word in _SELECTOR_WORDS:
            self._word(_SELECTOR_WORDS[word], catalogue)
        elif rule[:1] in (b"~", b"%"):
            self._add_keys(rule)
        elif rule[:1] == b"&":
            self._add_channel(rule[1:])
        elif word[:3] == b"db=":
            self.databases = _databases(word[3:], catalogue.databases)
        elif word[:2] in (b"+@", b"-@"):
            self._category(word[2:].decode("latin-1"), word[:1] == b"+", catalogue)
            self._remember(word)
        elif rule[:1] == b"+":
            self._allow(word[1:], catalogue)
            self._remember(word)
        elif rule[:1] == b"-":
            if word[1:] not in catalogue.categories:
                raise RuleError(UNKNOWN_NAME)
            self.set_command(word[1:], False, catalogue)
            self._remember(word)
        else:
            raise RuleError(SYNTAX)

    def _remember(self, rule: bytes) -> None:
        """Add to what was said. What it repeats or revokes goes: the same name, or a part of it, with either sign."""
        name = rule[1:]
        self.said = [old for old in self.said if old[1:] != name and not old[1:].startswith(name + b"|")]
        self.said.append(rule)

    def _word(self, word: str, catalogue: Catalogue) -> None:
        if word in ("allkeys", "resetkeys"):
            self.all_keys = word == "allkeys"
            self.keys.clear()
        elif word in ("allchannels", "resetchannels"):
            self.all_channels = word == "allchannels"
            self.channels.clear()
        elif word in ("alldbs", "resetdbs"):
            self.databases = None if word == "alldbs" else frozenset()
        else:
            self.all_commands = self.future = word == "allcommands"
            self.commands = set(catalogue.categories) if self.future else set()
            self.first_args.clear()
            self.said.clear()

    def _add_keys(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(KEYS_AFTER_ALL)
        access, tilde, pattern = rule.partition(b"~")
        permission = READ | WRITE
        if access:
            letters = access[1:].upper()
            if not tilde or letters not in (b"R", b"W", b"RW", b"WR"):
                raise RuleError(SYNTAX)
            permission = (READ if b"R" in letters else 0) | (WRITE if b"W" in letters else 0)
        if _UNCLEAN.search(pattern):
            raise RuleError(SYNTAX)
        self.keys[pattern] = self.keys.get(pattern, 0) | permission

    def _add_channel(self, pattern: bytes) -> None:
        if self.all_channels:
            raise RuleError(CHANNELS_AFTER_ALL)
        if _UNCLEAN.search(pattern):
            raise RuleError(SYNTAX)
        if pattern not in self.channels:
            self.channels.append(pattern)

    def _category(self, category: str, allow: bool, catalogue: Catalogue) -> None:
        if category not in CATEGORIES:
            raise RuleError(UNKNOWN_NAME)
        for name in catalogue.in_category(category):
            self.set_command(name, allow, catalogue)

    def _allow(self, name: bytes, catalogue: Catalogue) -> None:
        command, bar, argument = name.rpartition(b"|")
        if not bar or (name in catalogue.categories and catalogue.has_subcommands(command)):
            if name not in catalogue.categories:
                raise RuleError(UNKNOWN_NAME)
            self.set_command(name, True, catalogue)
            return
        if command not in catalogue.categories:
            raise RuleError(UNKNOWN_NAME)
        if b"|" in command:
            raise RuleError(ARGUMENT_OF_SUBCOMMAND)
        if not argument:
            raise RuleError(SYNTAX)
        if catalogue.has_subcommands(command):
            raise RuleError(UNKNOWN_NAME)
        allowed = self.first_args.setdefault(command, [])
        if argument not in allowed:
            allowed.append(argument)

    def set_command(self, name: bytes, allow: bool, catalogue: Catalogue) -> None:
        """Allow or forbid a command with all its subcommands."""
        self.first_args.pop(name, None)
        if allow:
            self.commands.update(catalogue.family(name))
        else:
            self.commands.difference_update(catalogue.family(name))
            self.all_commands = False

    @property
    def unlimited(self) -> bool:
        """True when nothing is forbidden."""
        return self.all_commands and self.all_keys and self.all_channels and self.databases is None


def _databases(ids: bytes, count: int) -> frozenset[int]:
    """The databases of a rule `db=<id>[,<id>...]`. Raises RuleError."""
    if not ids:
        raise RuleError(SYNTAX)
    numbers = [to_uint(word, count - 1) for word in ids.split(b",")]
    if None in numbers:
        raise RuleError(BAD_DATABASE)
    return frozenset(number for number in numbers if number is not None)


_SELECTOR_WORDS: Final[Mapping[bytes, str]] = {
    b"allkeys": "allkeys",
    b"~*": "allkeys",
    b"resetkeys": "resetkeys",
    b"allchannels": "allchannels",
    b"&*": "allchannels",
    b"resetchannels": "resetchannels",
    b"alldbs": "alldbs",
    b"resetdbs": "resetdbs",
    b"allcommands": "allcommands",
    b"+@all": "allcommands",
    b"nocommands": "nocommands",
    b"-@all": "nocommands",
}


class User:
    """One user. A new one is off, has no password and may do nothing.

    `sanitize` is the word about payload checks that was set last, empty at first. `all_channels`: what
    `acl-pubsub-default` gives to new users.
    """

    __slots__ = ("enabled", "name", "no_password", "passwords", "sanitize", "selectors")

    def __init__(self, name: bytes, all_channels: bool = False) -> None:
        self.name = name
        self.enabled = False
        self.no_password = False
        self.sanitize = ""
        self.passwords: list[bytes] = []
        self.selectors = [Selector(all_channels)]

    @property
    def root(self) -> Selector:
        """The selector that plain rules are about."""
        return self.selectors[0]

    @property
    def unlimited(self) -> bool:
        """True when no request of this user needs a check."""
        return any(selector.unlimited for selector in self.selectors)

    def reads_all_keys(self) -> bool:
        """For commands that reach keys they do not name, such as SORT with BY or GET."""
        return any(selector.all_keys or selector.keys.get(b"*", 0) & READ for selector in self.selectors)

    def become(self, other: User) -> None:
        """Take over everything but the name."""
        self.enabled, self.no_password, self.sanitize = other.enabled, other.no_password, other.sanitize
        self.passwords = list(other.passwords)
        self.selectors = [selector.copy() for selector in other.selectors]

    def apply(self, rule: bytes, catalogue: Catalogue, all_channels: bool = False) -> None:
        """Apply one rule. `all_channels`: whether `reset` leaves all channels allowed. Raises RuleError."""
        word = rule.lower()
        if not rule:
            return
        if word in (b"on", b"off"):
            self.enabled = word == b"on"
        elif word in (b"skip-sanitize-payload", b"sanitize-payload"):
            self.sanitize = word.decode()
        elif word in (b"nopass", b"resetpass"):
            self.no_password = word == b"nopass"
            self.passwords.clear()
        elif rule[:1] in (b">", b"#", b"<", b"!"):
            self._password(rule)
        elif rule[:1] == b"(" and rule[-1:] == b")":
            selector = Selector(all_channels)
            for part in rule[1:-1].split():
                selector.apply(part, catalogue)
            self.selectors.append(selector)
        elif word == b"clearselectors":
            del self.selectors[1:]
        elif word == b"reset":
            self.become(User(self.name, all_channels))
            self.sanitize = "sanitize-payload"
        else:
            self.root.apply(rule, catalogue)

    def _password(self, rule: bytes) -> None:
        sign, secret = rule[:1], rule[1:]
        if sign in (b"#", b"!") and _HASH.fullmatch(secret) is None:
            raise RuleError(BAD_HASH)
        digest = secret if sign in (b"#", b"!") else password_hash(secret)
        if sign in (b">", b"#"):
            if digest not in self.passwords:
                self.passwords.append(digest)
            self.no_password = False
        elif digest in self.passwords:
            self.passwords.remove(digest)
        else:
            raise RuleError(NO_SUCH_PASSWORD)

    def flags(self, sanitize: str = "") -> list[bytes]:
        """The words of ACL GETUSER's `flags`, in stock's order. `sanitize`: the word if none was set."""
        words = ["on" if self.enabled else "off"]
        if self.no_password:
            words.append("nopass")
        if self.sanitize or sanitize:
            words.append(self.sanitize or sanitize)
        return [word.encode() for word in words]


def password_hash(secret: bytes) -> bytes:
    """SHA-256 in lower-case hexadecimal, the form in which passwords are kept."""
    return hashlib.sha256(secret).hexdigest().encode()


def has_unclean_letters(name: bytes) -> bool:
    """Whether a user name holds white space or a null byte, which no rule file could hold."""
    return _UNCLEAN.search(name) is not None


class UnmatchedParenthesis(Exception):
    """A selector that is opened but not closed. `index`: which rule opens it."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def join_selectors(rules: Sequence[bytes]) -> list[bytes]:
    """The rules with selectors that were split at spaces put together again. Raises UnmatchedParenthesis."""
    joined: list[bytes] = []
    opened: list[bytes] = []
    opened_at = 0
    for index, rule in enumerate(rules):
        if opened:
            opened.append(rule)
            if rule.endswith(b")"):
                joined.append(b" ".join(opened))
                opened = []
        elif rule.startswith(b"(") and not rule.endswith(b")"):
            opened, opened_at = [rule], index
        else:
            joined.append(rule)
    if opened:
        raise UnmatchedParenthesis(opened_at)
    return joined
