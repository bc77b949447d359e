# An image of nothing but the two programs, for the other files to copy from:
#
#   docker build -f docs/docker/cachewrap.Dockerfile -t cachewrap .
#
# Build them for a C library that is not newer than that of the images that will run them.
ARG RUST_IMAGE=rust:1-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo install --path cargo-cachewrap --locked --root /opt/cachewrap

FROM scratch
COPY --from=build /opt/cachewrap/bin/ /
