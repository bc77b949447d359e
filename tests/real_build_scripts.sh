#!/bin/sh
# Builds crates whose build scripts do a lot, with and without the cache, and counts the real runs of
# their C compiler.
#
#   tests/real_build_scripts.sh DIRECTORY [CRATE…]
#
# DIRECTORY is for scratch. CACHEWRAP names the wrapper (default: the one of this workspace's target
# directory, release before debug). For each crate: a bare build, a cold cached build, a cached build
# after the target directory was removed, and one in another directory. The third must run no C
# compiler and no other program that the compiler's stand-in counts, and must leave the same files in
# the same places as the first; so must the fourth where the crate leaves no paths in binaries. Exits
# with 1 if anything differs. Crates whose tools are not installed are skipped.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
directory=${1:?usage: real_build_scripts.sh DIRECTORY [CRATE...]}
shift
# The name of a crate, and how a dependency on it is written.
known='libz-sys|{ version = "1.1", default-features = false, features = ["static", "libc"] }
libgit2-sys|{ version = "0.17", default-features = false }
onig_sys|{ version = "69.8", default-features = false }
ring|"0.17"
prost-build|"0.13"
aws-lc-sys|"0.30"
openssl-sys|{ version = "0.9", features = ["vendored"] }'
[ $# -gt 0 ] || set -- libz-sys libgit2-sys onig_sys ring prost-build
mkdir -p "$directory/bin"
directory=$(CDPATH='' cd -- "$directory" && pwd)

. "$here/wrapper.sh"
unset CC CXX CFLAGS CXXFLAGS MAKEFLAGS
sysroot=$(rustc --print sysroot)

# Stand-ins that count the real runs of tools. They write to a descriptor that was opened out here:
# to a build script that is watched, a log of its own would be a file written elsewhere.
for tool in cc c++ gcc g++ cmake protoc perl; do
  if real=$(command -v "$tool"); then
    printf '#!/bin/sh\n{ echo %s >&9; } 2>/dev/null\nexec %s "$@"\n' "$tool" "$real" \
      >"$directory/bin/$tool"
    chmod +x "$directory/bin/$tool"
  fi
done
export PATH="$directory/bin:$sysroot/bin:$PATH"
export CACHEWRAP_DIR="$directory/cache"
log=$directory/log

# What a build of the project in the current directory takes. $1 is "bare" or "cached".
# Sets `seconds` and `count`.
run() {
  : >"$log"
  wrapper=
  [ "$1" = bare ] || wrapper=$CACHEWRAP
  begin=$(date +%s%N)
  if ! RUSTC_WRAPPER=$wrapper cargo build --quiet >"$directory/output" 2>&1 9>>"$log"; then
    cat "$directory/output" >&2
    exit 1
  fi
  seconds=$(awk -v begin="$begin" -v end="$(date +%s%N)" 'BEGIN { printf "%.1f", (end - begin) / 1e9 }')
  # Also tests what `cargo` finds fresh.
  if RUSTC_WRAPPER=$wrapper cargo build -v 2>&1 9>/dev/null | grep -E 'Running|Compiling|Dirty' >&2; then
    echo "FAILED: the $1 build of $crate is not fresh afterwards"
    failures=$((failures + 1))
  fi
  count=$(wc -l <"$log")
}

# The names, permissions and links of what build scripts left, and what they said. Contents differ
# where a script writes times or a compiler writes names of temporary files; so only those of text
# that bears no time are compared.
left() {
  (
    cd target/debug/build
    find . -path './*/out*' ! -name '*.log' -printf '%p %M %l\n' | sort
    find . -name output -path './*/output' -exec cat {} + | sort
  )
}

failures=0
table="crate bare(tools) cold(tools) warm(tools) elsewhere(tools) bare(s) cold(s) warm(s) elsewhere(s)"
for crate; do
  case $crate in
    prost-build) needs='cc protoc' ;;
    aws-lc-sys) needs='cc cmake' ;;
    openssl-sys) needs='cc perl make' ;;
    *) needs=cc ;;
  esac
  missing=
  for tool in $needs; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
  if [ -n "$missing" ]; then
    echo "SKIPPED: $crate needs$missing" >&2
    continue
  fi
  rm -rf "$directory/project" "$directory/elsewhere" "$CACHEWRAP_DIR"
  mkdir -p "$directory/project/src"
  cd "$directory/project"
  echo 'fn main() {}' >src/main.rs
  section=dependencies
  printf '[package]\nname = "project"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
  if [ "$crate" = prost-build ]; then
    # The script is our own there, so that it has to be told to be cached.
    section=build-dependencies
    export CACHEWRAP_BUILD_SCRIPTS=all
    printf '[dependencies]\nprost = "0.13"\n' >>Cargo.toml
    printf 'syntax = "proto3";\npackage a;\nmessage M { string word = 1; }\n' >a.proto
    echo 'fn main() { prost_build::compile_protos(&["a.proto"], &["."]).unwrap(); }' >build.rs
    echo 'include!(concat!(env!("OUT_DIR"), "/a.rs")); fn main() { M::default(); }' >src/main.rs
  else
    unset CACHEWRAP_BUILD_SCRIPTS
  fi
  printf '[%s]\n%s = %s\n' "$section" "$crate" \
    "$(echo "$known" | sed -n "s/^$crate|//p")" >>Cargo.toml
  cargo fetch --quiet
  row=$crate
  times=
  for state in bare cold warm elsewhere; do
    if [ $state = elsewhere ]; then
      cp -r "$directory/project" "$directory/elsewhere"
      cd "$directory/elsewhere"
    fi
    rm -rf target
    case $state in bare) run bare ;; *) run cached ;; esac
    left >"$directory/left-$state"
    row="$row $count"
    times="$times $seconds"
    if [ $state = warm ] && [ "$count" -ne 0 ]; then
      echo "FAILED: the warm build of $crate ran $(sort "$log" | uniq -c | tr '\n' ' ')"
      failures=$((failures + 1))
    fi
    if ! sed "s|$directory/elsewhere|$directory/project|g" "$directory/left-$state" |
      cmp -s - "$directory/left-bare"; then
      echo "FAILED: the $state build of $crate left something else than the bare one:"
      diff "$directory/left-bare" "$directory/left-$state" | head -n 20
      failures=$((failures + 1))
    fi
  done
  table="$table
$row$times"
done
echo "$table" | awk '{ printf "%-14s", $1; for (i = 2; i <= NF; i++) printf " %16s", $i; print "" }'
[ "$failures" -eq 0 ]
