#!/bin/sh
# Starts a sentinel from the environment. A sentinel keeps what it learns in its own configuration file, so that file lives
# in the volume and is the sentinel's own; from the environment come the lines about where to look and how to get in.
#
#   SENTINEL_PORT, MESH_NAME, MESH_HOST, MESH_PORT (any node of a cluster, or a plain primary), MESH_QUORUM,
#   MESH_DOWN_AFTER_MS, REDIS_PASSWORD or REDIS_PASSWORD_FILE
#
# The address is applied when it is new or was changed here since the last start, also when the file has another one: what
# was wrong in the volume is mended by the environment, and an address that the sentinel found by itself stays.
set -eu
data=${DATA_DIR:-/data}
conf=$data/sentinel.conf
applied=$data/monitored-from-environment
name=${MESH_NAME:-mesh}
target="${MESH_HOST:?host of any cluster node} ${MESH_PORT:-6379} ${MESH_QUORUM:-2}"
umask 077

password=${REDIS_PASSWORD:-}
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then password=$(cat "$REDIS_PASSWORD_FILE"); fi

[ -e "$conf" ] || : > "$conf"
monitor=$(grep "^sentinel monitor $name " "$conf" || :)
if [ -z "$monitor" ] || [ "$(cat "$applied" 2>/dev/null || :)" != "$target" ]; then monitor="sentinel monitor $name $target"; fi
{
    echo "port ${SENTINEL_PORT:-26379}"
    echo "dir $data"
    echo "sentinel resolve-hostnames yes"
    echo "$monitor"
    if ! grep -q "^sentinel down-after-milliseconds $name " "$conf"; then
        echo "sentinel down-after-milliseconds $name ${MESH_DOWN_AFTER_MS:-1000}"
        echo "sentinel failover-timeout $name 10000"
    fi
    if [ -n "$password" ]; then
        quoted=$(printf %s "$password" | sed 's/[\\"]/\\&/g')
        printf 'sentinel auth-pass %s "%s"\nrequirepass "%s"\nsentinel sentinel-pass "%s"\n' \
            "$name" "$quoted" "$quoted" "$quoted"
    fi
    grep -v -E -e '^(port|dir|requirepass) ' -e '^sentinel (resolve-hostnames|sentinel-pass) ' \
        -e "^sentinel (monitor|auth-pass) $name " "$conf" || :
} > "$conf.new"
mv "$conf.new" "$conf"
echo "$target" > "$applied"
exec slotmesh-sentinel "$conf" "$@"
