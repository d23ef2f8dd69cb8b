"""Turning a user back into rules, as ACL LIST, ACL SAVE and CONFIG REWRITE write them.

Allowed commands are described by the fewest rules a greedy search finds: start from everything or nothing, take the
category that fits best as long as one fits more than it misses, then name the commands that are still wrong. Read back,
the rules give exactly the same rights; a test proves it for random users. Level 7.2 repeats the rules that were said.
"""

from __future__ import annotations

from slotmesh.node.acl.rules import CATEGORIES, READ, WRITE, Catalogue, Selector, User
from slotmesh.node.base.compat import COMPAT


def describe_user(user: User, catalogue: Catalogue) -> bytes:
    """All rules of a user, without its name."""
    words = [*flags_of(user), *(b"#" + digest for digest in user.passwords)]
    words.append(describe_selector(user.root, catalogue))
    words += (b"(%b)" % describe_selector(selector, catalogue) for selector in user.selectors[1:])
    return b" ".join(words)


def flags_of(user: User) -> list[bytes]:
    """The flags of a user. At level 7.2 every user has a word about payloads; before, only who was given one."""
    return user.flags("sanitize-payload" if COMPAT.newer else "")


def describe_selector(selector: Selector, catalogue: Catalogue) -> bytes:
    """The rules of one selector."""
    words = key_rules(selector)
    if not selector.all_channels:
        words.append(b"resetchannels")
    words += channel_rules(selector)
    if selector.databases is not None:
        words.append(database_rule(selector.databases))
    words.append(describe_commands(selector, catalogue))
    return b" ".join(words)


def key_rules(selector: Selector) -> list[bytes]:
    """`~pattern`, `%R~pattern`, `%W~pattern`."""
    if selector.all_keys:
        return [b"~*"]
    signs = {READ: b"%R~", WRITE: b"%W~", READ | WRITE: b"~"}
    return [signs[permission] + pattern for pattern, permission in selector.keys.items()]


def channel_rules(selector: Selector) -> list[bytes]:
    """`&pattern`."""
    return [b"&*"] if selector.all_channels else [b"&" + pattern for pattern in selector.channels]


def database_rule(databases: frozenset[int]) -> bytes:
    """`db=1,2`, or `resetdbs` for none."""
    return b"db=" + b",".join(b"%d" % index for index in sorted(databases)) if databases else b"resetdbs"


def describe_commands(selector: Selector, catalogue: Catalogue) -> bytes:
    """Rules that rebuild the allowed commands, beginning with `+@all` or `-@all`."""
    if COMPAT.newer:
        return b" ".join((b"+@all" if selector.future else b"-@all", *selector.said))
    additive = not selector.future
    sign = b"+" if additive else b"-"
    rules = [b"-@all" if additive else b"+@all"]
    draft = Selector()
    draft.apply(rules[0], catalogue)
    for category in _fitting_categories(selector, catalogue, additive):
        rules.append(b"%b@%b" % (sign, category.encode()))
        draft.apply(rules[-1], catalogue)
    for name in catalogue.categories:
        wanted = name in selector.commands
        if wanted != (name in draft.commands):
            rules.append((b"+" if wanted else b"-") + name)
            draft.set_command(name, wanted, catalogue)
        if not wanted:
            rules += (b"+%b|%b" % (name, argument) for argument in selector.first_args.get(name, ()))
    assert draft.commands == selector.commands
    return b" ".join(rules)


def _fitting_categories(selector: Selector, catalogue: Catalogue, additive: bool) -> list[str]:
    """Categories that bring us nearer, best first. What a taken category explains counts no more for the others."""
    rest = selector.copy()
    chosen: list[str] = []
    while True:
        best, best_wrong, best_right = "", 1 << 30, 0
        for category in CATEGORIES:
            if category in chosen:
                continue
            members = catalogue.in_category(category)
            allowed = sum(name in rest.commands for name in members)
            right, wrong = (allowed, len(members) - allowed) if additive else (len(members) - allowed, allowed)
            if right > wrong and (wrong < best_wrong or (wrong == best_wrong and right > best_right)):
                best, best_wrong, best_right = category, wrong, right
        if not best:
            return chosen
        chosen.append(best)
        rest.apply(b"%b@%b" % (b"-" if additive else b"+", best.encode()), catalogue)
