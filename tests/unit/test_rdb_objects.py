"""Values as RDB objects: round trips, golden bytes, old types, damage.

The golden payloads were dumped by a stock 7.0.15 server.
"""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.persistence import object_types as types
from slotmesh.node.persistence.decode import EmptyValue, decode_object
from slotmesh.node.persistence.encode import Encoder, list_nodes, needs_field_expiry, score_element
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.listpack import encode_listpack
from slotmesh.node.persistence.payload import BadPayload, dump_payload, load_payload
from slotmesh.node.persistence.rdb_strings import Reader, encode_double, encode_int64, encode_length, encode_string
from slotmesh.node.types.hash import LATEST_EXPIRY_MS, HashValue
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import HASHTABLE, SetValue
from slotmesh.node.types.sorted_set import SortedSetValue

TEXT = st.one_of(
    st.binary(max_size=70), st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n), st.just(b"abc" * 40)
)
SCORES = st.floats(allow_nan=False)

GOLDEN: list[tuple[Any, str]] = [
    (b"hello", "000568656c6c6f0a006372df766534200a"),
    (b"-129", "00c17fff0a001760822854808480"),
    (b"12345678901", "000b31323334353637383930310a00304e52d727176510"),
    (b"abcdef" * 20, "00c30e40780661626364656661e066050165660a00a88ad8209a6a6106"),
    (ListValue([b"a", b"1", b"-5000"]), "120102101000000003008161020101f178ec03ff0a00be747725a27199b2"),
    (SetValue([b"1", b"2", b"70000"]), "0b1404000000030000000100000002000000701101000a0085d5c1065b1dd055"),
    (SetValue([b"one"]), "0201036f6e650a007c346b0591e5d20c"),
    (HashValue({b"f": b"v", b"n": b"42"}), "1012120000000400816602817602816e022a01ff0a00ff30e87f7262d991"),
    (HashValue({b"f": b"v" * 65}), "04010166c3094041017676e034000176760a003d71be523786cf45"),
    (
        SortedSetValue({b"a": 1.0, b"b": 2.5}),
        "1114140000000400816102010181620283322e3504ff0a00d44c6ea4f644d9d7",
    ),
    (
        SortedSetValue({b"m" * 65: 0.5}),
        "0501c3094041016d6de03400016d6d000000000000e03f0a0038efdf24b4453656",
    ),
]


def _plain(value: Any) -> Any:
    """Something comparable for a value of any class."""
    if isinstance(value, HashValue):
        return "hash", value.fields, value.ttls, value.encoding()
    if isinstance(value, SetValue):
        return "set", value.members, value.encoding()
    if isinstance(value, SortedSetValue):
        return "zset", value.scores, list(value), value.encoding()
    return ("list", list(value)) if isinstance(value, ListValue) else value


def _round_trip(value: Any) -> Any:
    kind, body = Encoder().encode(value)
    reader = Reader(body)
    decoded = decode_object(kind, reader)
    assert reader.pos == reader.end
    return decoded


@given(TEXT)
def test_string_any_bytes_round_trip(value: bytes) -> None:
    assert _round_trip(value) == value
    assert _round_trip(bytearray(value)) == value


@given(st.lists(TEXT, min_size=1, max_size=60))
def test_list_any_elements_round_trip(items: list[bytes]) -> None:
    assert list(_round_trip(ListValue(items))) == items


@given(
    st.one_of(
        st.sets(TEXT, min_size=1, max_size=30),
        st.sets(st.integers(-(2**40), 2**40).map(lambda n: b"%d" % n), min_size=1),
    )
)
def test_set_any_members_round_trip_with_their_encoding(members: set[bytes]) -> None:
    value = SetValue(members)
    assert _plain(_round_trip(value)) == _plain(value)


@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=30), st.data())
def test_hash_any_fields_and_expiries_round_trip(fields: dict[bytes, bytes], data: st.DataObject) -> None:
    expiring = data.draw(st.lists(st.sampled_from(sorted(fields)), unique=True))
    value = HashValue(fields, {field: data.draw(st.integers(1, LATEST_EXPIRY_MS)) for field in expiring})
    assert needs_field_expiry(value) == bool(expiring)
    assert _plain(_round_trip(value)) == _plain(value)


