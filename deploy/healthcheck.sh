#!/bin/bash
# healthcheck node|sentinel: exit 0 when the process in this container is well. Only what bash has built in, since it runs
# every few seconds in every container.
#
# A node is well when it answers PING, so not while it loads its data. A sentinel is well when every shard that it watches
# is up for it and known to as many sentinels as there are (SENTINELS, default 3), and when it watches one at all.
kind=${1:?node or sentinel}
port=${PORT:-${SENTINEL_PORT:-6379}}
password=${REDIS_PASSWORD:-}
[ -z "$REDIS_PASSWORD_FILE" ] || password=$(<"$REDIS_PASSWORD_FILE")

fail() { echo "$1"; exit 1; }
receive() { IFS= read -r -t 2 line <&3 || fail "no answer on port $port"; line=${line%$'\r'}; }

exec 3<>"/dev/tcp/127.0.0.1/$port" || fail "nothing listens on port $port"
if [ -n "$password" ]; then
    LC_ALL=C
    printf '*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n' "${#password}" "$password" >&3
    receive
    [ "$line" = "+OK" ] || fail "AUTH: $line"
fi
if [ "$kind" = node ]; then
    printf 'PING\r\n' >&3
    receive
    [ "$line" = "+PONG" ] || fail "PING: $line"
    exit 0
fi
printf 'INFO sentinel\r\nPING\r\n' >&3
shards=0
while receive; [ "$line" != "+PONG" ]; do
    case $line in
        -*) fail "INFO: $line" ;;
        master[0-9]*:*)
            shards=$((shards + 1))
            [[ $line == *,status=ok,* ]] || fail "a shard is not up: $line"
            [ "${line##*,sentinels=}" -ge "${SENTINELS:-3}" ] || fail "sentinels do not see each other: $line"
            ;;
    esac
done
[ "$shards" -gt 0 ] || fail "no shard is watched"
echo "$shards shards"
