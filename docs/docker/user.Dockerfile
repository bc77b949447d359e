# The build runs as an ordinary user, to whom the mounts are given: they belong to root otherwise.
ARG RUST_IMAGE=rust:1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${RUST_IMAGE} AS build
COPY --from=cachewrap / /usr/local/bin/
RUN useradd --uid 1000 --create-home builder && install -d -o builder /app
USER builder
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cachewrap
WORKDIR /app
ARG REVISION
COPY --chown=builder . .
RUN --mount=type=cache,target=/cachewrap,uid=1000,gid=1000,mode=0700 \
    --mount=type=cache,target=/usr/local/cargo/registry,uid=1000,gid=1000 \
    cargo build --release --locked

FROM ${RUNTIME_IMAGE}
COPY --from=build /app/target/release/server /usr/local/bin/
CMD ["server"]
