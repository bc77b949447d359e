# The image to build in, with what speaks to remotes:
#
#   docker build -f docs/docker/builder.Dockerfile -t rust-cachewrap .
#   docker build -f docs/remote/helper.Dockerfile -t rust-cachewrap-remote .
ARG RUST_IMAGE=rust:1-bookworm
ARG BUILDER_IMAGE=rust-cachewrap

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo install --path cachewrap-remote --locked --root /opt/cachewrap

FROM ${BUILDER_IMAGE}
COPY --from=build /opt/cachewrap/bin/ /usr/local/bin/
