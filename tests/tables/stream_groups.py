"""Requests and replies of consumer groups of streams."""

from __future__ import annotations

from tests.tables.support import (
    NIL2,
    NIL3,
    NOT_INTEGER,
    NULL_ARRAY,
    OK,
    SYNTAX,
    Table,
    a_map,
    array,
    bulk,
    error,
    number,
    texts,
    wrong_arity,
)

GROUPS: Table = (
    (
        "XGROUP CREATE s g $",
        error(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you "
            "may want to use the MKSTREAM option to create an empty stream automatically."
        ),
    ),
    ("XGROUP CREATE s g $ MKSTREAM", OK),
    ("XGROUP CREATE s g 0", error("BUSYGROUP Consumer Group name already exists")),
    ("XGROUP CREATE s h x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XGROUP CREATE s h 0 ENTRIESREAD -5", error("ERR value for ENTRIESREAD must be positive or -1")),
    ("XGROUP CREATE s h 0 ENTRIESREAD x", NOT_INTEGER),
    (
        "XGROUP CREATE s h 0 nonsense",
        error("ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP."),
    ),
    ("XGROUP CREATE s h 0 ENTRIESREAD 3", OK),
    ("XGROUP CREATE s h", wrong_arity("xgroup|create")),
    ("XGROUP SETID s h $", OK),
    ("XGROUP SETID s h 0 ENTRIESREAD 2", OK),
    ("XGROUP SETID s none 0", error("NOGROUP No such consumer group 'none' for key name 's'")),
    (
        "XGROUP SETID none h 0",
        error(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you "
            "may want to use the MKSTREAM option to create an empty stream automatically."
        ),
    ),
    ("XGROUP SETID s h x", error("ERR Invalid stream ID specified as stream command argument")),
    (
        "XGROUP SETID s h 0 MKSTREAM",
        error("ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP."),
    ),
    ("XGROUP CREATECONSUMER s g c", number(1)),
    ("XGROUP CREATECONSUMER s g c", number(0)),
    ("XGROUP CREATECONSUMER s none c", error("NOGROUP No such consumer group 'none' for key name 's'")),
    (
        "XGROUP CREATECONSUMER none g c",
        error(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you "
            "may want to use the MKSTREAM option to create an empty stream automatically."
        ),
    ),
    ("XGROUP DELCONSUMER s g c", number(0)),
    ("XGROUP DELCONSUMER s g c", number(0)),
    ("XGROUP DELCONSUMER s none c", error("NOGROUP No such consumer group 'none' for key name 's'")),
    ("XGROUP DESTROY s h", number(1)),
    ("XGROUP DESTROY s h", number(0)),
    (
        "XGROUP DESTROY none h",
        error(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you "
            "may want to use the MKSTREAM option to create an empty stream automatically."
        ),
    ),
    ("XGROUP nonsense s g", error("ERR unknown subcommand 'nonsense'. Try XGROUP HELP.")),
    ("XGROUP", wrong_arity("xgroup")),
    (
        "XINFO GROUPS s",
        array(
            array(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(0),
                bulk("pending"),
                number(0),
                bulk("last-delivered-id"),
                bulk("0-0"),
                bulk("entries-read"),
                NIL2,
                bulk("lag"),
                number(0),
            )
        ),
        array(
            a_map(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(0),
                bulk("pending"),
                number(0),
                bulk("last-delivered-id"),
                bulk("0-0"),
                bulk("entries-read"),
                NIL3,
                bulk("lag"),
                number(0),
            )
        ),
    ),
    ("XINFO GROUPS none", error("ERR no such key")),
    ("XINFO CONSUMERS s g", array()),
    ("XINFO CONSUMERS s none", error("NOGROUP No such consumer group 'none' for key name 's'")),
    ("XINFO CONSUMERS none g", error("ERR no such key")),
    (
        "XINFO STREAM s",
        array(
            bulk("length"),
            number(0),
            bulk("radix-tree-keys"),
            number(0),
            bulk("radix-tree-nodes"),
            number(1),
            bulk("last-generated-id"),
            bulk("0-0"),
            bulk("max-deleted-entry-id"),
            bulk("0-0"),
            bulk("entries-added"),
            number(0),
            bulk("recorded-first-entry-id"),
            bulk("0-0"),
            bulk("groups"),
            number(1),
            bulk("first-entry"),
            NIL2,
            bulk("last-entry"),
            NIL2,
        ),
        a_map(
            bulk("length"),
            number(0),
            bulk("radix-tree-keys"),
            number(0),
            bulk("radix-tree-nodes"),
            number(1),
            bulk("last-generated-id"),
            bulk("0-0"),
            bulk("max-deleted-entry-id"),
            bulk("0-0"),
            bulk("entries-added"),
            number(0),
            bulk("recorded-first-entry-id"),
            bulk("0-0"),
            bulk("groups"),
            number(1),
            bulk("first-entry"),
            NIL3,
            bulk("last-entry"),
            NIL3,
        ),
    ),
    ("XINFO STREAM none", error("ERR no such key")),
    ("XINFO STREAM s x", error("ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.")),
    (
        "XINFO STREAM s FULL COUNT",
        error("ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."),
    ),
    ("XINFO STREAM s FULL COUNT x", NOT_INTEGER),
    (
        "XINFO STREAM s FULL",
        array(
            bulk("length"),
            number(0),
            bulk("radix-tree-keys"),
            number(0),
            bulk("radix-tree-nodes"),
            number(1),
            bulk("last-generated-id"),
            bulk("0-0"),
            bulk("max-deleted-entry-id"),
            bulk("0-0"),
            bulk("entries-added"),
            number(0),
            bulk("recorded-first-entry-id"),
            bulk("0-0"),
            bulk("entries"),
            array(),
            bulk("groups"),
            array(
                array(
                    bulk("name"),
                    bulk("g"),
                    bulk("last-delivered-id"),
                    bulk("0-0"),
                    bulk("entries-read"),
                    NIL2,
                    bulk("lag"),
                    number(0),
                    bulk("pel-count"),
                    number(0),
                    bulk("pending"),
                    array(),
                    bulk("consumers"),
                    array(),
                )
            ),
        ),
        a_map(
            bulk("length"),
            number(0),
            bulk("radix-tree-keys"),
            number(0),
            bulk("radix-tree-nodes"),
            number(1),
            bulk("last-generated-id"),
            bulk("0-0"),
            bulk("max-deleted-entry-id"),
            bulk("0-0"),
            bulk("entries-added"),
            number(0),
            bulk("recorded-first-entry-id"),
            bulk("0-0"),
            bulk("entries"),
            array(),
            bulk("groups"),
            array(
                a_map(
                    bulk("name"),
                    bulk("g"),
                    bulk("last-delivered-id"),
                    bulk("0-0"),
                    bulk("entries-read"),
                    NIL3,
                    bulk("lag"),
                    number(0),
                    bulk("pel-count"),
                    number(0),
                    bulk("pending"),
                    array(),
                    bulk("consumers"),
                    array(),
                )
            ),
        ),
    ),
    ("XINFO nonsense s", error("ERR unknown subcommand 'nonsense'. Try XINFO HELP.")),
)

