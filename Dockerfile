# syntax=docker/dockerfile:1

# The binary needs a C compiler to build (aws-lc, mimalloc) and glibc to run, and nothing else.
FROM rust:1.95.0-slim-bookworm AS build
# Use the toolchain of this image: rust-toolchain.toml would fetch formatter and linter as well.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=rust-nginx-target-${TARGETARCH} \
    cargo build --locked --release --package rust-nginx \
    && install -D target/release/rust-nginx /out/rust-nginx

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.source="https://github.com/rust-nginx/rust-nginx" \
      org.opencontainers.image.description="Kubernetes ingress controller in Rust" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/rust-nginx /rust-nginx
USER 65532:65532
EXPOSE 80 443 10254
ENTRYPOINT ["/rust-nginx"]
CMD ["serve"]
