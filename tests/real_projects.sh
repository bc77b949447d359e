#!/bin/sh
# Builds hyperfine and ripgrep with and without the cache and counts the compiler's real runs.
#
#   tests/real_projects.sh DIRECTORY [PROJECT-VERSION…]
#
# DIRECTORY keeps the sources between runs. CACHEWRAP names the wrapper (default: the one of this
# workspace's target directory, release before debug), MODES the subset of
# "build release check test clippy" to run. For each mode: a bare build (where it makes programs), a cold cached build, and a
# cached build after the target directory was removed, which must compile nothing. Probes that build
# scripts make are counted by themselves; they are part of the scripts' runs, which are cached too. The
# programs of bare and cached builds must say the same. At last the first project is checked again, and
# after it SHARING (default hexyl-0.16.0): of that only those units may be compiled that cargo tells from
# all of the first project's by their `-C metadata`. Exits with 1 if anything differs.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
directory=${1:?usage: real_projects.sh DIRECTORY [PROJECT-VERSION...]}
shift
[ $# -gt 0 ] || set -- hyperfine-1.19.0 ripgrep-14.1.1
mkdir -p "$directory"
directory=$(CDPATH='' cd -- "$directory" && pwd)
modes=${MODES:-build release check test clippy}
sharing=${SHARING-hexyl-0.16.0}

. "$here/wrapper.sh"
sysroot=$(rustc --print sysroot)
export PATH="$sysroot/bin:$PATH"
export CACHEWRAP_DIR="$directory/cache"
log=$directory/log
mkdir -p "$directory/bin"
for name in rustc clippy-driver; do
  # To a descriptor that is opened out here: to a build script that is watched, a log would be a file
  # written elsewhere.
  sed -e "s|@LOG@|>\\&9|" -e "s|@REAL@|'$sysroot/bin/$name'|" "$here/harness/shim.sh" \
    >"$directory/bin/$name"
  chmod +x "$directory/bin/$name"
done
export RUSTC="$directory/bin/rustc"

# Lets cargo itself download a package: as a dependency of an empty one.
fetch() {
  [ -d "$directory/$1" ] && return
  scratch=$directory/scratch
  rm -rf "$scratch"
  mkdir -p "$scratch/src"
  : >"$scratch/src/lib.rs"
  cat >"$scratch/Cargo.toml" <<MANIFEST
[package]
name = "scratch"
version = "0.0.0"
edition = "2021"
[dependencies]
${1%-*} = "=${1##*-}"
[workspace]
MANIFEST
  (cd "$scratch" && cargo fetch --quiet)
  crate=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$1.crate" | head -n 1)
  tar -xzf "$crate" -C "$directory"
  rm -rf "$scratch"
  (cd "$directory/$1" && cargo fetch --quiet --locked)
}

# One build of the project in the current directory: $1 is the mode, $2 "bare" or "cached".
# Sets `seconds`, `count` and `probes`.
run() {
  rm -rf target
  : >"$log"
  wrapper=
  [ "$2" = bare ] || wrapper=$CACHEWRAP
  begin=$(date +%s%N)
  case $1 in
    build) set -- build ;;
    release) set -- build --release ;;
    check) set -- check ;;
    test) set -- test --no-run ;;
    # What `cargo clippy` does, with the counting driver.
    clippy) set -- check --config "env.CLIPPY_ARGS=''" ;;
  esac
  driver=
  [ "$1 ${2:-}" != "check --config" ] || driver=$directory/bin/clippy-driver
  if ! env RUSTC_WRAPPER="$wrapper" RUSTC_WORKSPACE_WRAPPER="$driver" \
    cargo "$@" --locked --offline >"$directory/output" 2>&1 9>>"$log"; then
    cat "$directory/output" >&2
    exit 1
  fi
  seconds=$(awk -v begin="$begin" -v end="$(date +%s%N)" 'BEGIN { printf "%.1f", (end - begin) / 1e9 }')
  probes=$(grep -c 'probe]$' "$log") || true
  count=$(($(wc -l <"$log") - probes))
}

# What the built program says.
sample() {
  case $1 in
    hyperfine-*) program=target/$2/hyperfine && "$program" --version && "$program" --help ;;
    ripgrep-*)
      program=target/$2/rg && "$program" --version && "$program" --sort path -n 'fn main' .
      ;;
  esac
}

# The units of the last build, from what cargo says with `-v`.
identities() { sed -n 's/.*Running.* -C metadata=\([0-9a-f]*\) .*/\1/p' "$directory/output" | sort -u; }

failures=0
table="project mode bare(units+probes) cold(units+probes) warm(units+probes) bare(s) cold(s) warm(s)"
for project; do
  fetch "$project"
  cd "$directory/$project"
  for mode in $modes; do
    rm -rf "$CACHEWRAP_DIR"
    profile=debug
    [ "$mode" != release ] || profile=release
    row="$project $mode"
    times=
    for state in bare cold warm; do
      # Only programs can be compared with those of a bare build.
      case $state-$mode in
        bare-build | bare-release | cold-* | warm-*) ;;
        *) row="$row -" times="$times -" && continue ;;
      esac
      run "$mode" "$state"
      row="$row $count+$probes"
      times="$times $seconds"
      case $mode in build | release) sample "$project" "$profile" >"$directory/said-$state" ;; esac
    done
    table="$table
$row$times"
    if [ "$count" -ne 0 ]; then
      echo "FAILED: the warm $mode of $project compiled: $(grep -v 'probe]$' "$log" | sort | tr '\n' ' ')"
      failures=$((failures + 1))
    fi
    case $mode in
      build | release)
        for state in cold warm; do
          if ! cmp -s "$directory/said-bare" "$directory/said-$state"; then
            echo "FAILED: the program of the $state $mode of $project differs from the bare one"
            failures=$((failures + 1))
          fi
        done
        ;;
    esac
  done
done
if [ -n "$sharing" ]; then
  fetch "$sharing"
  rm -rf "$CACHEWRAP_DIR"
  export CARGO_TERM_VERBOSE=true
  cd "$directory/$1"
  run check cached
  identities >"$directory/units"
  cd "$directory/$sharing"
  run check bare
  all=$count
  own=$(identities | comm -23 - "$directory/units" | wc -l)
  run check cached
  echo "$sharing check: $all units, $own of them unlike those of $1, $count compiled after $1"
  if [ "$count" -gt "$own" ] || [ "$own" -ge "$all" ]; then
    echo "FAILED: $sharing shares too little with $1: $(sort "$log" | tr '\n' ' ')"
    failures=$((failures + 1))
  fi
fi
echo "$table" | awk '{ printf "%-18s %-8s", $1, $2; for (i = 3; i <= NF; i++) printf " %18s", $i; print "" }'
[ "$failures" -eq 0 ]
