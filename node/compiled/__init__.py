"""The compiled twins of the hot path (docs/adr/0008). Importing this fails where they were not built; ask
`node/base/native.py` instead.

Each module here has a twin in plain Python, which is the one to read first and what runs where these were not built (no
C compiler at installation, or `SLOTMESH_PLAIN=1`). Both have the same contract, and the tests run the same cases over
both. Nothing here decides anything of its own: what is not the plain case is left to Python.
"""

from slotmesh.node.compiled.client_io import ClientIO
from slotmesh.node.compiled.codec import encode_array, encode_command, parse_plain, slot_of
from slotmesh.node.compiled.fast_path import FastPath
from slotmesh.node.compiled.hyperloglog import add_dense, murmur64a

__all__ = [
    "ClientIO",
    "FastPath",
    "add_dense",
    "encode_array",
    "encode_command",
    "murmur64a",
    "parse_plain",
    "slot_of",
]
