#!/bin/sh
# A sentinel keeps what it learns in its own configuration file, so the file must live in the volume: it is written once,
# from the environment, and belongs to the sentinel from then on.
set -eu
conf=/data/sentinel.conf
if [ ! -s "$conf" ]; then
    cat > "$conf" <<CONF
port ${SENTINEL_PORT:-26379}
dir /data
sentinel resolve-hostnames yes
sentinel monitor ${MESH_NAME:-mesh} ${MESH_HOST:?host of any cluster node} ${MESH_PORT:-7001} ${MESH_QUORUM:-2}
sentinel down-after-milliseconds ${MESH_NAME:-mesh} ${MESH_DOWN_AFTER_MS:-1000}
sentinel failover-timeout ${MESH_NAME:-mesh} 10000
CONF
fi
exec slotmesh-sentinel "$conf"