@given(st.dictionaries(TEXT, SCORES, min_size=1, max_size=30))
def test_sorted_set_any_scores_round_trip(scores: dict[bytes, float]) -> None:
    value = SortedSetValue(scores)
    assert _plain(_round_trip(value)) == _plain(value)


@pytest.mark.parametrize("size", [LIMITS.hash_max_listpack_entries, LIMITS.hash_max_listpack_entries + 1])
def test_containers_at_the_limit_of_their_encoding_keep_it(size: int) -> None:
    names = [b"%d-" % i for i in range(size)]
    hash_value = HashValue(dict.fromkeys(names, b"v"))
    zset = SortedSetValue(dict.fromkeys(names, 1.0))
    assert (Encoder().encode(hash_value)[0] == types.HASH_LISTPACK) == (size == LIMITS.hash_max_listpack_entries)
    assert (Encoder().encode(zset)[0] == types.ZSET_LISTPACK) == (size == LIMITS.zset_max_listpack_entries)
    for value in (hash_value, zset, HashValue(dict.fromkeys(names, b"v"), {names[0]: 99})):
        assert _plain(_round_trip(value)) == _plain(value)


def test_list_nodes_follow_the_configured_size(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [b"%04d" % i for i in range(1000)]
    for fill, nodes in ((-1, 2), (-5, 1), (100, 10), (0, 1000)):
        monkeypatch.setattr(LIMITS, "list_max_listpack_size", fill)
        kind, body = Encoder(compress=False).encode(ListValue(items))
        if fill:
            assert Reader(body).length() == nodes, fill
        assert list(decode_object(kind, Reader(body))) == items


@pytest.mark.parametrize(
    ("score", "element"),
    [
        (1.0, 1),
        (-0.0, 0),
        (2.5, b"2.5"),
        (0.1, b"0.10000000000000001"),
        (1e300, b"1.0000000000000001e+300"),
        (math.inf, b"inf"),
        (-math.inf, b"-inf"),
        (float(2**62 - 1024), 2**62 - 1024),
        (float(2**63), b"9.2233720368547758e+18"),
    ],
)
def test_score_in_a_listpack_is_written_as_stock_does(score: float, element: bytes | int) -> None:
    assert score_element(score) == element


OLD_TYPES: list[tuple[int, bytes, Any]] = [
    (types.LIST, encode_length(2) + encode_string(b"a") + encode_string(b"7"), ("list", [b"a", b"7"])),
    (types.LIST_ZIPLIST, encode_string(bytes.fromhex("0f0000000c000000020000f302f6ff")), ("list", [b"2", b"5"])),
    (
        types.LIST_QUICKLIST,
        encode_length(2) + 2 * encode_string(bytes.fromhex("0f0000000c000000020000f302f6ff")),
        ("list", [b"2", b"5", b"2", b"5"]),
    ),
    (
        types.LIST_QUICKLIST_2,
        encode_length(2) + b"\x01" + encode_string(b"plain") + b"\x02" + encode_string(encode_listpack([b"x"])),
        ("list", [b"plain", b"x"]),
    ),
    (
        types.ZSET,
        encode_length(2) + b"\x01a\x032.5\x01b\xfe",
        ("zset", {b"a": 2.5, b"b": math.inf}, [(2.5, b"a"), (math.inf, b"b")], b"listpack"),
    ),
    (
        types.ZSET_ZIPLIST,
        encode_string(bytes.fromhex("0f0000000c000000020000f302f6ff")),
        ("zset", {b"2": 5.0}, [(5.0, b"2")], b"listpack"),
    ),
    (
        types.HASH_ZIPLIST,
        encode_string(bytes.fromhex("0f0000000c000000020000f302f6ff")),
        ("hash", {b"2": b"5"}, None, b"listpack"),
    ),
    (
        types.HASH_ZIPMAP,
        encode_string(b"\x01\x03foo\x03\x00bar\xff"),
        ("hash", {b"foo": b"bar"}, None, b"listpack"),
    ),
    (types.SET_LISTPACK, encode_string(encode_listpack([b"a", b"b"])), ("set", {b"a", b"b"}, b"hashtable")),
    (
        types.HASH_METADATA_OLD,
        encode_length(2) + encode_length(1000) + b"\x01f\x01v" + encode_length(0) + b"\x01g\x01w",
        ("hash", {b"f": b"v", b"g": b"w"}, {b"f": 1000}, b"listpack"),
    ),
    (
        types.HASH_METADATA,
        encode_int64(5000) + encode_length(2) + encode_length(11) + b"\x01f\x01v" + encode_length(0) + b"\x01g\x01w",
        ("hash", {b"f": b"v", b"g": b"w"}, {b"f": 5010}, b"listpack"),
    ),
    (
        types.HASH_LISTPACK_EX_OLD,
        encode_string(encode_listpack([b"f", b"v", 1000, b"g", b"w", 0])),
        ("hash", {b"f": b"v", b"g": b"w"}, {b"f": 1000}, b"listpack"),
    ),
]


@pytest.mark.parametrize(("kind", "body", "expected"), OLD_TYPES, ids=[str(kind) for kind, *_ in OLD_TYPES])
def test_decode_types_that_we_do_not_write(kind: int, body: bytes, expected: Any) -> None:
    assert _plain(decode_object(kind, Reader(body))) == expected


def test_decode_small_set_of_the_table_type_becomes_compact_as_in_stock() -> None:
    value = decode_object(types.SET, Reader(encode_length(2) + b"\xc0\x05\xc0\x06"))
    assert value.encoding() == b"intset"
    assert SetValue([b"x"]).form == HASHTABLE


@pytest.mark.parametrize("kind", [types.LIST, types.SET, types.HASH, types.ZSET_2, types.LIST_QUICKLIST_2])
def test_decode_container_without_elements_raises_empty(kind: int) -> None:
    with pytest.raises(EmptyValue):
        decode_object(kind, Reader(encode_length(0)))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (types.SET, encode_length(2) + b"\x01a\x01a"),
        (types.HASH, encode_length(2) + b"\x01a\x01b\x01a\x01c"),
        (types.HASH_LISTPACK, encode_string(encode_listpack([b"a", b"b", b"c"]))),
        (types.ZSET_2, encode_length(1) + b"\x01a" + encode_double(math.nan)),
        (types.ZSET_2, encode_length(2) + 2 * (b"\x01a" + encode_double(1))),
        (types.ZSET_LISTPACK, encode_string(encode_listpack([b"a", b"no number"]))),
        (types.ZSET_LISTPACK, encode_string(encode_listpack([b"a"]))),
        (types.LIST_QUICKLIST_2, encode_length(1) + b"\x03" + encode_string(b"x")),
        (types.LIST_QUICKLIST_2, encode_length(1) + b"\x01" + encode_string(b"")),
        (types.HASH_LISTPACK_EX, bytes(8) + encode_string(encode_listpack([b"f", b"v", b"soon"]))),
        (types.HASH_LISTPACK_EX, bytes(8) + encode_string(encode_listpack([b"f", b"v", -1]))),
        (types.HASH_METADATA, encode_int64(-9) + encode_length(1) + b"\x01\x01f\x01v"),
        (types.SET_INTSET, encode_string(b"\x02\x00\x00\x00\x02\x00\x00\x00\x02\x00\x01\x00")),
        (8, b""),
        (200, b""),
        (6, b""),
    ],
)
def test_decode_contradictory_objects_raise(kind: int, body: bytes) -> None:
    with pytest.raises(FormatError):
        decode_object(kind, Reader(body))


