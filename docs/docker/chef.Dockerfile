# The dependencies in a layer of their own, made by cargo-chef. While they stay the same, Docker
# reuses the layer; when one changes, cachewrap serves the others while the layer is made again.
# CHEF_IMAGE has Rust and cargo-chef (`cargo install cargo-chef --locked`).
ARG CHEF_IMAGE=lukemathwalker/cargo-chef:latest-rust-1-bookworm
ARG CACHEWRAP_IMAGE=cachewrap
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${CACHEWRAP_IMAGE} AS cachewrap

FROM ${CHEF_IMAGE} AS chef
COPY --from=cachewrap / /usr/local/bin/
ENV RUSTC_WRAPPER=cachewrap CACHEWRAP_DIR=/cachewrap
WORKDIR /app
ARG REVISION

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=planner /app/recipe.json recipe.json
RUN --mount=type=cache,target=/cachewrap \
    --mount=type=cache,target=/usr/local/cargo/registry \
    cargo chef cook --release --locked --recipe-path recipe.json
COPY . .
RUN --mount=type=cache,target=/cachewrap \
    --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked

FROM ${RUNTIME_IMAGE}
COPY --from=build /app/target/release/server /usr/local/bin/
CMD ["server"]
