"""What collection commands do besides replying: keyspace events and the count of changes. True of stock as well
(`tests/oracle/test_collections_effects.py`)."""

from __future__ import annotations

DELIVERED = ("XADD s 1 f v", "XADD s 2 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >")

#: commands that prepare, the command, its events
STOCK_EVENTS: tuple[tuple[tuple[str, ...], str, list[str]], ...] = (
    ((), "HSET h a 1", ["new h", "hset h"]),
    (("HSET h a 1",), "HDEL h a", ["hdel h", "del h"]),
    ((), "HINCRBY h a 1", ["new h", "hincrby h"]),
    ((), "HINCRBYFLOAT h a 1", ["new h", "hincrbyfloat h"]),
    ((), "LPUSH l a", ["new l", "lpush l"]),
    (("RPUSH l a",), "RPUSH l b", ["rpush l"]),
    (("RPUSH l a",), "LPOP l", ["lpop l", "del l"]),
    (("RPUSH l a b",), "LMOVE l m LEFT RIGHT", ["new m", "rpush m", "lpop l"]),
    (("RPUSH l a",), "RPOPLPUSH l m", ["new m", "lpush m", "rpop l", "del l"]),
    (("RPUSH l a b",), "LMPOP 1 l LEFT", ["lpop l"]),
    (("RPUSH l a b",), "LTRIM l 5 6", ["ltrim l", "del l"]),
    (("RPUSH l a b",), "LSET l 0 c", ["lset l"]),
    (("RPUSH l a b",), "LINSERT l BEFORE b c", ["linsert l"]),
    (("RPUSH l a",), "LREM l 0 a", ["lrem l", "del l"]),
    ((), "SADD s a", ["new s", "sadd s"]),
    (("SADD s a",), "SREM s a", ["srem s", "del s"]),
    (("SADD s a",), "SMOVE s t a", ["srem s", "del s", "new t", "sadd t"]),
    (("SADD s a",), "SPOP s", ["spop s", "del s"]),
    (("SADD s a",), "SPOP s 2", ["spop s", "del s"]),
    (("SADD s a",), "SUNIONSTORE d s", ["new d", "sunionstore d"]),
    (("SADD s a", "SADD d b"), "SINTERSTORE d s none", ["keymiss none", "del d"]),
    ((), "OBJECT ENCODING k", []),
    ((), "OBJECT REFCOUNT k", []),
    ((), "OBJECT IDLETIME k", []),
    ((), "ZADD z 1 a", ["new z", "zadd z"]),
    ((), "ZADD z INCR 1 a", ["new z", "zincr z"]),
    (("ZADD z 1 a",), "ZREM z a", ["zrem z", "del z"]),
    (("ZADD z 1 a",), "ZPOPMIN z", ["zpopmin z", "del z"]),
    (("ZADD z 1 a",), "ZREMRANGEBYSCORE z 0 9", ["zremrangebyscore z", "del z"]),
    (("ZADD z 1 a",), "ZREMRANGEBYRANK z 0 9", ["zremrangebyrank z", "del z"]),
    (("ZADD z 1 a",), "ZREMRANGEBYLEX z - +", ["zremrangebylex z", "del z"]),
    (("ZADD z 1 a",), "ZRANGESTORE d z 0 -1", ["new d", "zrangestore d"]),
    (("ZADD z 1 a",), "ZUNIONSTORE d 1 z", ["new d", "zunionstore d"]),
    ((), "XADD s 1 f v", ["new s", "xadd s"]),
    (("XADD s 1 f v",), "XADD s MAXLEN 1 2 f v", ["xadd s", "xtrim s"]),
    (("XADD s 1 f v",), "XDEL s 1", ["xdel s"]),
    (("XADD s 1 f v",), "XTRIM s MAXLEN 0", ["xtrim s"]),
    (("XADD s 1 f v",), "XSETID s 5", ["xsetid s"]),
    ((), "XGROUP CREATE s g 0 MKSTREAM", ["new s", "xgroup-create s"]),
    (DELIVERED[:3], "XGROUP SETID s g 0", ["xgroup-setid s"]),
    (DELIVERED[:3], "XGROUP CREATECONSUMER s g c", ["xgroup-createconsumer s"]),
    (DELIVERED[:3], DELIVERED[3], ["xgroup-createconsumer s"]),
    (DELIVERED, "XGROUP DELCONSUMER s g c", ["xgroup-delconsumer s"]),
    (DELIVERED, "XGROUP DESTROY s g", ["xgroup-destroy s"]),
    (DELIVERED, "XCLAIM s g d 0 1", ["xgroup-createconsumer s"]),
    (DELIVERED, "XACK s g 1", []),
)

#: The same of commands that stock (7.0) lacks.
NEWER_EVENTS: tuple[tuple[tuple[str, ...], str, list[str]], ...] = (
    (("HSET h a 1",), "HEXPIRE h 5 FIELDS 1 a", ["hexpire h"]),
    (("HSET h a 1",), "HPEXPIREAT h 1 FIELDS 1 a", ["hdel h", "del h"]),
    (("HSETEX h EX 5 FIELDS 1 a 1",), "HPERSIST h FIELDS 1 a", ["hpersist h"]),
    ((), "HSETEX h EX 5 FIELDS 1 a 1", ["new h", "hset h", "hexpire h"]),
    (("HSET h a 1",), "HGETDEL h FIELDS 1 a", ["hdel h", "del h"]),
)
EVENTS = STOCK_EVENTS + NEWER_EVENTS

#: commands that prepare, the command, by how much it moves `rdb_changes_since_last_save`
CHANGES: tuple[tuple[tuple[str, ...], str, int], ...] = (
    ((), "HSET h a 1 b 2", 2),
    (("HSET h a 1 b 2",), "HDEL h a b c", 2),
    ((), "RPUSH l a b c", 3),
    (("RPUSH l a b c",), "LPOP l 2", 2),
    (("RPUSH l a b c",), "LMOVE l m LEFT LEFT", 1),
    (("RPUSH l a b c",), "LTRIM l 1 1", 2),
    (("RPUSH l a b a",), "LREM l 0 a", 2),
    ((), "SADD s a b a", 2),
    (("SADD s a b",), "SMOVE s t a", 2),
    (("SADD s a b c",), "SPOP s 2", 2),
    (("SADD s a b c",), "SPOP s 9", 3),
    ((), "ZADD z 1 a 2 b", 2),
    (("ZADD z 1 a 2 b",), "ZADD z 5 a 2 b 3 c", 2),
    (("ZADD z 1 a 2 b",), "ZPOPMIN z 2", 2),
    (("XADD s 1 f v", "XADD s 2 f v"), "XADD s MAXLEN 1 3 f v", 1),
    (("XADD s 1 f v", "XADD s 2 f v"), "XTRIM s MAXLEN 0", 2),
    (DELIVERED[:3], DELIVERED[3], 2),
    (DELIVERED, "XACK s g 1 2", 2),
    (DELIVERED, "XCLAIM s g c 0 1 2", 2),
)
