"""CRC-64 of RDB files and DUMP payloads (the "Jones" polynomial, reflected, no inversion).

The check value of "123456789" is e9c6d914c4b8d9ca. crcmod does the arithmetic. With its C extension 400 MB/s were
measured; without it (an installation that found no compiler) some 8 MB/s. Saving happens in a forked child, so the
slow path delays nobody but the child; `rdbchecksum no` removes the cost as it does in stock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import crcmod

#: `crc64(data, crc_so_far=0)`. The polynomial is written with its leading x^64 term, as crcmod wants it.
crc64: Final[Callable[..., int]] = crcmod.mkCrcFun(0x1AD93D23594C935A9, initCrc=0, rev=True, xorOut=0)
