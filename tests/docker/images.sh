# Makes the images that the Dockerfiles build on. To be sourced.
#
# No image is pulled: Debian comes from debootstrap, in this machine's release so that programs
# built here run there, and Rust is the toolchain of this machine. Both are kept in the engine by
# name, so that later runs find them. The machine's own list of certificates is copied, because the
# way to crates.io may need it.
#
# As in the official image, cargo is in /usr/local/cargo, which all users may write to. $RUSTC is
# the shim that logs each real compile to /var/log/compiled.

debian_image=cachewrap-test-debian:$(. /etc/os-release && echo "$VERSION_CODENAME")
rust_image=
cachewrap_image=cachewrap-test-programs:latest

have_image() { "$docker" image inspect "$1" >/dev/null 2>&1; }

make_debian_image() {
  have_image "$debian_image" && return
  command -v debootstrap >/dev/null || return 1
  local root as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  # Fast in memory, where the mount's options allow device files.
  for root in "$scratch/debian" "$state/debian" ''; do
    [ -n "$root" ] || return 1
    "${as_root[@]}" rm -rf "$root"
    "${as_root[@]}" debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev \
      "${debian_image#*:}" "$root" >"$scratch/debootstrap.log" 2>&1 && break
    tail -n 3 "$scratch/debootstrap.log" >&2
  done
  "${as_root[@]}" cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  "${as_root[@]}" tar -C "$root" -c --exclude=./var/cache/apt --exclude=./var/lib/apt/lists \
    --exclude=./usr/share/doc --exclude=./usr/share/locale . | "$docker" import - "$debian_image"
  "${as_root[@]}" rm -rf "$root"
}

chef=$state/chef/bin/cargo-chef

# cargo-chef, built once.
make_chef() {
  [ -x "$chef" ] && return
  CARGO_TARGET_DIR=$state/chef/target cargo install --quiet --debug --locked cargo-chef@0.1.78 \
    --root "$state/chef"
  rm -rf "$state/chef/target"
}

make_rust_image() {
  local sysroot context=$scratch/rust
  sysroot=$(rustc --print sysroot)
  mkdir -p "$context/usr/local/bin" "$context/usr/local/rust" "$context/usr/local/shim" \
    "$context/usr/local/cargo" "$context/var/log"
  sed -e "s|@LOG@|>>/var/log/compiled|" -e "s|@REAL@|/usr/local/rust/bin/rustc|" \
    "$here/../harness/shim.sh" >"$context/usr/local/shim/rustc"
  chmod 755 "$context/usr/local/shim/rustc"
  : >"$context/var/log/compiled"
  chmod 666 "$context/var/log/compiled"
  chmod 777 "$context/usr/local/cargo"
  cp "$chef" "$context/usr/local/bin/"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM $debian_image
COPY usr /usr
COPY var /var
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    CARGO_HOME=/usr/local/cargo RUSTC=/usr/local/shim/rustc
DOCKERFILE
  local name
  name=$(cat "$context/Dockerfile" "$context/usr/local/shim/rustc" <(rustc -vV) <(cargo -vV) \
    <(sha256sum <"$chef") | sha256sum | cut -c -12)
  rust_image=cachewrap-test-rust:$name
  have_image "$rust_image" && return
  cp -a "$sysroot/bin" "$sysroot/lib" "$context/usr/local/rust/"
  "$docker" build --quiet --tag "$rust_image" "$context"
  rm -rf "$context"
}

make_program_image() {
  local context=$scratch/programs
  mkdir -p "$context"
  cp "$CACHEWRAP" "$(dirname "$CACHEWRAP")/cargo-cachewrap" "$context/"
  printf 'FROM scratch\nCOPY cachewrap cargo-cachewrap /\n' >"$context/Dockerfile"
  "$docker" build --quiet --tag "$cachewrap_image" "$context"
}

# Whether cargo in a build step reaches the registry, as the cases need.
can_download() {
  printf 'FROM %s\nARG NONCE\nRUN cargo info --quiet anyhow\n' "$rust_image" |
    "$docker" build --network host --build-arg NONCE="$run" - >"$scratch/download.log" 2>&1 ||
    { tail -n 5 "$scratch/download.log" >&2 && return 1; }
}
