"""What a user with less than all rights may do for sure: the commands that need no look by `node/acl/check.py`.

The fast path asks this for every command of such a user, so the answer is one look-up, and at most one comparison
of a key with prefixes. It is a sufficient condition only: who is not granted a command here may still be allowed it by
the full rules, and only those may deny it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from slotmesh.node.acl.check import CHANNEL_COMMANDS
from slotmesh.node.acl.rules import READ, WRITE, Selector, User
from slotmesh.node.spec.registry import CommandSpec

#: By command: prefixes of which its only key must have one; None where keys need not be looked at.
Grants = dict[CommandSpec, tuple[bytes, ...] | None]

_PREFIX_PATTERN: Final = re.compile(rb"([^*?\[\\]*)\*")


def grants_of(user: User, specs: Iterable[CommandSpec]) -> Grants:
    """The grants of a user among `specs`."""
    granted: Grants = {}
    for selector in user.selectors:
        if selector.databases is None:
            prefixes = None if selector.all_keys else _prefixes(selector)
            for spec in specs:
                if not spec.on_fast_path or not _may_run(selector, spec):
                    continue
                if selector.all_keys or spec.single_key == 0:
                    granted[spec] = None
                elif prefixes and spec.single_key > 0:
                    known = granted.get(spec, ())
                    granted[spec] = None if known is None else known + prefixes
    return granted


def _may_run(selector: Selector, spec: CommandSpec) -> bool:
    if spec.full_name in CHANNEL_COMMANDS and not selector.all_channels:
        return False
    return selector.all_commands or spec.full_name in selector.commands


def _prefixes(selector: Selector) -> tuple[bytes, ...]:
    """Of the selector's key patterns those that are a mere prefix, for reading and changing."""
    found = []
    for pattern, permission in selector.keys.items():
        prefix = _PREFIX_PATTERN.fullmatch(pattern)
        if prefix and permission & (READ | WRITE) == READ | WRITE:
            found.append(prefix[1])
    return tuple(found)
