"""What a configuration directive is, and the kinds that many of them share."""

from __future__ import annotations

from typing import Any, Final

import attrs

from slotmesh.node.config.kinds import INT_MAX, LONG_MAX, NO_TLS, Integer, Kind, Memory, Secret, Text, Word, YesNo

INT_MIN: Final = -(2**31)
YES_NO: Final = YesNo()
TEXT: Final = Text()
OPTIONAL_TEXT: Final = Text(unset_when_empty=True)
SECRET: Final = Secret()
PORT: Final = Integer(0, 65535)
NATURAL: Final = Integer(0, INT_MAX)
POSITIVE: Final = Integer(1, INT_MAX)
NATURAL_64: Final = Integer(0, LONG_MAX)
SIZE: Final = Memory(0, LONG_MAX)
PROTECTED_ACTION: Final = Word("no", "yes", "local")
NO_DEFRAGMENTATION: Final = YesNo(
    refuse_yes="Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc "
    "like the one shipped by default with the Redis source distribution"
)


NO_TLS_LINKS: Final = YesNo(refuse_yes=NO_TLS)


@attrs.frozen
class Directive:
    """One directive.

    `immutable`: CONFIG SET refuses it. `protected`: CONFIG SET needs `enable-protected-configs`. `sensitive`: its value
    is hidden from MONITOR and SLOWLOG. `hidden`: CONFIG GET shows it only when asked by its full name. `volatile`:
    setting it to the value it has is a change all the same (files that must be read again).
    """

    name: str
    kind: Kind
    default: Any
    alias: str = ""
    immutable: bool = False
    protected: bool = False
    sensitive: bool = False
    hidden: bool = False
    not_while_loading: bool = False
    volatile: bool = False

    @property
    def attribute(self) -> str:
        """The name of the attribute of `Config` that holds the value."""
        return self.name.replace("-", "_")
