"""XXH3 against the test vectors that the authors of xxHash publish (cli/xsum_sanity_check.c)."""

import pytest

from node.types.xxh3 import hex_digest, xxh3_64

_VECTORS = (
    (0, 0x2D06800538D394C2),
    (1, 0xC44BDFF4074EECDB),
    (6, 0x27B56A84CD2D7325),
    (12, 0xA713DAF0DFBB77E7),
    (24, 0xA3FE70BF9D3510EB),
    (48, 0x397DA259ECBA1F11),
    (80, 0xBCDEFBBB2C47C90A),
    (195, 0xCD94217EE362EC3A),
    (403, 0xCDEB804D65C6DEA4),
    (512, 0x617E49599013CB6B),
    (2048, 0xDD59E2C3A5F038E0),
    (2240, 0x6E73A90539CF2948),
    (2367, 0xCB37AEB9E5D361ED),
)


def _buffer(size: int) -> bytes:
    state, out = 2654435761, bytearray()
    for _ in range(size):
        out.append(state >> 56)
        state = state * 11400714785074694797 & (1 << 64) - 1
    return bytes(out)


@pytest.mark.parametrize(("size", "expected"), _VECTORS)
def test_xxh3_64_of_published_vectors_agrees(size: int, expected: int) -> None:
    assert xxh3_64(_buffer(size)) == expected


def test_hex_digest_of_bytearray_is_16_lower_case_digits() -> None:
    assert hex_digest(bytearray()) == b"2d06800538d394c2"
