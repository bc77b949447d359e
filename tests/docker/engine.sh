# Finds a Docker engine that builds with cache mounts, or starts one. To be sourced.
#
# An engine that answers is used as it is. Otherwise, and only as root, a private one is started:
# its images and caches are in $state, its socket in $scratch, and it makes neither a bridge nor
# firewall rules, so nothing of the machine changes. Containers use the machine's network.

# A command line tool without its build plugin cannot use BuildKit, and there may be more than one.
docker=
find_docker() {
  local candidate
  for candidate in $(type -ap docker | awk '!seen[$0]++'); do
    if probe "$candidate" >"$scratch/probe.log" 2>&1; then
      docker=$candidate
      return 0
    fi
  done
  return 1
}

probe() {
  mkdir -p "$scratch/probe"
  printf 'FROM scratch\nCOPY Dockerfile /\n' >"$scratch/probe/Dockerfile"
  "$1" build --quiet "$scratch/probe"
}

engine_pid=
start_engine() {
  [ "$(id -u)" -eq 0 ] || return 1
  command -v dockerd >/dev/null || return 1
  mkdir -p "$state/engine"
  export DOCKER_HOST=unix://$scratch/docker.sock
  dockerd --data-root "$state/engine" --exec-root "$scratch/exec" --pidfile "$scratch/dockerd.pid" \
    --host "$DOCKER_HOST" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
    >"$scratch/dockerd.log" 2>&1 &
  engine_pid=$!
  for _ in $(seq 60); do
    docker version >/dev/null 2>&1 && return 0
    kill -0 "$engine_pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 5 "$scratch/dockerd.log" >&2
  return 1
}

stop_engine() {
  [ -n "$engine_pid" ] || return 0
  kill "$engine_pid" 2>/dev/null || true
  wait "$engine_pid" || true
  umount "$scratch"/exec/netns/* 2>/dev/null || true
}
