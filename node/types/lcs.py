"""Longest common subsequence, bit-parallel.

The usual table of n * m lengths is hopeless in Python (and wasteful in C: 4 bytes a cell). Neighbouring cells of a row
differ by 0 or 1, so a row fits one big integer with a bit per column, and a whole row follows from the one before by an
addition and a few logical operations (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004). A cleared bit j of
row i means that the length grows at column j: length(i, j) is the number of cleared bits below j.

Walking back through the rows yields the matches. Where both directions are as good the walk goes left, along the second
string, as stock does: which of several longest subsequences is reported is visible to clients.
"""

from __future__ import annotations

Range = tuple[int, int]


def _rows(a: bytes, b: bytes) -> list[int]:
    """The rows of the table, `len(a) + 1` of them."""
    full = (1 << len(b)) - 1
    places: dict[int, int] = {}
    for j, byte in enumerate(b):
        places[byte] = places.get(byte, 0) | 1 << j
    row = full
    rows = [row]
    for byte in a:
        common = row & places.get(byte, 0)
        row = ((row + common) | (row - common)) & full
        rows.append(row)
    return rows


def lcs_length(a: bytes, b: bytes) -> int:
    """The length of a longest common subsequence."""
    full = (1 << len(b)) - 1
    places: dict[int, int] = {}
    for j, byte in enumerate(b):
        places[byte] = places.get(byte, 0) | 1 << j
    row = full
    for byte in a:
        common = row & places.get(byte, 0)
        row = ((row + common) | (row - common)) & full
    return len(b) - row.bit_count()


def lcs(a: bytes, b: bytes) -> tuple[bytes, list[tuple[Range, Range]]]:
    """A longest common subsequence and the runs it consists of, last run first.

    A run is ((first, last) in `a`, (first, last) in `b`), both inclusive.
    """
    rows = _rows(a, b)
    i, j = len(a), len(b)
    here = j - rows[i].bit_count()  # length(i, j)
    above = j - rows[i - 1].bit_count() if i else 0  # length(i - 1, j)
    found = bytearray()
    runs: list[tuple[Range, Range]] = []
    run: list[int] | None = None  # [first in a, last in a, first in b, last in b]
    while i and j:
        if a[i - 1] == b[j - 1]:
            found.append(a[i - 1])
            if run is not None and run[0] == i and run[2] == j:
                run[0] -= 1
                run[2] -= 1
            else:
                if run is not None:
                    runs.append(((run[0], run[1]), (run[2], run[3])))
                run = [i - 1, i - 1, j - 1, j - 1]
            i -= 1
            j -= 1
            mask = (1 << j) - 1
            here = j - (rows[i] & mask).bit_count()
            above = j - (rows[i - 1] & mask).bit_count() if i else 0
            continue
        bit = 1 << (j - 1)
        left = here if rows[i] & bit else here - 1  # length(i, j - 1)
        if above > left:
            i -= 1
            here = above
            above = j - (rows[i - 1] & ((1 << j) - 1)).bit_count() if i else 0
        else:
            here = left
            if not rows[i - 1] & bit:
                above -= 1
            j -= 1
        if run is not None:
            runs.append(((run[0], run[1]), (run[2], run[3])))
            run = None
    if run is not None:
        runs.append(((run[0], run[1]), (run[2], run[3])))
    found.reverse()
    return bytes(found), runs
