"""Whether the compiled twins of the hot path are here.

`compiled` is the package `node/compiled/`, or None: where there was no C compiler at installation, and where
`SLOTMESH_PLAIN=1` asks for plain Python (to compare the two, or to step through the hot path with a debugger).
Whoever has a twin asks here, once, when its module is imported.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Final


def _load() -> Any:
    if os.environ.get("SLOTMESH_PLAIN", "0") not in ("", "0"):
        return None
    try:
        return importlib.import_module("slotmesh.node.compiled")
    except ImportError:
        return None  # not built here: the plain twins do the same


compiled: Final[Any] = _load()
#: What the log and INFO say of it.
HOT_PATH: Final = "plain" if compiled is None else "compiled"
