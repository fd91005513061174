#!/usr/bin/env bash
# Starts and stops the real servers that tests, benchmarks and development run against.
#
#   services.sh up [NAME…]     start all of them, or only the named ones, each on a free port
#   services.sh down           end what `up` started, by process id
#   services.sh env            print their addresses as shell assignments
#   services.sh status         which are up
#   services.sh database start|stop|kill|full|roomy|save|restore    the database, with its data
#   services.sh broker start|stop|kill|full|pause|resume N    one of the brokers ($TTF_KAFKA_BROKERS of them, by default 1)
#
# NAME: kafka registry postgres redis s3 smtp alertmanager, and, only when it is named, timescale
# Folder: $TTF_SERVICES_DIR (default /tmp/ttf-services-$USER); programs: $TTF_CACHE_DIR (default ~/.cache/ttf).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
servers=${TTF_CACHE_DIR:-$HOME/.cache/ttf}/servers
run=${TTF_SERVICES_DIR:-/tmp/ttf-services-$(id -un)}
all=(kafka registry postgres redis s3 smtp alertmanager)
named=(timescale)   # what a suite starts by itself

say() { printf 'services: %s\n' "$*" >&2; }
fail() {
  say "$1"
  if [ -n "${2:-}" ] && [ -e "$2" ]; then tail -n 25 "$2" >&2; fi
  exit 1
}

# Prints N free TCP ports on loopback.
free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
held = []
for _ in range(int(sys.argv[1])):
    s = socket.socket(); s.bind(("127.0.0.1", 0)); held.append(s)
print(*[s.getsockname()[1] for s in held])
PY
}

# Waits until a command succeeds while the process lives: wait_for NAME PID LOG SECONDS COMMAND…
wait_for() {
  local name=$1 pid=$2 log=$3 seconds=$4; shift 4
  local deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || fail "$name ended while starting; the end of $log:" "$log"
    [ $SECONDS -lt $deadline ] || fail "$name did not answer within $seconds s; the end of $log:" "$log"
    sleep 0.2
  done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Runs a command in the background, free of this shell: launch NAME COMMAND…
launch() {
  local name=$1; shift
  setsid nohup "$@" >"$run/$name/log" 2>&1 </dev/null &
  echo $! >"$run/$name/pid"
}

export_line() { printf 'export %s=%s\n' "$1" "$2" >>"$run/env"; }

is_up() { [ -e "$run/$1/pid" ] && kill -0 "$(cat "$run/$1/pid")" 2>/dev/null; }

# One broker, or as many as $TTF_KAFKA_BROKERS says: of three, any one may be killed. A broker's folder is kafka/N. One that
# is silent for $TTF_KAFKA_SESSION_MS is given up by the controller: long enough for a busy machine, unless a suite wants less.
start_kafka() {
  local count=${TTF_KAFKA_BROKERS:-1} n ports voters='' addresses='' replicas=1 quorum=1 id
  local options="-Xms256m -Xmx1g -XX:+UseG1GC"
  if [ "$count" -gt 1 ]; then
    # Little memory and a fast start: they share the machine with the test.
    replicas=3 quorum=2 options="-Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
  fi
  read -r -a ports < <(free_ports $((count * 2)))
  for ((n = 1; n <= count; n++)); do
    addresses+=${addresses:+,}127.0.0.1:${ports[n * 2 - 2]}
    voters+=${voters:+,}$n@127.0.0.1:${ports[n * 2 - 1]}
  done
  id=$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x"))')
  local formatting=()
  for ((n = 1; n <= count; n++)); do
    local dir=$run/kafka/$n port=${ports[n * 2 - 2]} controller=${ports[n * 2 - 1]}
    mkdir -p "$dir"
    cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$quorum
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$quorum
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=${TTF_KAFKA_SESSION_MS:-20000}
broker.heartbeat.interval.ms=500
log.cleaner.backoff.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
EOF
    echo "$options -Dlog4j2.configurationFile=$here/kafka/log4j2.xml" >"$dir/java"
    (kafka_java "$n" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties") >"$dir/format.log" 2>&1 &
    formatting+=($!)
  done
  for ((n = 1; n <= count; n++)); do
    wait "${formatting[n - 1]}" || fail "could not format Kafka's folder:" "$run/kafka/$n/format.log"
  done
  for ((n = 1; n <= count; n++)); do launch_broker "$n"; done
  for ((n = 1; n <= count; n++)); do await_broker "$n"; done
  export_line TTF_TEST_KAFKA "$addresses"
  export_line TTF_TEST_KAFKA_LIBS "$servers/kafka/libs"
}

# Java as broker N runs it: kafka_java N CLASS ARGUMENT…
kafka_java() {
  local options; read -r -a options <"$run/kafka/$1/java"; shift
  java "${options[@]}" -cp "$servers/kafka/libs/*" "$@"
}

launch_broker() {
  local options; read -r -a options <"$run/kafka/$1/java"
  launch "kafka/$1" java "${options[@]}" -cp "$servers/kafka/libs/*" kafka.Kafka "$run/kafka/$1/server.properties"
}

await_broker() {
  local port; port=$(sed -n 's/^advertised.listeners=.*://p' "$run/kafka/$1/server.properties")
  wait_for "broker $1" "$(cat "$run/kafka/$1/pid")" "$run/kafka/$1/log" 60 port_open "$port"
}

# Ends one broker in good order (stop) or at once (kill), or starts it again with its port and its data (start). Full: no
# file of it grows beyond 4 KiB any more, as if its disk were full, until it is started again. Pause: it stands still, with
# its connections open, until it is resumed.
broker() {
  local act=$1 n=$2
  [ -e "$run/kafka/$n/server.properties" ] || fail "there is no broker $n in $run"
  case $act in
    start) if ! is_up "kafka/$n"; then launch_broker "$n"; await_broker "$n"; fi ;;
    stop) end_all TERM 8 "kafka/$n" ;;
    kill) end_all KILL 10 "kafka/$n" ;;
    pause) kill -STOP "$(cat "$run/kafka/$n/pid")" ;;
    resume) kill -CONT "$(cat "$run/kafka/$n/pid")" ;;
    full) prlimit --pid "$(cat "$run/kafka/$n/pid")" --fsize=4096 ;;
    *) fail "a broker can be started, stopped, killed, made full, paused or resumed, not \`$act\`" ;;
  esac
}

