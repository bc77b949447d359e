# The cache and the target directory in one mount: cargo itself finds packages of registries fresh,
# and what it does not is served by the cache. Such a mount serves one build at a time, and what is to
# stay has to be copied out of it within the step.
#
# The sources are touched because a target directory outlives the layers: after a change is taken
# back, Docker reuses the older layer with its older modification times, and cargo would take what
# it built from the newer sources for fresh. The units that did not change then come from the cache.
ARG RUST_IMAGE=rust:1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${RUST_IMAGE} AS build
COPY --from=cachewrap / /usr/local/bin/
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cache/cachewrap CARGO_TARGET_DIR=/cache/target
WORKDIR /app
ARG REVISION
COPY . .
RUN --mount=type=cache,target=/cache,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/registry \
    find . -type f -exec touch {} + && \
    cargo build --release --locked && cp /cache/target/release/server /server

FROM ${RUNTIME_IMAGE}
COPY --from=build /server /usr/local/bin/
CMD ["server"]
