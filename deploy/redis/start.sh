#!/bin/sh
# Starts Redis or a Sentinel in a container, for ../compose-nodes.yaml and ../k8s/nodes. It writes the configuration into
# $DATA (/data), because Redis and Sentinel write into their own files who the master is.
#
#   start.sh redis      HOST (this server's name), FIRST (the server that is the master at the very first start)
#   start.sh sentinel   HOST, FIRST
#
# Both read the passwords from $SECRETS (/run/secrets): redis_password for replicas and Sentinels, and engine_password
# for Idlewild. PORT is 6379 or 26379.
set -eu
umask 077

role=$1
data=${DATA:-/data}
secrets=${SECRETS:-/run/secrets}
password=$(cat "$secrets/redis_password")
conf=$data/$role.conf

if [ "$role" = redis ]; then
    # The user may do only what Idlewild needs: docs/cluster.md.
    engine_password=$(cat "$secrets/engine_password")
    # At a restart, this server follows whoever was its master before. Sentinel changes that if it is outdated.
    if [ -e "$conf" ]; then
        master=$(grep '^replicaof ' "$conf" || true)
    elif [ "$HOST" = "$FIRST" ]; then
        master=
    else
        master="replicaof $FIRST 6379"
    fi
    cat >"$conf.new" <<EOF
port ${PORT:-6379}
dir $data
replica-announce-ip $HOST
$master

# Survives the end of the process, and loses at most a second if the machine fails.
appendonly yes
appendfsync everysec

# Room for the log (engine.max_bytes, 256 MiB), publishers' ids, standings, and copies for replicas and rewrites.
maxmemory 1gb
# With another policy, Redis may delete the log when its memory is used up.
maxmemory-policy noeviction
# A replica that was away for a moment gets only what it missed.
repl-backlog-size 64mb
repl-diskless-sync-delay 0

requirepass $password
masterauth $password
user idlewild on >$engine_password ~idlewild:* resetchannels -@all +evalsha +script|load +xadd +xread +xrange +xrevrange +xtrim +xinfo|stream +get +set +getdel +del +hget +hgetall +hset +hdel +hscan +zadd +zrem +zrangebyscore +exists +pexpire +memory|usage +time +wait +info +client|setname
EOF
    mv "$conf.new" "$conf"
    exec redis-server "$conf"
fi

# Kept over restarts: it says who the master is, and what was elected.
if [ ! -e "$conf" ]; then
    cat >"$conf" <<EOF
port ${PORT:-26379}
dir $data
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $HOST
# Two of three Sentinels have to agree. The name is in engine.url.
sentinel monitor idlewild $FIRST 6379 2
sentinel auth-pass idlewild $password
sentinel down-after-milliseconds idlewild 2000
sentinel failover-timeout idlewild 10000
sentinel parallel-syncs idlewild 1
EOF
fi
exec redis-sentinel "$conf"
