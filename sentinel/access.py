"""Who may use this sentinel: `requirepass` and `user` lines, by the node's ACL rules."""

from __future__ import annotations

import hmac

from slotmesh.node.acl.describe import describe_user
from slotmesh.node.acl.rules import Catalogue, RuleError, UnmatchedParenthesis, User, join_selectors, password_hash
from slotmesh.sentinel.command_table import ROWS, Row
from slotmesh.sentinel.config import ConfigFileError, ServerOptions

DEFAULT = b"default"


class Access:
    """The users of a sentinel."""

    def __init__(self, options: ServerOptions) -> None:
        self.catalogue = Catalogue([(row.name, row.categories.split()) for row in ROWS.values()])
        default = User(DEFAULT)
        for rule in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            default.apply(rule, self.catalogue)
        self.users = {DEFAULT: default}
        for words in options.users:
            self._add([word.encode("utf-8", "surrogateescape") for word in words])
        if options.requirepass:
            default.apply(b"resetpass", self.catalogue)
            default.apply(b">" + options.requirepass.encode("utf-8", "surrogateescape"), self.catalogue)

    def _add(self, words: list[bytes]) -> None:
        """One `user` line of the config file. Raises ConfigFileError."""
        name, rules = words[0], words[1:]
        user = self.users.setdefault(name, User(name))
        if name == DEFAULT:
            user.become(User(DEFAULT))
        try:
            for rule in join_selectors(rules):
                user.apply(rule, self.catalogue)
        except (RuleError, UnmatchedParenthesis) as error:
            shown = name.decode("utf-8", "replace")
            raise ConfigFileError(f"Error in user declaration '{shown}': {error.args[0]}") from error

    def log_in(self, name: bytes, password: bytes) -> User | None:
        """The user, if name and password are right and the user is on."""
        user = self.users.get(name)
        if user is None or not user.enabled:
            return None
        digest = password_hash(password)
        known = [hmac.compare_digest(digest, other) for other in user.passwords]
        return user if user.no_password or any(known) else None

    @property
    def open_door(self) -> User | None:
        """The user that a new connection is, without logging in; None when it has to."""
        default = self.users[DEFAULT]
        return default if default.enabled and default.no_password else None

    @staticmethod
    def may_run(user: User, row: Row) -> bool:
        """Whether one of the user's selectors allows the command."""
        return any(selector.future or row.name in selector.commands for selector in user.selectors)

    def lines(self) -> list[bytes]:
        """All users as ACL LIST shows them."""
        return [b"user %b %b" % (name, describe_user(user, self.catalogue)) for name, user in self.users.items()]
