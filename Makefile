# What people type and what CI runs are the same targets.
#
#   make test     everything, on a machine with Rust and Go
#   make lint     clippy, formatting, dependency rules
#   make fmt      formats the code
#   make docs     API documentation in target/doc
#   make bench    side by side with nginx, HAProxy and Envoy; BENCH='--quick' passes options on
#   make bench-scale  in a cluster of thousands of Ingresses; BENCH='--quick' passes options on
#   make demo     builds and runs the demo
#
# The steps of `make test` are targets too, see STEPS. All tests run what profile `quick` (Cargo.toml) builds, so that
# everything is compiled once for linting and once for running.

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO ?= cargo
CARGO_FLAGS := --locked --workspace
QUICK := $(CARGO_FLAGS) --profile quick

target := $(or $(CARGO_TARGET_DIR),target)
tools := $(or $(RUST_NGINX_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rust-nginx)

deny_version := 0.20.2
deny_root := $(tools)/cargo-deny-$(deny_version)

STEPS := needs fmt-check clippy docs deny build unit tools suite demo-once chart

.PHONY: help test lint fmt bench bench-scale demo $(STEPS)

help:
	@sed -n 's/^#   //p' Makefile

# Says in the end where the time went.
test:
	@summary=; all=$$(date +%s); \
	for step in $(STEPS); do \
	    start=$$(date +%s); \
	    echo "==> make $$step"; \
	    $(MAKE) --no-print-directory $$step || { echo "make test: the step '$$step' failed" >&2; exit 1; }; \
	    summary="$$summary$$(printf '%6ss  %s' $$(($$(date +%s) - start)) $$step)\n"; \
	done; \
	printf '\nmake test: all passed in %ss\n%b' $$(($$(date +%s) - all)) "$$summary"

lint: fmt-check clippy deny

needs:
	@need() { command -v "$$1" >/dev/null || { echo "make: '$$1' is missing: $$2" >&2; exit 1; }; }; \
	need $(CARGO) 'get Rust from https://rustup.rs'; \
	need cc 'get a C compiler, on Debian: apt-get install gcc libc6-dev'; \
	need go 'get Go 1.26 or newer from https://go.dev/dl/ and put its bin directory into PATH'; \
	$(CARGO) fmt --version >/dev/null || { echo 'make: rustfmt is missing: rustup component add rustfmt' >&2; exit 1; }; \
	$(CARGO) clippy --version >/dev/null || { echo 'make: clippy is missing: rustup component add clippy' >&2; exit 1; }

fmt:
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings

# For those who work on the code: private items too, and links to them.
docs:
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc $(CARGO_FLAGS) --no-deps --document-private-items

# Which crates may depend on which, licences, sources. Built without optimisation: it runs for two seconds.
deny: $(deny_root)/bin/cargo-deny
	$(deny_root)/bin/cargo-deny --locked check bans licenses sources

$(deny_root)/bin/cargo-deny:
	$(CARGO) install --quiet --locked --debug --version $(deny_version) --root $(deny_root) --target-dir $(deny_root)/build cargo-deny
	rm -rf $(deny_root)/build

# The programs that the integration tests start.
tools:
	tests/control-plane/build.sh

# Tests and binary in one go: asked for one by one, they would want their dependencies with different features.
build:
	$(CARGO) build $(QUICK) --all-targets

# Test targets by name: to leave out a package would change the features of what it shares with the others.
unit:
	$(CARGO) test $(QUICK) --lib --bins --test allocations --test sockets

suite:
	$(CARGO) test $(QUICK) --test suite

demo-once:
	$(target)/quick/rust-nginx demo --once

# A chart that helm accepts, in the forms that people install it in.
chart:
	@set -eu; \
	helm=$$(tests/control-plane/build.sh helm); helm=$${helm#helm }; \
	"$$helm" lint --strict --quiet helm/rust-nginx; \
	render() { \
	    "$$helm" template rust-nginx helm/rust-nginx --namespace ingress --kube-version 1.36.0 "$$@" >/dev/null; \
	    echo "renders with values: $${*:-default}"; \
	}; \
	render; \
	render --set controller.scope.enabled=true; \
	render --set controller.scope.enabled=true,controller.scope.namespace=shop,rbac.scope=true; \
	render --set controller.scope.enabled=true,controller.scope.namespaceSelector=team=shop; \
	render --set controller.hostNetwork=true,controller.containerPort.http=8080,controller.containerPort.https=8443; \
	render --set controller.service.type=NodePort,controller.config.hsts-max-age=31536000,controller.extraArgs.v=2; \
	render --set-string tcp.5432=default/db:5432:PROXY,udp.53=kube-system/kube-dns:53,portNamePrefix=x; \
	refuse() { \
	    if "$$helm" template rust-nginx helm/rust-nginx --kube-version 1.36.0 "$$@" >/dev/null 2>&1; then \
	        echo "make: the chart accepts $$*" >&2; exit 1; \
	    fi; \
	    echo "refuses values: $$*"; \
	}; \
	refuse --set rbac.scope=true; \
	refuse --set controller.hostNetwork=true; \
	refuse --set-string tcp.http=default/web:80; \
	refuse --set controller.noSuchValue=1

demo:
	$(CARGO) run --locked --release -- demo

bench:
	bench/setup.sh
	$(CARGO) run --locked --release --package rust-nginx-bench -- $(BENCH)

# The control plane is that of the tests.
bench-scale: tools
	$(CARGO) run --locked --release --package rust-nginx-bench -- scale $(BENCH)
