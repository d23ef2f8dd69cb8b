"""The place in a history that an RDB states in its AUX fields, for those who load it."""

from __future__ import annotations

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.replication.history import MOST_CREDIBLE_OFFSET, is_replication_id


def place_as_aux(db_index: int, replid: bytes, offset: int) -> list[tuple[bytes, bytes]]:
    """The fields. `db_index`: the database that is selected in the stream."""
    return [(b"repl-stream-db", b"%d" % db_index), (b"repl-id", replid), (b"repl-offset", b"%d" % offset)]


def place_of(aux: dict[bytes, bytes]) -> tuple[bytes, int] | None:
    """(name of the history, offset), if the fields state them and they can be true."""
    replid, offset = aux.get(b"repl-id", b""), to_uint(aux.get(b"repl-offset", b""), MOST_CREDIBLE_OFFSET)
    return None if offset is None or not is_replication_id(replid) else (replid, offset)


def database_of(aux: dict[bytes, bytes], databases: int) -> int:
    """The database that is selected in the stream, of so many that there are."""
    return to_uint(aux.get(b"repl-stream-db", b"0"), databases - 1) or 0
