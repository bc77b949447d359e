# Finds the wrapper, for the scripts beside this one: CACHEWRAP, or the one of this workspace's target directory,
# release before debug. And takes settings out of the environment that are the user's own.
# `here` is this directory.

if [ -z "${CACHEWRAP:-}" ]; then
  built=${CARGO_TARGET_DIR:-$here/../target}
  for profile in release debug; do
    CACHEWRAP=$built/$profile/cachewrap
    [ -x "$CACHEWRAP" ] && break
  done
fi
if [ ! -x "$CACHEWRAP" ]; then
  echo "$(basename -- "$0"): build the wrapper first, or set CACHEWRAP" >&2
  exit 2
fi
CACHEWRAP=$(CDPATH='' cd -- "$(dirname -- "$CACHEWRAP")" && pwd)/$(basename -- "$CACHEWRAP")

unset RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_TARGET_DIR CARGO_INCREMENTAL RUSTC
for name in $(env | sed -n 's/^\(CACHEWRAP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
