"""Scenes about messages, watches, caching, blocking and rights (how to read them: `scenes.py`)."""

# ruff: noqa: E501 (replies are kept whole, however long)

from __future__ import annotations

from tests.scenes.scenes import Scene

#: Messages to channels and patterns, in both protocols.
MESSAGES: Scene = (
    ("a", "SUBSCRIBE news", {"a": b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"}),
    ("b3", "PSUBSCRIBE n*", {"b3": b">3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:1\r\n"}),
    ("c3", "SUBSCRIBE news", {"c3": b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"}),
    ("a", "PSUBSCRIBE n?ws", {"a": b"*3\r\n$10\r\npsubscribe\r\n$4\r\nn?ws\r\n:2\r\n"}),
    (
        "p",
        "PUBLISH news hi",
        {
            "p": b":4\r\n",
            "a": b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n*4\r\n$8\r\npmessage\r\n$4\r\nn?ws\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
            "b3": b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
            "c3": b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
        },
    ),
    ("p", "PUBLISH now x", {"p": b":1\r\n", "b3": b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$3\r\nnow\r\n$1\r\nx\r\n"}),
    ("p", "PUBLISH other x", {"p": b":0\r\n"}),
    ("p", "PUBSUB NUMSUB news other", {"p": b"*4\r\n$4\r\nnews\r\n:2\r\n$5\r\nother\r\n:0\r\n"}),
    ("p", "PUBSUB NUMPAT", {"p": b":2\r\n"}),
    ("p", "PUBSUB CHANNELS", {"p": b"*1\r\n$4\r\nnews\r\n"}),
    (
        "a",
        "GET x",
        {
            "a": b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n"
        },
    ),
    ("a", "PING", {"a": b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"}),
    ("a", "PING hi", {"a": b"*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"}),
    (
        "a",
        "ECHO x",
        {
            "a": b"-ERR Can't execute 'echo': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n"
        },
    ),
    ("c3", "GET x", {"c3": b"_\r\n"}),
    ("c3", "PING", {"c3": b"+PONG\r\n"}),
    (
        "c3",
        "PUBLISH news self",
        {
            "c3": b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nself\r\n:4\r\n",
            "a": b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nself\r\n*4\r\n$8\r\npmessage\r\n$4\r\nn?ws\r\n$4\r\nnews\r\n$4\r\nself\r\n",
            "b3": b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$4\r\nself\r\n",
        },
    ),
    ("a", "UNSUBSCRIBE news", {"a": b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n"}),
    (
        "p",
        "PUBLISH news again",
        {
            "p": b":3\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$4\r\nn?ws\r\n$4\r\nnews\r\n$5\r\nagain\r\n",
            "b3": b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nagain\r\n",
            "c3": b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nagain\r\n",
        },
    ),
    ("a", "PUNSUBSCRIBE", {"a": b"*3\r\n$12\r\npunsubscribe\r\n$4\r\nn?ws\r\n:0\r\n"}),
    ("a", "GET x", {"a": b"$-1\r\n"}),
    ("a", "RESET", {"a": b"+RESET\r\n"}),
    ("c3", "RESET", {"c3": b"+RESET\r\n"}),
    ("b3", "PUNSUBSCRIBE n*", {"b3": b">3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n"}),
    ("p", "PUBLISH news nobody", {"p": b":0\r\n"}),
    ("p", "MULTI", {"p": b"+OK\r\n"}),
    ("p", "PUBLISH c in-multi", {"p": b"+QUEUED\r\n"}),
    ("a", "SUBSCRIBE c", {"a": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"}),
    ("p", "EXEC", {"p": b"*1\r\n:1\r\n", "a": b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$8\r\nin-multi\r\n"}),
    ("a", "QUIT", {"a": b"+OK\r\n"}),
    ("p", "PUBLISH c gone", {"p": b":0\r\n"}),
)

#: Sharded channels are a world of their own.
SHARD_CHANNELS: Scene = (
    ("a", "SSUBSCRIBE s", {"a": b"*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n"}),
    ("b", "SUBSCRIBE s", {"b": b"*3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n"}),
    ("c3", "SSUBSCRIBE s", {"c3": b">3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n"}),
    (
        "p",
        "SPUBLISH s hi",
        {
            "p": b":2\r\n",
            "a": b"*3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$2\r\nhi\r\n",
            "c3": b">3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$2\r\nhi\r\n",
        },
    ),
    ("p", "PUBLISH s hi", {"p": b":1\r\n", "b": b"*3\r\n$7\r\nmessage\r\n$1\r\ns\r\n$2\r\nhi\r\n"}),
    ("p", "PUBSUB SHARDNUMSUB s x", {"p": b"*4\r\n$1\r\ns\r\n:2\r\n$1\r\nx\r\n:0\r\n"}),
    ("p", "PUBSUB SHARDCHANNELS s*", {"p": b"*1\r\n$1\r\ns\r\n"}),
    ("p", "PUBSUB NUMSUB s", {"p": b"*2\r\n$1\r\ns\r\n:1\r\n"}),
    (
        "a",
        "GET x",
        {
            "a": b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n"
        },
    ),
    ("a", "SUNSUBSCRIBE", {"a": b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"}),
    ("a", "GET x", {"a": b"$-1\r\n"}),
    ("c3", "SUNSUBSCRIBE s", {"c3": b">3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"}),
    ("p", "SPUBLISH s hi", {"p": b":0\r\n"}),
)

#: Keyspace notifications.
KEYSPACE_EVENTS: Scene = (
    ("p", "CONFIG SET notify-keyspace-events KEA", {"p": b"+OK\r\n"}),
    ("a", "PSUBSCRIBE __key*", {"a": b"*3\r\n$10\r\npsubscribe\r\n$6\r\n__key*\r\n:1\r\n"}),
    (
        "p",
        "SET k v",
        {
            "p": b"+OK\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@0__:k\r\n$3\r\nset\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$18\r\n__keyevent@0__:set\r\n$1\r\nk\r\n",
        },
    ),
    (
        "p",
        "DEL k",
        {
            "p": b":1\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@0__:k\r\n$3\r\ndel\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$18\r\n__keyevent@0__:del\r\n$1\r\nk\r\n",
        },
    ),
    (
        "p",
        "LPUSH l x",
        {
            "p": b":1\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@0__:l\r\n$5\r\nlpush\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$20\r\n__keyevent@0__:lpush\r\n$1\r\nl\r\n",
        },
    ),
    (
        "p",
        "RPOP l",
        {
            "p": b"$1\r\nx\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@0__:l\r\n$4\r\nrpop\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$19\r\n__keyevent@0__:rpop\r\n$1\r\nl\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@0__:l\r\n$3\r\ndel\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$18\r\n__keyevent@0__:del\r\n$1\r\nl\r\n",
        },
    ),
    ("p", "SELECT 3", {"p": b"+OK\r\n"}),
    (
        "p",
        "HSET h f v",
        {
            "p": b":1\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:h\r\n$4\r\nhset\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$19\r\n__keyevent@3__:hset\r\n$1\r\nh\r\n",
        },
    ),
    ("p", "CONFIG SET notify-keyspace-events Kg", {"p": b"+OK\r\n"}),
    ("p", "SET k v", {"p": b"+OK\r\n"}),
    (
        "p",
        "EXPIRE k 100",
        {"p": b":1\r\n", "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:k\r\n$6\r\nexpire\r\n"},
    ),
    (
        "p",
        "RENAME k j",
        {
            "p": b"+OK\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:k\r\n$11\r\nrename_from\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$16\r\n__keyspace@3__:j\r\n$9\r\nrename_to\r\n",
        },
    ),
    ("p", "CONFIG SET notify-keyspace-events Elm", {"p": b"+OK\r\n"}),
    (
        "p",
        "GET nosuch",
        {
            "p": b"$-1\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$22\r\n__keyevent@3__:keymiss\r\n$6\r\nnosuch\r\n",
        },
    ),
    (
        "p",
        "LPUSH l y",
        {"p": b":1\r\n", "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$20\r\n__keyevent@3__:lpush\r\n$1\r\nl\r\n"},
    ),
    ("p", "MULTI", {"p": b"+OK\r\n"}),
    ("p", "LPUSH l z", {"p": b"+QUEUED\r\n"}),
    ("p", "GET nosuch", {"p": b"+QUEUED\r\n"}),
    (
        "p",
        "EXEC",
        {
            "p": b"*2\r\n:2\r\n$-1\r\n",
            "a": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$20\r\n__keyevent@3__:lpush\r\n$1\r\nl\r\n*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$22\r\n__keyevent@3__:keymiss\r\n$6\r\nnosuch\r\n",
        },
    ),
    ("p", ("CONFIG", "SET", "notify-keyspace-events", ""), {"p": b"+OK\r\n"}),
    ("p", "LPUSH l q", {"p": b":3\r\n"}),
)

#: WATCH and the changes of others.
WATCH: Scene = (
    ("a", "WATCH k", {"a": b"+OK\r\n"}),
    ("b", "SET k 1", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "GET k", {"a": b"+QUEUED\r\n"}),
    ("a", "EXEC", {"a": b"*-1\r\n"}),
    ("a", "WATCH k", {"a": b"+OK\r\n"}),
    ("b", "SET other 1", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "GET k", {"a": b"+QUEUED\r\n"}),
    ("a", "EXEC", {"a": b"*1\r\n$1\r\n1\r\n"}),
    ("a", "WATCH k x y", {"a": b"+OK\r\n"}),
    ("b", "DEL y", {"b": b":0\r\n"}),
    ("b", "SELECT 1", {"b": b"+OK\r\n"}),
    ("b", "SET k 1", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*0\r\n"}),
    ("b", "SELECT 0", {"b": b"+OK\r\n"}),
    ("a", "WATCH k", {"a": b"+OK\r\n"}),
    ("b", "FLUSHALL", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*-1\r\n"}),
    ("a3", "WATCH z", {"a3": b"+OK\r\n"}),
    ("b", "SET z 1", {"b": b"+OK\r\n"}),
    ("a3", "MULTI", {"a3": b"+OK\r\n"}),
    ("a3", "EXEC", {"a3": b"_\r\n"}),
    ("a", "WATCH z", {"a": b"+OK\r\n"}),
    ("b", "SWAPDB 0 1", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*-1\r\n"}),
    ("a", "WATCH nosuch", {"a": b"+OK\r\n"}),
    ("b", "SWAPDB 0 1", {"b": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*0\r\n"}),
    ("a", "WATCH z", {"a": b"+OK\r\n"}),
    ("b", "EXPIRE z 100", {"b": b":1\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*-1\r\n"}),
    ("a", "WATCH z", {"a": b"+OK\r\n"}),
    ("b", "PERSIST nosuch", {"b": b":0\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*0\r\n"}),
    ("a", "WATCH z", {"a": b"+OK\r\n"}),
    ("b", "SET z 5", {"b": b"+OK\r\n"}),
    ("a", "UNWATCH", {"a": b"+OK\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "EXEC", {"a": b"*0\r\n"}),
)

#: Tracking by reading, in RESP3.
TRACKING: Scene = (
    ("a3", "CLIENT TRACKING on", {"a3": b"+OK\r\n"}),
    ("b", "SET k 1", {"b": b"+OK\r\n"}),
    ("a3", "GET k", {"a3": b"$1\r\n1\r\n"}),
    ("b", "SET k 2", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"}),
    ("b", "SET k 3", {"b": b"+OK\r\n"}),
    ("a3", "GET k", {"a3": b"$1\r\n3\r\n"}),
    ("a3", "SET k 4", {"a3": b"+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"}),
    ("a3", "MGET k j", {"a3": b"*2\r\n$1\r\n4\r\n_\r\n"}),
    ("b", "DEL k", {"b": b":1\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"}),
    ("b", "DEL k", {"b": b":0\r\n"}),
    ("b", "SET j 1", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n1\r\n"}),
    ("b", "FLUSHALL", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n_\r\n"}),
    ("b", "SET j 1", {"b": b"+OK\r\n"}),
    ("a3", "MULTI", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"+QUEUED\r\n"}),
    ("a3", "SET j 2", {"a3": b"+QUEUED\r\n"}),
    ("a3", "EXEC", {"a3": b"*2\r\n$1\r\n1\r\n+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n2\r\n"}),
    ("a3", "FLUSHDB", {"a3": b"+OK\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n"}),
    ("a3", "CLIENT TRACKING off", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"_\r\n"}),
    ("b", "SET j 3", {"b": b"+OK\r\n"}),
    ("a3", "CLIENT TRACKING on OPTIN", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n3\r\n"}),
    ("b", "SET j 4", {"b": b"+OK\r\n"}),
    ("a3", "CLIENT CACHING yes", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n4\r\n"}),
    ("b", "SET j 5", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "CLIENT CACHING yes", {"a3": b"+OK\r\n"}),
    ("a3", "MULTI", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"+QUEUED\r\n"}),
    ("a3", "EXEC", {"a3": b"*1\r\n$1\r\n5\r\n"}),
    ("b", "SET j 6", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "CLIENT TRACKING off", {"a3": b"+OK\r\n"}),
    ("a3", "CLIENT TRACKING on OPTOUT", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n6\r\n"}),
    ("b", "SET j 7", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "CLIENT CACHING no", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n7\r\n"}),
    ("b", "SET j 8", {"b": b"+OK\r\n"}),
    ("a3", "CLIENT TRACKING off", {"a3": b"+OK\r\n"}),
    ("a3", "CLIENT TRACKING on NOLOOP", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n8\r\n"}),
    ("a3", "SET j 9", {"a3": b"+OK\r\n"}),
    ("a3", "GET j", {"a3": b"$1\r\n9\r\n"}),
    ("b", "SET j 10", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "CLIENT REPLY off", {}),
    ("a3", "GET j", {}),
    ("b", "SET j 11", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nj\r\n"}),
    ("a3", "CLIENT REPLY on", {"a3": b"+OK\r\n"}),
)

#: Tracking by prefixes.
BROADCAST: Scene = (
    ("a3", "CLIENT TRACKING on BCAST PREFIX user: PREFIX item:", {"a3": b"+OK\r\n"}),
    ("b", "SET user:1 x", {"b": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n"}),
    ("b", "SET other x", {"b": b"+OK\r\n"}),
    (
        "b",
        "MSET user:1 a item:2 b",
        {
            "b": b"+OK\r\n",
            "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nitem:2\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n",
        },
    ),
    ("a3", "SET user:1 y", {"a3": b"+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n"}),
    ("c3", "CLIENT TRACKING on BCAST NOLOOP", {"c3": b"+OK\r\n"}),
    ("c3", "SET user:1 z", {"c3": b"+OK\r\n", "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n"}),
    (
        "b",
        "DEL user:1",
        {
            "b": b":1\r\n",
            "a3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n",
            "c3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n",
        },
    ),
    ("a3", "CLIENT TRACKING off", {"a3": b"+OK\r\n"}),
    ("b", "SET user:1 z", {"b": b"+OK\r\n", "c3": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n"}),
    ("c3", "CLIENT TRACKING off", {"c3": b"+OK\r\n"}),
    ("b", "SET user:1 z", {"b": b"+OK\r\n"}),
)

#: Invalidations for a RESP2 client, through another connection. Ids are those of a fresh server.
REDIRECTION: Scene = (
    ("a", "SUBSCRIBE __redis__:invalidate", {"a": b"*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n"}),
    ("b", "CLIENT TRACKING on REDIRECT {a}", {"b": b"+OK\r\n"}),
    ("b", "GET k", {"b": b"$-1\r\n"}),
    (
        "p",
        "SET k 1",
        {"p": b"+OK\r\n", "a": b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n"},
    ),
    ("p", "SET k 2", {"p": b"+OK\r\n"}),
    ("b", "GET k", {"b": b"$1\r\n2\r\n"}),
    ("p", "FLUSHALL", {"p": b"+OK\r\n", "a": b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n"}),
    ("b", "CLIENT TRACKING on REDIRECT {a}", {"b": b"+OK\r\n"}),
    ("b", "GET k", {"b": b"$-1\r\n"}),
    ("a", "QUIT", {"a": b"+OK\r\n"}),
    ("p", "SET k 1", {"p": b"+OK\r\n"}),
)

#: CLIENT REPLY.
SILENCE: Scene = (
    ("a", "CLIENT REPLY skip", {}),
    ("a", "SET k 1", {}),
    ("a", "GET k", {"a": b"$1\r\n1\r\n"}),
    ("a", "CLIENT REPLY off", {}),
    ("a", "GET k", {}),
    ("a", "NOSUCH", {}),
    ("a", "CLIENT REPLY skip", {}),
    ("a", "GET k", {}),
    ("a", "CLIENT REPLY on", {"a": b"+OK\r\n"}),
    ("a", "GET k", {"a": b"$1\r\n1\r\n"}),
    ("a", "CLIENT REPLY off", {}),
    ("a", "SUBSCRIBE c", {"a": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"}),
    ("b", "PUBLISH c m", {"b": b":1\r\n", "a": b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"}),
)

#: Blocked clients are served, unblocked, killed.
BLOCKED: Scene = (
    ("a", "BLPOP l 0", {}),
    ("b", "LPUSH l x", {"b": b":1\r\n", "a": b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n"}),
    ("a", "BLPOP l 0", {}),
    ("b", "CLIENT UNBLOCK {a}", {"b": b":1\r\n", "a": b"*-1\r\n"}),
    ("a", "BLPOP l 0", {}),
    ("b", "CLIENT UNBLOCK {a} ERROR", {"b": b":1\r\n", "a": b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"}),
    ("b", "CLIENT UNBLOCK {a}", {"b": b":0\r\n"}),
    ("a3", "BLPOP l 0", {}),
    ("b", "CLIENT UNBLOCK {a3} TIMEOUT", {"b": b":1\r\n", "a3": b"_\r\n"}),
    ("a", "BLPOP l 0", {}),
    ("b", "MULTI", {"b": b"+OK\r\n"}),
    ("b", "LPUSH l 1", {"b": b"+QUEUED\r\n"}),
    ("b", "LPUSH l 2", {"b": b"+QUEUED\r\n"}),
    ("b", "EXEC", {"b": b"*2\r\n:1\r\n:2\r\n", "a": b"*2\r\n$1\r\nl\r\n$1\r\n2\r\n"}),
    ("b", "LRANGE l 0 -1", {"b": b"*1\r\n$1\r\n1\r\n"}),
    ("a", "MULTI", {"a": b"+OK\r\n"}),
    ("a", "BLPOP nosuch 0", {"a": b"+QUEUED\r\n"}),
    ("a", "EXEC", {"a": b"*1\r\n*-1\r\n"}),
)

#: CLIENT PAUSE holds back; UNPAUSE lets go.
PAUSE: Scene = (
    ("a", "CLIENT PAUSE 100000 WRITE", {"a": b"+OK\r\n"}),
    ("b", "SET k 1", {}),
    ("c", "GET k", {"c": b"$-1\r\n"}),
    ("c", "MULTI", {"c": b"+OK\r\n"}),
    ("c", "GET k", {"c": b"+QUEUED\r\n"}),
    ("c", "EXEC", {"c": b"*1\r\n$-1\r\n"}),
    ("d", "PUBLISH c m", {}),
    ("a", "CLIENT UNPAUSE", {"a": b"+OK\r\n", "b": b"+OK\r\n", "d": b":0\r\n"}),
    ("c", "GET k", {"c": b"$1\r\n1\r\n"}),
    ("a", "CLIENT PAUSE 100000", {"a": b"+OK\r\n"}),
    ("c", "GET k", {}),
    ("d", "PING", {}),
    ("e", "MULTI", {}),
)

#: Rights of users take effect at once.
USERS: Scene = (
    ("adm", "ACL SETUSER u on >p ~a* +get +set +multi +exec +publish +subscribe &c*", {"adm": b"+OK\r\n"}),
    ("u", "AUTH u p", {"u": b"+OK\r\n"}),
    ("u", "GET a", {"u": b"$-1\r\n"}),
    ("u", "GET b", {"u": b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"}),
    ("u", "DEL a", {"u": b"-NOPERM this user has no permissions to run the 'del' command\r\n"}),
    ("u", "PUBLISH c1 m", {"u": b":0\r\n"}),
    (
        "u",
        "PUBLISH d m",
        {"u": b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n"},
    ),
    ("u", "MULTI", {"u": b"+OK\r\n"}),
    ("u", "GET b", {"u": b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"}),
    ("u", "EXEC", {"u": b"-EXECABORT Transaction discarded because of previous errors.\r\n"}),
    ("u", "MULTI", {"u": b"+OK\r\n"}),
    ("u", "GET a", {"u": b"+QUEUED\r\n"}),
    ("u", "SET a 1", {"u": b"+QUEUED\r\n"}),
    ("adm", "ACL SETUSER u -set", {"adm": b"+OK\r\n"}),
    (
        "u",
        "EXEC",
        {
            "u": b"*2\r\n$-1\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to execute the command or subcommand\r\n"
        },
    ),
    ("u", "SUBSCRIBE c1", {"u": b"*3\r\n$9\r\nsubscribe\r\n$2\r\nc1\r\n:1\r\n"}),
    ("adm", "ACL SETUSER u resetchannels", {"adm": b"+OK\r\n"}),
    ("adm", "PUBLISH c1 m", {"adm": b":0\r\n"}),
    ("v", "AUTH u q", {"v": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"}),
    ("v", "AUTH u p", {"v": b"+OK\r\n"}),
    ("v", "ACL WHOAMI", {"v": b"-NOPERM this user has no permissions to run the 'acl|whoami' command\r\n"}),
    ("adm", "ACL DELUSER u", {"adm": b":1\r\n"}),
    ("v", "PING", {}),
    ("adm", "ACL SETUSER default >pw", {"adm": b"+OK\r\n"}),
    ("new", "PING", {"new": b"+PONG\r\n"}),
    ("adm", "PING", {"adm": b"+PONG\r\n"}),
    ("new", "AUTH pw", {"new": b"+OK\r\n"}),
    ("new", "PING", {"new": b"+PONG\r\n"}),
    ("adm", "ACL SETUSER default nopass", {"adm": b"+OK\r\n"}),
    ("new", "ACL LOG RESET", {"new": b"+OK\r\n"}),
    ("new", "GET a", {"new": b"$-1\r\n"}),
    ("adm", "ACL SETUSER w on nopass +get ~x", {"adm": b"+OK\r\n"}),
    ("w", "AUTH w any", {"w": b"+OK\r\n"}),
    ("w", "GET y", {"w": b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"}),
    ("adm", "ACL SETUSER w off", {"adm": b"+OK\r\n"}),
    ("w", "GET x", {"w": b"$-1\r\n"}),
    ("y", "AUTH w any", {"y": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"}),
)

#: Who waits longest for a key is served first, also when the element comes by way of another key.
WAKING: Scene = (
    ("a", "BLMOVE l d RIGHT LEFT 0", {}),
    ("b", "BLMOVE d d LEFT RIGHT 0", {}),
    ("c", "BRPOP l d 0", {}),
    (
        "d",
        "RPUSH l x",
        {"d": b":1\r\n", "a": b"$1\r\nx\r\n", "b": b"$1\r\nx\r\n", "c": b"*2\r\n$1\r\nd\r\n$1\r\nx\r\n"},
    ),
    # A value that takes the place of another wakes nobody, a new one does.
    ("a", "BLPOP l 0", {}),
    ("d", "ZADD l 1 1", {"d": b":1\r\n"}),
    ("d", "SORT l STORE l", {"d": b":1\r\n"}),
    ("d", "DEL l", {"d": b":1\r\n"}),
    ("d", "RPUSH m 5", {"d": b":1\r\n"}),
    ("d", "SORT m STORE l", {"d": b":1\r\n", "a": b"*2\r\n$1\r\nl\r\n$1\r\n5\r\n"}),
)

SCENES: dict[str, Scene] = {
    "messages": MESSAGES,
    "shard channels": SHARD_CHANNELS,
    "keyspace events": KEYSPACE_EVENTS,
    "watch": WATCH,
    "tracking": TRACKING,
    "broadcast": BROADCAST,
    "redirection": REDIRECTION,
    "silence": SILENCE,
    "blocked": BLOCKED,
    "waking": WAKING,
    "pause": PAUSE,
    "users": USERS,
}