DELIVERING: Table = (
    ("XADD s 1 a 1", bulk("1-0")),
    ("XADD s 2 a 2", bulk("2-0")),
    ("XADD s 3 a 3", bulk("3-0")),
    ("XGROUP CREATE s g 0", OK),
    (
        "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
        array(array(bulk("s"), array(array(bulk("1-0"), texts("a", "1"))))),
        a_map(bulk("s"), array(array(bulk("1-0"), texts("a", "1")))),
    ),
    (
        "XREADGROUP GROUP g c STREAMS s 0",
        array(array(bulk("s"), array(array(bulk("1-0"), texts("a", "1"))))),
        a_map(bulk("s"), array(array(bulk("1-0"), texts("a", "1")))),
    ),
    (
        "XREADGROUP GROUP g d COUNT 1 STREAMS s >",
        array(array(bulk("s"), array(array(bulk("2-0"), texts("a", "2"))))),
        a_map(bulk("s"), array(array(bulk("2-0"), texts("a", "2")))),
    ),
    (
        "XREADGROUP GROUP g d NOACK STREAMS s >",
        array(array(bulk("s"), array(array(bulk("3-0"), texts("a", "3"))))),
        a_map(bulk("s"), array(array(bulk("3-0"), texts("a", "3")))),
    ),
    ("XREADGROUP GROUP g d STREAMS s >", NULL_ARRAY, NIL3),
    (
        "XREADGROUP GROUP g d STREAMS s 0",
        array(array(bulk("s"), array(array(bulk("2-0"), texts("a", "2"))))),
        a_map(bulk("s"), array(array(bulk("2-0"), texts("a", "2")))),
    ),
    ("XREADGROUP GROUP g e STREAMS s 0", array(array(bulk("s"), array())), a_map(bulk("s"), array())),
    (
        "XREADGROUP GROUP g c STREAMS s $",
        error(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the "
            "history of this consumer by specifying a proper ID, or use the > ID to get new "
            "messages. The $ ID would just return an empty result set."
        ),
    ),
    ("XREADGROUP GROUP g c STREAMS s x", error("ERR Invalid stream ID specified as stream command argument")),
    (
        "XREADGROUP GROUP none c STREAMS s >",
        error("NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with GROUP option"),
    ),
    (
        "XREADGROUP GROUP g c STREAMS none >",
        error("NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option"),
    ),
    ("XREADGROUP COUNT 1 NOACK NOACK STREAMS s >", error("ERR Missing GROUP option for XREADGROUP")),
    (
        "XREADGROUP GROUP g c STREAMS s s >",
        error("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."),
    ),
    ("XPENDING s g", array(number(2), bulk("1-0"), bulk("2-0"), array(texts("c", "1"), texts("d", "1")))),
    ("XPENDING s none", error("NOGROUP No such key 's' or consumer group 'none'")),
    ("XPENDING none g", error("NOGROUP No such key 'none' or consumer group 'g'")),
    ("XPENDING s g - + 10 none", array()),
    ("XPENDING s g - + 0", array()),
    ("XPENDING s g - + -1", array()),
    ("XPENDING s g - + x", NOT_INTEGER),
    ("XPENDING s g x + 1", error("ERR Invalid stream ID specified as stream command argument")),
    ("XPENDING s g -", SYNTAX),
    ("XPENDING s g IDLE 5 - +", SYNTAX),
    ("XPENDING s g IDLE 1000000 - + 10", array()),
    ("XPENDING s g IDLE x - + 10", NOT_INTEGER),
    (
        "XINFO GROUPS s",
        array(
            array(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(3),
                bulk("pending"),
                number(2),
                bulk("last-delivered-id"),
                bulk("3-0"),
                bulk("entries-read"),
                number(3),
                bulk("lag"),
                number(0),
            )
        ),
        array(
            a_map(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(3),
                bulk("pending"),
                number(2),
                bulk("last-delivered-id"),
                bulk("3-0"),
                bulk("entries-read"),
                number(3),
                bulk("lag"),
                number(0),
            )
        ),
    ),
    ("XACK s g 1-0 9-9", number(1)),
    ("XACK s g x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XACK s none 1", number(0)),
    ("XACK none g 1", number(0)),
    ("XPENDING s g", array(number(1), bulk("2-0"), bulk("2-0"), array(texts("d", "1")))),
    ("XDEL s 2", number(1)),
    (
        "XREADGROUP GROUP g d STREAMS s 0",
        array(array(bulk("s"), array(array(bulk("2-0"), NULL_ARRAY)))),
        a_map(bulk("s"), array(array(bulk("2-0"), NIL3))),
    ),
    ("XGROUP DELCONSUMER s g d", number(1)),
    ("XPENDING s g", array(number(0), NIL2, NIL2, NULL_ARRAY), array(number(0), NIL3, NIL3, NIL3)),
    ("XGROUP CREATE t g 0 MKSTREAM", OK),
    ("XPENDING t g", array(number(0), NIL2, NIL2, NULL_ARRAY), array(number(0), NIL3, NIL3, NIL3)),
)

TABLES = {
    "stream groups: groups": GROUPS,
    "stream groups: delivering": DELIVERING,
}
