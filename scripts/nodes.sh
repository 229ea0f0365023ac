# Nodes that share one Redis, for measurements on one machine. Sourced from the repository's root, after lib.sh. Sets
# $release, $load and $out, which the caller may not change.

need redis-server redis-server
need redis-cli redis-tools
need curl curl
need jq jq
need python3 python3
cargo build --release --locked --quiet --package idlewild --package idlewild-load
release=${CARGO_TARGET_DIR:-target}/release
load=$release/idlewild-load
out=target/${0##*/}
mkdir -p "$out"

scratch=$(mktemp -d)
redis_pid=
node_pids=()
end() {
    local pid
    for pid in "$@"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap 'end "${node_pids[@]}" $redis_pid; rm -rf "$scratch"' EXIT

fail() {
    echo "${0##*/}: $*" >&2
    for file in "$scratch"/*.log; do
        [ ! -e "$file" ] || { echo "--- $file" >&2; tail -n 20 "$file" >&2; }
    done
    exit 1
}

# eventually PID WHAT COMMAND…: waits up to ten seconds, far more than needed, until a command succeeds. Fails at once if
# the process has ended.
eventually() {
    local pid=$1 what=$2
    shift 2
    for _ in $(seq 500); do
        ! "$@" >/dev/null 2>&1 || return 0
        kill -0 "$pid" 2>/dev/null || fail "$what: the process has ended"
        sleep 0.02
    done
    fail "$what"
}

free_port() { python3 -c 'import socket; one = socket.socket(); one.bind(("127.0.0.1", 0)); print(one.getsockname()[1])'; }
port=$(free_port)
redis-server --bind 127.0.0.1 --port "$port" --dir "$scratch" --save '' --appendonly no >"$scratch/redis.log" 2>&1 &
redis_pid=$!
redis() { redis-cli -p "$port" "$@"; }
eventually "$redis_pid" "Redis does not answer" redis ping

head -c 32 /dev/urandom | base64 >"$scratch/secret"
head -c 32 /dev/urandom | base64 >"$scratch/key"
hash=$(tr -d '\n' <"$scratch/key" | sha256sum | cut -d ' ' -f 1)

# listener NODE KIND: the address that a node has bound, from its log.
listener() { sed -n "s/.* $2 listener endpoint=\([^ ]*\).*/\1/p" "$scratch/node-$1.log"; }

# The value of a node's metric.
metric() { curl -fs "${admin[$1]}/metrics" | awk -v name="$2" '$1 == name { print $2 }'; }

# start_nodes NUMBER LINE…: new nodes on an empty Redis, with these lines in [engine]. Sets node_pids, and public and
# admin, by node.
start_nodes() {
    local number=$1
    shift
    end "${node_pids[@]}"
    node_pids=()
    redis flushall >/dev/null
    public=() admin=()
    start_more 1 "$number" "$@"
}

# start_more FIRST LAST LINE…: further nodes beside those that run.
start_more() {
    local first=$1 last=$2 node
    shift 2
    for node in $(seq "$first" "$last"); do
        cat >"$scratch/node-$node.toml" <<EOF
listen = ["127.0.0.1:0"]
admin_listen = ["127.0.0.1:0"]
shards = 1
max_connections = $((connections + 2500))
auth.secret_file = "$scratch/secret"
admin.api_keys = [{ name = "bench", hash = "sha256:$hash" }]

[engine]
kind = "redis"
url = "${redis_url:-redis://127.0.0.1:$port/0}"
node = "node-$node"
$(printf '%s\n' "$@")
EOF
        "$release/idlewild" serve --config "$scratch/node-$node.toml" >/dev/null 2>"$scratch/node-$node.log" &
        node_pids[node]=$!
    done
    for node in $(seq "$first" "$last"); do
        eventually "${node_pids[node]}" "node $node does not listen" grep -q "admin listener" "$scratch/node-$node.log"
        public[node]=http://$(listener "$node" public)
        admin[node]=http://$(listener "$node" admin)
        eventually "${node_pids[node]}" "node $node is not ready" curl -fs "${admin[node]}/readyz"
    done
}

# Redis' user and system time so far, in ticks.
redis_ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$redis_pid/stat"; }
# per_event TICKS EVENTS: microseconds.
per_event() { awk -v ticks="$1" -v events="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", ticks / hz * 1e6 / events }'; }

# measure SCENARIO NAME FLAGS…: runs the load generator and keeps its table and its JSON.
failed=0
measure() {
    local scenario=$1 name=$2
    shift 2
    "$load" "$scenario" "$@" --json "$out/$name.json" >"$out/$name.txt" || { failed=1; cat "$out/$name.txt" >&2; }
}
# on NODE…: the arguments for clients on these nodes.
on() {
    local node
    for node in "$@"; do
        printf '%s\n' --url "${public[node]}"
    done
    printf '%s\n' --secret-file "$scratch/secret" --api-key-file "$scratch/key"
}
