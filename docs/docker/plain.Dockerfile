# One stage builds everything. Whatever makes Docker run the step again, the units that did not
# change come from the cache.
ARG RUST_IMAGE=rust:1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${RUST_IMAGE} AS build
COPY --from=cachewrap / /usr/local/bin/
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cachewrap
WORKDIR /app
# Another value makes all that follows run again.
ARG REVISION
COPY . .
RUN --mount=type=cache,target=/cachewrap \
    --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked && cargo cachewrap stats

FROM ${RUNTIME_IMAGE}
COPY --from=build /app/target/release/server /usr/local/bin/
CMD ["server"]