start_registry() {
  local port; read -r port < <(free_ports 1)
  launch registry env QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT="$port" \
    java -Xmx384m -jar "$servers"/registry/apicurio-registry-app-*-runner.jar
  wait_for registry "$(cat "$run/registry/pid")" "$run/registry/log" 60 \
    curl -sf "http://127.0.0.1:$port/apis/ccompat/v7/subjects"
  export_line TTF_TEST_REGISTRY "http://127.0.0.1:$port/apis/ccompat/v7"
}

postgres_bin() { ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1; }

# A fresh cluster; further options of initdb in $TTF_INITDB.
start_postgres() {
  local port options=(); read -r port < <(free_ports 1)
  read -r -a options <<<"${TTF_INITDB:-}"
  local dir=$run/postgres bin; bin=$(postgres_bin)
  if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
  (cd / && as_postgres "$bin/initdb" -D "$dir/data" -U ttf --auth=trust --no-sync "${options[@]}") >"$dir/initdb.log" 2>&1 ||
    fail "initdb failed:" "$dir/initdb.log"
  echo "$port" >"$dir/port"
  launch_postgres
  "$bin/psql" -q -h 127.0.0.1 -p "$port" -U ttf -d postgres -c 'create database ttf' >/dev/null
  export_line TTF_TEST_POSTGRES "postgres://ttf@127.0.0.1:$port/ttf"
}

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

launch_postgres() {
  local dir=$run/postgres bin port as=(); bin=$(postgres_bin); port=$(cat "$dir/port")
  if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); fi
  (cd / && launch postgres "${as[@]}" "$bin/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 -c port="$port" \
    -c unix_socket_directories= -c fsync=off -c max_connections=200)
  wait_for postgres "$(cat "$dir/pid")" "$dir/log" 30 "$bin/psql" -h 127.0.0.1 -p "$port" -U ttf -d postgres -c 'select 1'
  # The server itself, not the wrapper that changed the user.
  head -n 1 "$dir/data/postmaster.pid" >"$dir/pid"
}

