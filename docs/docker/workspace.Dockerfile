# A workspace whose programs and tests are separate stages with one cache. Stages that Docker builds
# at the same time do not wait for each other.
ARG RUST_IMAGE=rust:1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${RUST_IMAGE} AS sources
COPY --from=cachewrap / /usr/local/bin/
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cachewrap
WORKDIR /src
ARG REVISION
COPY . .

FROM sources AS test
RUN --mount=type=cache,target=/cachewrap \
    --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo test --workspace --locked

FROM sources AS build
RUN --mount=type=cache,target=/cachewrap \
    --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo build --workspace --locked

FROM ${RUNTIME_IMAGE}
COPY --from=build /src/target/debug/server /usr/local/bin/
CMD ["server"]
