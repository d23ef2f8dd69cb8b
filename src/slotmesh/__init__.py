"""slotmesh: a sharded, replicated in-memory data-structure server, compatible with Redis Cluster."""

from typing import Final

#: The only source of the version: the package, INFO and `--version` take it from here.
__version__: Final = "0.2.0"
