"""Replication: one primary, any number of replicas, replicas of replicas, by the stock server's PSYNC protocol.

Read in this order:

    history.py        names of a stream of changes and positions in it: when may a replica resume?          (pure)
    backlog.py        the last megabytes of the stream, for those who resume                                 (pure)
    handshake.py      what a replica says before the stream starts, and what the answers mean                (pure)
    transfer.py       where the snapshot of a full sync starts and ends                                      (pure)
    stream_parser.py  commands out of the stream, with the exact number of bytes that each took              (pure)
    stream.py         the stream that this node produces, or relays
    replica.py        what is known of one attached replica
    replicas.py       all attached replicas: acknowledgements, lag, time limits
    full_sync.py      one snapshot for all replicas that wait for one
    link.py           the task that follows a primary
    incoming.py       one connection's stream as it comes in: received at once, applied in slices, drained
    applier.py        running the primary's commands here
    loading.py        taking in the snapshot of a full sync
    serving.py        what a node does for its replicas, with the parts above
    waiting.py        WAIT and WAITAOF
    on_disk.py        how much of the stream is in the synced log
    local_expiry.py   expiry of what clients wrote to a writable replica
    failover.py       FAILOVER, the change of roles that loses nothing
    manager.py        `Replication`: roles and their changes, and the door for the rest of the node

Offsets count the bytes of the stream since its beginning; the first byte is 1. A replica that has applied everything up
to byte n asks for n + 1.
"""