def test_decode_module_value_names_the_module() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    number = 0
    for letter in "ReJSON-RL":
        number = number << 6 | letters.index(letter)
    body = encode_length(number << 10 | 3) + b"\x02\x07\x05" + encode_string(b"{}") + b"\x04" + bytes(8) + b"\x00"
    with pytest.raises(FormatError, match="ReJSON-RL"):
        decode_object(7, Reader(body))


# -- payloads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "payload"), GOLDEN, ids=lambda item: type(item).__name__)
def test_payload_is_that_of_stock(value: Any, payload: str) -> None:
    golden = bytes.fromhex(payload)
    assert _plain(load_payload(golden)) == _plain(value)
    if b"\xc3\x0e" not in golden and b"\xc3\x09" not in golden:  # two LZF compressors need not agree byte for byte
        assert dump_payload(value) == golden


def test_payload_of_expiring_fields_claims_the_version_that_knows_them() -> None:
    payload = dump_payload(HashValue({b"f": b"v"}, {b"f": 10**12}))
    assert payload[-10:-8] == b"\x0c\x00"
    assert dump_payload(HashValue({b"f": b"v"}))[-10:-8] == b"\x0a\x00"


def test_payload_of_a_later_version_or_with_a_wrong_checksum_is_refused() -> None:
    good = dump_payload(b"value")
    for bad in (b"", good[:9], good[:-10] + b"\x0d" + good[-9:], good[:-1] + bytes((good[-1] ^ 1,))):
        with pytest.raises(BadPayload):
            load_payload(bad)
    assert load_payload(good[:-1] + b"!", verify=False) == b"value"