# Bounds the size of the files of the server and its children; one that has just ended needs no bound.
limit_postgres() {
  local pid server; server=$(cat "$run/postgres/pid")
  for pid in "$server" $(pgrep -P "$server"); do
    if ! (cd / && as_postgres prlimit --pid "$pid" --fsize="$1":unlimited) && kill -0 "$pid" 2>/dev/null; then
      fail "process $pid takes no limit"
    fi
  done
}

# Ends the database in good order (stop) or at once (kill), or starts it again with its port and its data (start). `save`
# copies the data of a stopped one, `restore` puts the copy in their place.
database() {
  local dir=$run/postgres pid
  [ -e "$dir/port" ] || fail "there is no database in $run"
  case $1 in
    start) if ! is_up postgres; then launch_postgres; fi ;;
    stop) end_all INT 15 postgres ;;
    kill)
      pid=$(cat "$dir/pid")
      # Its children see that it is gone, and end; a new one does not start before.
      pkill -KILL -P "$pid" || true
      end_all KILL 10 postgres ;;
    # No file grows beyond 1 MiB any more, as if the disk were full; and again as it likes.
    full) limit_postgres 1048576 ;;
    roomy) limit_postgres unlimited ;;
    save) rm -rf "$dir/saved"; cp -a "$dir/data" "$dir/saved" ;;
    restore) rm -rf "$dir/data"; cp -a "$dir/saved" "$dir/data" ;;
    *) fail "a database can be started, stopped, killed, made full or roomy, saved or restored, not \`$1\`" ;;
  esac
}

# TimescaleDB, in WebAssembly: for what it understands, not for its speed.
start_timescale() {
  "$here/timescale/install.sh"
  local port; read -r port < <(free_ports 1)
  launch timescale "$servers/timescale/node" "$servers/timescale/server.mjs" "$port"
  wait_for timescale "$(cat "$run/timescale/pid")" "$run/timescale/log" 60 port_open "$port"
  export_line TTF_TEST_TIMESCALE "postgres://postgres:postgres@127.0.0.1:$port/postgres"
}

start_redis() {
  local port; read -r port < <(free_ports 1)
  launch redis redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$run/redis"
  wait_for redis "$(cat "$run/redis/pid")" "$run/redis/log" 20 redis-cli -p "$port" ping
  export_line TTF_TEST_REDIS "redis://127.0.0.1:$port"
}

start_s3() {
  local p; read -r -a p < <(free_ports 9)
  local dir=$run/s3
  mkdir -p "$dir/data"
  cat >"$dir/s3.json" <<'EOF'
{"identities":[{"name":"test","credentials":[{"accessKey":"test","secretKey":"testtest"}],"actions":["Admin","Read","Write","List","Tagging"]}]}
EOF
  # The key under which it encrypts what is put with server-side encryption.
  launch s3 env WEED_S3_SSE_KEY=a-key-for-tests "$servers/python/bin/weed" -logtostderr=true server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="${p[0]}" -master.port.grpc="${p[1]}" -master.telemetry=false -master.volumeSizeLimitMB=64 \
    -volume.port="${p[2]}" -volume.port.grpc="${p[3]}" -volume.max=100 \
    -filer -filer.port="${p[4]}" -filer.port.grpc="${p[5]}" \
    -s3 -s3.port="${p[6]}" -s3.port.grpc="${p[7]}" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$dir/s3.json" -iam=false
  wait_for s3 "$(cat "$dir/pid")" "$dir/log" 60 s3_answers "${p[6]}" "${p[0]}"
  export_line TTF_TEST_S3_ENDPOINT "http://127.0.0.1:${p[6]}"
  export_line TTF_TEST_S3_ACCESS_KEY test
  export_line TTF_TEST_S3_SECRET_KEY testtest
}

# A put needs a volume server that has registered: make the bucket the suites share.
s3_answers() {
  curl -sf "http://127.0.0.1:$2/dir/assign" >/dev/null &&
    curl -sf -X PUT --user test:testtest --aws-sigv4 aws:amz:us-east-1:s3 "http://127.0.0.1:$1/ttf-test" >/dev/null
}

start_alertmanager() {
  local dir=$run/alertmanager port; read -r port < <(free_ports 1)
  cat >"$dir/alertmanager.yml" <<'EOF'
route: { receiver: nobody }
receivers: [{ name: nobody }]
EOF
  launch alertmanager "$servers/alertmanager/alertmanager" --config.file="$dir/alertmanager.yml" \
    --storage.path="$dir/data" --web.listen-address="127.0.0.1:$port" --cluster.listen-address=
  wait_for alertmanager "$(cat "$dir/pid")" "$dir/log" 20 curl -sf "http://127.0.0.1:$port/-/ready"
  export_line TTF_TEST_ALERTMANAGER "http://127.0.0.1:$port"
}

