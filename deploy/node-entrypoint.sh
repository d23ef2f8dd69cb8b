#!/bin/sh
# Starts a node from the environment; arguments are further options of the node.
#
#   PORT, NODE_MAXMEMORY, REPLICA_OF ("host port", for the first start only: sentinels decide from then on),
#   REDIS_PASSWORD or REDIS_PASSWORD_FILE
#
# The configuration file lies in the volume and is private: it keeps what CONFIG REWRITE wrote (a sentinel's change of
# role among it), and passwords stay off the command line. The lines made here are made again at every start.
# A password given here replaces the rules of the user `default` in that file.
set -eu
data=${DATA_DIR:-/data}
conf=$data/node.conf
umask 077

password=${REDIS_PASSWORD:-}
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then password=$(cat "$REDIS_PASSWORD_FILE"); fi

# A fork that rewrites the log may copy nearly all of the data, so the data get two fifths of the container.
maxmemory=${NODE_MAXMEMORY:-}
if [ -z "$maxmemory" ]; then
    for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        if [ -r "$file" ]; then
            limit=$(cat "$file")
            # Where there is no limit, v2 says "max", and v1 a number near 2^63.
            if [ "$limit" != max ] && [ ${#limit} -lt 16 ]; then maxmemory=$((limit / 5 * 2)); fi
            break
        fi
    done
fi

{
    echo "port ${PORT:-6379}"
    if [ -n "$maxmemory" ]; then echo "maxmemory $maxmemory"; fi
    if [ -n "$password" ]; then
        quoted=$(printf %s "$password" | sed 's/[\\"]/\\&/g')
        printf 'requirepass "%s"\nmasterauth "%s"\n' "$quoted" "$quoted"
    fi
    if [ -e "$conf" ]; then
        grep -v -E "^(port|maxmemory|requirepass|masterauth) ${password:+|^user default }" "$conf" || :
    elif [ -n "${REPLICA_OF:-}" ]; then
        echo "replicaof $REPLICA_OF"
    fi
} > "$conf.new"
mv "$conf.new" "$conf"
exec slotmesh-node "$conf" --dir "$data" "$@"