def test_payload_with_bytes_behind_the_object_or_none_is_malformed() -> None:
    for body in (b"\x00\x05valueX", b"\x00\x05val", b"\x01\x00"):
        with pytest.raises(FormatError):
            load_payload(body + b"\x0a\x00" + bytes(8), verify=False)


@pytest.mark.parametrize(
    "value",
    [
        ListValue([b"a", b"12", b"x" * 70]),
        SetValue([b"a", b"b"]),
        SetValue([b"1", b"2"]),
        HashValue({b"f": b"v", b"n": b"1"}),
        HashValue({b"f": b"v", b"n": b"1"}, {b"f": 99}),
        HashValue({b"f": b"v" * 70}, {b"f": 99}),
        SortedSetValue({b"a": 1.5, b"b": 2}),
        SortedSetValue({b"a" * 70: 1.5}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_decode_damaged_objects_raise_nothing_but_format_errors(value: Any) -> None:
    kind, body = Encoder(compress=False).encode(value)
    for cut in range(len(body)):
        with contextlib.suppress(FormatError, EmptyValue):
            decode_object(kind, Reader(body[:cut]))
    rng = random.Random(11)
    for _ in range(1500):
        spoilt = bytearray(body)
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        with contextlib.suppress(FormatError, EmptyValue):
            decode_object(kind, Reader(bytes(spoilt)))


def test_set_packed_at_the_newer_level_is_written_as_a_listpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    kind, body = Encoder().encode(SetValue([b"a", b"7"]))
    assert kind == types.SET_LISTPACK
    assert decode_object(kind, Reader(body)).members == {b"a", b"7"}
    assert dump_payload(SetValue([b"a"]))[-10:-8] == b"\x0b\x00"


@pytest.mark.parametrize(("limit", "encoding"), [(2, b"listpack"), (1, b"hashtable")])
def test_set_listpack_of_integers_is_no_intset_at_the_newer_level(
    monkeypatch: pytest.MonkeyPatch, limit: int, encoding: bytes
) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    value = SetValue([b"a", b"7", b"8"])
    value.remove(b"a")
    kind, body = Encoder().encode(value)
    monkeypatch.setattr(LIMITS, "set_max_listpack_entries", limit)
    assert decode_object(kind, Reader(body)).encoding() == encoding


def test_list_packed_at_the_newer_level_is_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    value = ListValue([b"x" * 100] * 70)  # closer to a node's bound than stock fills the nodes of a quicklist
    value.push_right([b"y" * (8192 - 7 - 70 * 103)])
    assert value.encoding() == b"listpack"
    assert [container for container, _ in list_nodes(value)] == [types.PACKED_NODE]


def test_list_elements_beyond_a_node_stand_alone_at_the_newer_level(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [b"a", b"x" * 9000, b"b"]
    packed = [types.PACKED_NODE, types.PACKED_NODE, types.PACKED_NODE]
    assert [container for container, _ in list_nodes(ListValue(items))] == packed
    monkeypatch.setattr(COMPAT, "newer", True)
    value = ListValue(items)
    assert [container for container, _ in list_nodes(value)] == [types.PACKED_NODE, types.PLAIN_NODE, types.PACKED_NODE]
    assert list(_round_trip(value)) == items
    monkeypatch.setattr(LIMITS, "list_alone_bytes", 1)
    assert {container for container, _ in list_nodes(ListValue(items))} == {types.PLAIN_NODE}


def test_hash_field_expiry_beyond_what_commands_take_is_the_latest() -> None:
    payload = dump_payload(HashValue({b"f": b"v"}, {b"f": 2**48 - 1}))
    assert load_payload(payload).ttls == {b"f": LATEST_EXPIRY_MS}
    with pytest.raises(FormatError, match="bad expiry"):
        load_payload(dump_payload(HashValue({b"f": b"v"}, {b"f": 2**48})))
