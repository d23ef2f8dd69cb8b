from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.sentinel.hello import Hello, decode_hello, encode_hello

STOCK = b"127.0.0.1,26379,588d2f2e342e43ce8d5d5502fde43eb6bf3a1dcd,7,mymaster,127.0.0.1,6379,3"


def test_hello_of_stock_is_read_and_written_back_unchanged() -> None:
    hello = decode_hello(STOCK)
    assert hello == Hello(
        "127.0.0.1", 26379, "588d2f2e342e43ce8d5d5502fde43eb6bf3a1dcd", 7, "mymaster", "127.0.0.1", 6379, 3
    )
    assert hello is not None
    assert encode_hello(hello).encode() == STOCK


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hi",
        STOCK + b",more",
        STOCK.rpartition(b",")[0],
        STOCK.replace(b"26379", b"x"),
        STOCK.replace(b"26379", b"0"),
        STOCK.replace(b"26379", b"70000"),
        STOCK.replace(b",7,", b",-1,"),
        STOCK.replace(b",7,", b",18446744073709551616,"),
        STOCK.replace(b"mymaster", b""),
    ],
)
def test_payload_that_is_no_hello_is_ignored(payload: bytes) -> None:
    assert decode_hello(payload) is None


@given(st.binary(max_size=200))
def test_decode_hello_never_raises(payload: bytes) -> None:
    decode_hello(payload)
