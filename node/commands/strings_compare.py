"""Comparing strings: LCS and DIGEST."""

from __future__ import annotations

from typing import Any

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.string_options import digest, read_string
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_READ, keys_from
from slotmesh.node.spec.registry import FAST, READONLY, command
from slotmesh.node.types.lcs import lcs, lcs_length


@command(
    "lcs",
    arity=-3,
    syntax="key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
    flags=READONLY,
    keys=keys_from(b"RO", b"ACCESS", last=1),
    group="string",
    since="7.0.0",
    complexity="O(N*M), N and M the lengths of the strings; 64 columns at a time",
    summary="Finds a longest common subsequence of two strings.",
)
def cmd_lcs(client: NodeClient, argv: list[bytes]) -> Any:
    a, b = (_lcs_string(value) for value in [client.db.read(key) for key in argv[1:3]])
    want_length = want_runs = with_lengths = False
    min_length = 0
    i = 3
    while i < len(argv):
        word = argv[i].upper()
        if word == b"IDX":
            want_runs = True
        elif word == b"LEN":
            want_length = True
        elif word == b"WITHMATCHLEN":
            with_lengths = True
        elif word == b"MINMATCHLEN" and i + 1 < len(argv):
            i += 1
            min_length = integer(argv[i])
        else:
            raise CommandError(errors.SYNTAX)
        i += 1
    if want_length and want_runs:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    # Our table is 32 times smaller than stock's, but what stock refuses would still hold up everybody else for too
    # long.
    if 4 * (len(a) + 1) * (len(b) + 1) > client.server.config.proto_max_bulk_len:
        raise CommandError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    if want_length:
        return lcs_length(a, b)
    text, runs = lcs(a, b)
    if not want_runs:
        return text
    matches = []
    for (first, last), in_b in runs:
        length = last - first + 1
        if length >= min_length:
            matches.append([[first, last], list(in_b), *([length] if with_lengths else ())])
    return {b"matches": matches, b"len": len(text)}


def _lcs_string(value: Any) -> bytes:
    if value is not None and type(value) is not bytes and type(value) is not bytearray:
        raise CommandError("ERR The specified keys must contain string values")
    return bytes(value or b"")


@command(
    "digest",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="string",
    since="8.4.0",
    complexity="O(N), N the length of the string",
    summary="Returns the XXH3 hash of a string as 16 hexadecimal digits.",
)
def cmd_digest(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_string(client, argv[1])
    return None if value is None else digest(value)
