"""Keeps the encoding limits of the value classes equal to the configuration, from the start and through CONFIG SET.

The value classes know no configuration (`types/limits.py` says why); this is the one place where both meet.
"""

from __future__ import annotations

from functools import partial

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.config.configuration import Config
from slotmesh.node.config.directives import BY_NAME
from slotmesh.node.types.limits import LIMITS


def follow_config(config: Config) -> None:
    """Copy the limits that `config` knows now, and again whenever one changes; take the compatibility level."""
    COMPAT.choose(config.compat_level)
    for name in LIMITS.__slots__:
        directive = name.replace("_", "-")
        if directive in BY_NAME:
            setattr(LIMITS, name, getattr(config, name))
            config.on_change(directive, partial(setattr, LIMITS, name))
