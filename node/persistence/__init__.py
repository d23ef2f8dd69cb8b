"""Keeping data: RDB files, DUMP payloads, the append-only files, and the children that write them."""