start_smtp() {
  local port; read -r port < <(free_ports 1)
  launch smtp "$servers/python/bin/aiosmtpd" -n -l "127.0.0.1:$port" -c aiosmtpd.handlers.Debugging stdout
  wait_for smtp "$(cat "$run/smtp/pid")" "$run/smtp/log" 20 port_open "$port"
  export_line TTF_TEST_SMTP "127.0.0.1:$port"
}

up() {
  local names=("$@"); [ ${#names[@]} -gt 0 ] || names=("${all[@]}")
  TTF_CACHE_DIR=${TTF_CACHE_DIR:-$HOME/.cache/ttf} "$here/install.sh"
  mkdir -p "$run"; chmod 755 "$run"; touch "$run/env"
  for name in "${names[@]}"; do
    case " ${all[*]} ${named[*]} " in *" $name "*) ;; *) fail "no server named \`$name\`; there are: ${all[*]} ${named[*]}" ;; esac
    if is_up "$name" || is_up "$name/1"; then say "$name is up already"; continue; fi
    # A free port may be taken by another before the server has it: then once more, on another one.
    for attempt in 1 2 3; do
      rm -rf "${run:?}/$name"; mkdir -p "$run/$name"
      # In the background, because `set -e` does not hold inside a condition.
      ("start_$name") &
      if wait $!; then break; fi
      [ $attempt -lt 3 ] || exit 1
    done
    say "$name is up (pid $(pids_of "$name"))"
  done
  export_line TTF_TEST_PYTHON "$servers/python/bin/python"
  say "addresses: . $run/env"
}

# The processes of a server: its own, or those of its brokers.
parts_of() {
  local pid
  for pid in "$run/$1/pid" "$run/$1"/*/pid; do
    if [ -e "$pid" ]; then pid=${pid%/pid}; echo "${pid#"$run/"}"; fi
  done
}

pids_of() { parts_of "$1" | while read -r part; do cat "$run/$part/pid"; done | paste -sd ' '; }

# Ends processes and waits for their end: end_all SIGNAL SECONDS PART…
end_all() {
  local signal=$1 seconds=$2 part; shift 2
  for part in "$@"; do
    if is_up "$part"; then kill "-$signal" "$(cat "$run/$part/pid")" 2>/dev/null || true; fi
  done
  local deadline=$((SECONDS + seconds))
  for part in "$@"; do
    while is_up "$part"; do
      if [ $SECONDS -ge $deadline ]; then kill -KILL "$(cat "$run/$part/pid")" 2>/dev/null || true; fi
      sleep 0.05
    done
  done
}

down() {
  local name parts=()
  if is_up postgres; then kill -INT "$(cat "$run/postgres/pid")" 2>/dev/null || true; fi
  for name in "${all[@]}" "${named[@]}"; do
    if [ "$name" != postgres ]; then mapfile -t -O ${#parts[@]} parts < <(parts_of "$name"); fi
  done
  # Of several brokers the last ones have no quorum to leave in good order; the data goes anyway.
  local signal=TERM
  if [ -e "$run/kafka/2" ]; then signal=KILL; fi
  end_all $signal 15 "${parts[@]}"
  end_all INT 15 postgres
  rm -rf "$run"
}

status() {
  local name part parts
  for name in "${all[@]}"; do
    mapfile -t parts < <(parts_of "$name")
    if [ ${#parts[@]} = 0 ]; then echo "$name down"; fi
    for part in "${parts[@]}"; do
      if is_up "$part"; then echo "$part up (pid $(cat "$run/$part/pid"))"; else echo "$part down"; fi
    done
  done
}

usage() { sed -n '2,12p' "$0"; exit 64; }

case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  env) [ -e "$run/env" ] || fail "nothing is up; start with: $0 up"; cat "$run/env" ;;
  status) status ;;
  broker) [ $# = 3 ] || usage; broker "$2" "$3" ;;
  database) [ $# = 2 ] || usage; database "$2" ;;
  *) usage ;;
esac
