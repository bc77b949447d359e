# The tasks of this repository: `just` lists them. Each is a plain command, for whoever has no just.
# CARGO_TARGET_DIR is where to build; SCRATCH keeps what long tasks fetch and build between runs.

set positional-arguments

target := absolute_path(env("CARGO_TARGET_DIR", "target"))
# Not below this workspace, where cargo would take the projects for members of it.
scratch := env("SCRATCH", cache_directory() / "cachewrap-scratch")
wrapper := target / "release/cachewrap"

[private]
default:
    @just --list --unsorted

# Format the code, also of the object that is loaded into others
[group("checks")]
format:
    cargo fmt --all
    rustfmt --edition 2024 cache-core/preload/lib.rs

# Check format and lints as CI does
[group("checks")]
lint:
    cargo fmt --all --check
    rustfmt --edition 2024 --check cache-core/preload/lib.rs
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo rustc --quiet --locked -p cache-core --lib -- --cfg fuzzing -D warnings
    cd cache-core/preload && clippy-driver lib.rs --edition=2024 --crate-name=preload --crate-type=cdylib \
      --emit=metadata --out-dir='{{ target }}/lint' -Cpanic=abort -Dwarnings -Adead_code

# Build the documentation; a link that leads nowhere is an error
[group("checks")]
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Run the examples of the library
[group("checks")]
examples:
    for file in cache-core/examples/*.rs; do \
      cargo run --quiet --locked -p cache-core --example "$(basename "$file" .rs)" || exit; \
    done

# Check licences, sources and advisories of dependencies (needs cargo-deny)
[group("checks")]
deny:
    cargo deny check
    cd cachewrap-remote && cargo deny check

# Run the steps of the action for GitHub around real builds (needs PyYAML; shellcheck lints them if it is there)
[group("checks")]
action: release
    tests/action.py '{{ target }}/release'

# Look at reports of builds with chromium (needs jsonschema); `--pictures DIR` leaves screenshots
[group("checks")]
report *ARGUMENTS: release
    tests/report.py '{{ target }}/release' "$@"

# Everything that must hold before a change is merged
[group("checks")]
ci:
    .ci/run

# Run all tests
[group("tests")]
test:
    cargo test --workspace --locked

# Run the tests whose path contains NAME, of any package
[group("tests")]
test-one NAME:
    cargo test --workspace --locked --lib --bins --tests -- "$1"

# Run the tests inside the packages, without cargo and projects: seconds
[group("tests")]
unit:
    cargo test --workspace --locked --lib --bins

# Run the tests of the command line
[group("tests")]
cli:
    cargo test --locked -p cargo-cachewrap --test cli

# Write tests/snapshots anew; `git diff` shows what people will see differently
[group("tests")]
snapshots:
    INSTA_UPDATE=always cargo test --locked -p cargo-cachewrap --test cli snapshots::

# Run the end-to-end tests whose path contains one of NAMES, or all
[group("tests")]
end-to-end *NAMES:
    cargo test --locked -p cargo-cachewrap --test end_to_end -- "$@"

# Run each test in a process of its own, without those in documentation (needs cargo-nextest)
[group("tests")]
nextest *ARGUMENTS:
    cargo nextest run --workspace --locked "$@"

# Run the tests of build scripts with every call announced
[group("tests")]
announced:
    CACHEWRAP_TEST_PRELOAD=off cargo test --locked -p cargo-cachewrap build_scripts::

# Damage the store, and fail its operations: a sample, or with CACHEWRAP_TEST_THOROUGH=1 each
[group("tests")]
store-faults:
    cargo test --locked -p cargo-cachewrap --test end_to_end -- store_faults:: failing_io:: hostile_store:: --nocapture

# Edit workspaces at random (CACHEWRAP_TEST_STEPS), and kill processes at random (CACHEWRAP_TEST_SECONDS)
[group("tests")]
random:
    cargo test --locked -p cargo-cachewrap --test end_to_end -- random_edits:: stress:: --nocapture

# Fuzz a decoder, one of cache-core/fuzz/fuzz_targets (needs cargo-fuzz)
[group("tests")]
fuzz TARGET SECONDS="60":
    cd cache-core && RUSTC_BOOTSTRAP=1 cargo fuzz run "$1" -- -max_total_time="$2"

# Build real projects with and without the cache (needs crates.io)
[group("tests")]
real-projects *PROJECTS: release
    CACHEWRAP='{{ wrapper }}' tests/real_projects.sh '{{ scratch }}/projects' "$@"

# Build crates whose build scripts do a lot, with and without the cache (needs crates.io)
[group("tests")]
real-build-scripts *CRATES: release
    CACHEWRAP='{{ wrapper }}' tests/real_build_scripts.sh '{{ scratch }}/scripts' "$@"

# Build the Dockerfiles of docs/docker in a real engine
[group("tests")]
docker *CASES: release
    CACHEWRAP='{{ wrapper }}' tests/docker/run '{{ scratch }}/docker' "$@"

# Check and test the helper that speaks to remotes
[group("tests")]
helper:
    cd cachewrap-remote && export CARGO_TARGET_DIR='{{ target }}/remote' && cargo fmt --check && \
      cargo clippy --all-targets --locked -- -D warnings && cargo test --locked

# Share results through real servers, and through such as fail (needs crates.io, PyPI and npm's registry)
[group("tests")]
remote *CASES: release helper
    [ -e '{{ scratch }}/remote-tools/bin/azurite-blob' ] || tests/remote/install '{{ scratch }}/remote-tools'
    CACHEWRAP='{{ wrapper }}' CACHEWRAP_HELPER='{{ target }}/remote/debug/cachewrap-remote' \
      REMOTE_TOOLS='{{ scratch }}/remote-tools/bin' tests/remote/run '{{ scratch }}/remote' "$@"

# Build the two programs as they are released
[group("benches")]
release:
    cargo build --release --locked -p cargo-cachewrap

# Measure with criterion what a hit is made of
[group("benches")]
bench-stages *ARGUMENTS:
    cargo bench --locked -p cache-core --bench stages -- "$@"

# Measure what observing a process costs
[group("benches")]
bench-observer *ARGUMENTS:
    cargo bench --locked -p cache-core --bench observer -- "$@"

# Measure what looking through a store of ENTRIES costs
[group("benches")]
bench-store ENTRIES="2000":
    cargo bench --locked -p cache-core --bench store -- "$1"

# Count the instructions of one hit (needs valgrind)
[group("benches")]
bench-instructions: release
    CACHEWRAP='{{ wrapper }}' benches/instructions

# Compare hits in small and large workspaces
[group("benches")]
bench-scale *ARGUMENTS:
    benches/scale/run --work '{{ scratch }}/scale' "$@"

# Measure what watching build scripts costs a first build (needs crates.io)
[group("benches")]
bench-first-build *PACKAGES: release
    CACHEWRAP='{{ wrapper }}' benches/first_build '{{ scratch }}/first' "$@"

# Measure what compressing saves and costs (needs zstd and crates.io)
[group("benches")]
bench-compression *ARGUMENTS:
    benches/compression/run --work '{{ scratch }}/compression' "$@"

# Compare with plain cargo, and with other caches in PATH (needs crates.io)
[group("benches")]
bench-compare *ARGUMENTS:
    benches/compare/run --work '{{ scratch }}/compare' "$@"

# Compare caches that share by S3, and an archive of the target directory (needs crates.io and PyPI; rivals are those in PATH)
[group("benches")]
bench-remote *ARGUMENTS: release
    [ -e '{{ scratch }}/remote-tools/bin/azurite-blob' ] || tests/remote/install '{{ scratch }}/remote-tools'
    cargo build --release --locked --manifest-path cachewrap-remote/Cargo.toml --target-dir '{{ target }}/remote'
    CACHEWRAP='{{ wrapper }}' CACHEWRAP_HELPER='{{ target }}/remote/release/cachewrap-remote' \
      benches/remote/run --work '{{ scratch }}/bench-remote' --servers '{{ scratch }}/remote-tools' "$@"

# Compare caches in Docker
[group("benches")]
bench-docker *TOOLS: release
    CACHEWRAP='{{ wrapper }}' benches/docker '{{ scratch }}/docker' "$@"

# Install both programs and show on a real project what the cache saves
[group("benches")]
demo:
    benches/demo
