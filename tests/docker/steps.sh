# What the cases are written with. To be sourced. $project is the case's copy of the service, and
# $store names its mounts: two cases with the same $store share them.

failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# The example with mounts of this run.
render() {
  sed -e "s|type=cache,target=/cache|type=cache,id=$run-$store,target=/cache|" \
    "$examples/$1.Dockerfile"
}

# docker build of the Dockerfile on standard input with the project as context. It is always the end
# of a pipeline, a process of its own, and becomes docker so that it can be killed.
docker_build() {
  exec "$docker" build --network host --file - "$@" \
    --build-arg RUST_IMAGE="$rust_image" --build-arg CHEF_IMAGE="$rust_image" \
    --build-arg CACHEWRAP_IMAGE="$cachewrap_image" --build-arg RUNTIME_IMAGE="$debian_image" \
    "$project"
}

# Builds an example with REVISION=$2, and leaves in `compiled` the units of its stage $3 that were
# really compiled. A build that fails ends the run.
build() {
  local example=$1 revision=$2 stage=${3:-build}
  local image=$run:$example-$stage log=$scratch/build.log
  if ! render "$example" |
    docker_build --target "$stage" --tag "$image" --build-arg REVISION="$revision" >"$log" 2>&1; then
    cat "$log" >&2
    echo "FAILED: docker build of $example.Dockerfile" >&2
    exit 1
  fi
  compiled=$("$docker" run --rm --network none "$image" cat /var/log/compiled | units)
}

# Only cargo's own units: probes of build scripts that fail on purpose are compiled each time.
units() { sed -e '/probe]$/d' | sort | paste -s -d ' '; }

# The units that the last build may have compiled, in order.
compiles() {
  [ "$compiled" = "$*" ] || fail "$name compiled \"$compiled\", not \"$*\""
}

# All of the service's units, with those of crates.io: what a build with an empty cache compiles.
readonly everything="anyhow build_script_build build_script_build build_script_build \
build_script_build build_script_build itoa proc_macro2 quote server shared syn thiserror \
thiserror_impl unicode_ident"

# What the program in the example's last stage says; every layer of it but the last is there already.
says() {
  local example=$1 revision=$2 said
  render "$example" | docker_build --tag "$run:$example" --build-arg REVISION="$revision" \
    >"$scratch/build.log" 2>&1
  said=$("$docker" run --rm --network none "$run:$example")
  [ "$said" = "$3" ] || fail "the program of $name said \"$said\", not \"$3\""
}

# Runs a command in a step after those of the example's build stage, with its cache mount.
in_mount() {
  local example=$1 mount
  shift
  mount=$(render "$example" | grep -o -m 1 'type=cache,id=[^ ]*')
  { render "$example" && printf 'FROM build AS after\nARG NONCE\nRUN --mount=%s %s\n' "$mount" "$*"; } |
    docker_build --target after --build-arg REVISION="$revision" --build-arg NONCE="$RANDOM$RANDOM" \
      >"$scratch/step.log" 2>&1 ||
    { cat "$scratch/step.log" >&2 && fail "\"$*\" in a step of $example.Dockerfile"; }
}

# The observer works inside a step of the example, and every entry is whole.
in_order() {
  in_mount "$1" "cargo cachewrap doctor && cargo cachewrap verify"
  grep -q 'compilations can be observed' "$scratch/step.log" ||
    { cat "$scratch/step.log" >&2 && fail "the observer in a step of $1.Dockerfile"; }
}

edit() { sed -i -e "$2" "$project/$1"; }

compose() {
  if "$docker" compose version >/dev/null 2>&1; then
    "$docker" compose "$@"
  elif command -v docker-compose >/dev/null; then
    docker-compose "$@"
  else
    return 127
  fi
}

remove_what_was_made() {
  [ -n "$docker" ] || return 0
  local image volume
  for image in $("$docker" images --quiet "$run"); do
    "$docker" rmi --force "$image" >/dev/null 2>&1
  done
  for volume in $("$docker" volume ls --quiet --filter name="$run"); do
    "$docker" volume rm "$volume" >/dev/null
  done
  # In an engine of our own nothing else lies there; others collect unused mounts by themselves.
  if [ -n "$engine_pid" ]; then "$docker" builder prune --all --force >/dev/null; fi
}
