# One function per case. To be sourced.

all_cases=(plain workspace chef user one_mount at_once killed deleted volume archive compose)

case_plain() {
  store=shared
  build plain 1 && compiles "$everything"
  says plain 1 "version 1: 42 generated"
  # Nothing but the layers is gone.
  build plain 2 && compiles ""
  revision=2 in_order plain
  edit server/src/main.rs 's/version 1/version 2/'
  build plain 2 && compiles server
  says plain 2 "version 2: 42 generated"
  # Layers and a library that the program depends on.
  edit shared/src/lib.rs 's/is too large/is much too large/'
  build plain 3 && compiles server shared
  build plain 4 && compiles ""
}

# Stages that do not depend on each other, in another directory and profile.
case_workspace() {
  store=workspace
  build workspace 1 test
  build workspace 1
  says workspace 1 "version 1: 42 generated"
  build workspace 2 test && compiles ""
  build workspace 2 && compiles ""
  edit server/src/main.rs 's/version 1/version 2/'
  build workspace 3 test && compiles "server[test]"
  build workspace 3 && compiles server
  says workspace 3 "version 2: 42 generated"
}

# The dependencies were compiled by `plain`: cooking only compiles what stands in for the members.
case_chef() {
  store=shared
  build chef 1 && compiles build_script_build server shared
  says chef 1 "version 1: 42 generated"
  # The cooked layer is reused, with the log in it.
  edit server/src/main.rs 's/version 1/version 3/'
  build chef 1 && compiles build_script_build server server shared
  says chef 1 "version 3: 42 generated"
  # The layers of the dependencies are made again, from the cache.
  build chef 2 && compiles ""
}

case_user() {
  store=user
  build user 1 && compiles "$everything"
  says user 1 "version 1: 42 generated"
  build user 2 && compiles ""
  revision=2 in_order user
  edit server/src/main.rs 's/version 1/version 2/'
  build user 3 && compiles server
  says user 3 "version 2: 42 generated"
}

case_one_mount() {
  store=one
  build one-mount 1 && compiles "$everything"
  build one-mount 2 && compiles ""
  revision=2 in_mount one-mount rm -rf /cache/target
  build one-mount 3 && compiles ""
  edit server/src/main.rs 's/version 1/version 2/'
  build one-mount 4 && compiles server
  says one-mount 4 "version 2: 42 generated"
  # Taken back: the layer of the sources is the old one, with its old modification times.
  edit server/src/main.rs 's/version 2/version 1/'
  build one-mount 5 && compiles ""
  says one-mount 5 "version 1: 42 generated"
}

case_at_once() {
  store=at-once
  local revision pids=() pid
  for revision in 1 2; do
    render plain | docker_build --target build --tag "$run:at-once-$revision" \
      --build-arg REVISION="$revision" >"$scratch/at-once-$revision.log" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || { cat "$scratch"/at-once-*.log >&2 && fail "a build beside another"; }
  done
  build plain 3 && compiles ""
  says plain 3 "version 1: 42 generated"
  revision=3 in_order plain
}

# A build that is killed in the middle of its step.
case_killed() {
  store=killed
  local log=$scratch/killed.log pid
  render plain | docker_build --target build --build-arg REVISION=1 >"$log" 2>&1 &
  pid=$!
  # Its dependencies were compiled by then, so something is in the cache.
  until grep -q 'Compiling thiserror v' "$log"; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || fail "the build ended before it could be killed"
  { wait "$pid"; } 2>/dev/null || true
  build plain 2
  case $compiled in
    "$everything") fail "nothing of the killed build was used" ;;
    *server*) ;;
    *) fail "the build was not killed: \"$compiled\" was left to compile" ;;
  esac
  says plain 2 "version 1: 42 generated"
  revision=2 in_order plain
  build plain 3 && compiles ""
}

case_deleted() {
  store=deleted
  build plain 1 && compiles "$everything"
  revision=1 in_mount plain "find /cachewrap -mindepth 1 -delete"
  build plain 2 && compiles "$everything"
  build plain 3 && compiles ""
}

# Two containers, with the project in two places.
case_volume() {
  builder_image
  in_container /app "$run-volume" && compiles "$everything"
  in_container /srv/elsewhere/app "$run-volume" && compiles ""
}

# A pruned archive, as a job in continuous integration keeps one.
case_archive() {
  builder_image
  in_container /app "$scratch/kept" && compiles "$everything"
  tar -C "$scratch" -cf "$scratch/kept.tar" kept
  mkdir "$scratch/restored"
  tar -C "$scratch/restored" -xf "$scratch/kept.tar"
  in_container /app "$scratch/restored/kept" && compiles ""
}

builder_image() {
  store=none
  render builder | docker_build --tag "$run:builder" >"$scratch/build.log" 2>&1
}

# Builds in a container with the project in $1 and the cache in the volume or directory $2.
in_container() {
  local commands='cargo build --release --locked && cargo cachewrap prune --max 2G --older-than 14d'
  compiled=$("$docker" run --rm --network host --volume "$2:/cachewrap" --volume "$project:$1:ro" \
    --workdir "$1" --env CARGO_TARGET_DIR=/tmp/target "$run:builder" \
    sh -c "{ $commands; } >&2 && cat /var/log/compiled" 2>"$scratch/build.log" | units) ||
    { cat "$scratch/build.log" >&2 && fail "the build in a container"; }
}

case_compose() {
  if ! compose version >/dev/null 2>&1; then
    echo "SKIPPED: Docker: compose is not installed"
    return
  fi
  cp "$examples/compose.yaml" "$project/"
  builder_image
  # Containers of the tests have the machine's network.
  printf 'services:\n  builder:\n    network_mode: host\n' >"$project/compose.override.yaml"
  for _ in 1 2; do
    compiled=$(cd "$project" && BUILDER_IMAGE=$run:builder COMPOSE_PROJECT_NAME=$run \
      compose run --rm -T builder \
      sh -c 'cargo build --locked >&2 && cat /var/log/compiled' 2>"$scratch/build.log" | units)
    [ -n "${cold:-}" ] || local cold=$compiled
  done
  [ "$cold" = "$everything" ] || fail "the first build in a service compiled \"$cold\""
  compiles ""
}
