# An image to build in: Rust and cachewrap. Used by compose.yaml, and by plain `docker run`:
#
#   docker build -f docs/docker/builder.Dockerfile -t rust-cachewrap .
#   docker run --rm -v "$PWD:/app" -w /app -v cachewrap:/cachewrap rust-cachewrap cargo build
ARG RUST_IMAGE=rust:1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${RUST_IMAGE}
COPY --from=cachewrap / /usr/local/bin/
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cachewrap
