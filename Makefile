# What people type and what CI runs are the same targets.
#
#   make test     everything, on a machine with Rust and Go
#   make lint     clippy, formatting, dependency rules
#   make fmt      formats the code
#   make fuzz     every fuzz target for a few seconds; FUZZ_SECONDS=600 looks longer
#   make docs     API documentation in target/doc
#   make bench    side by side with nginx, HAProxy and Envoy; BENCH='--quick' passes options on
#   make bench-scale  in a cluster of thousands of Ingresses; BENCH='--quick' passes options on
#   make layout   counts which functions run, for the linker (controller/layout.ld); wants valgrind
#   make soak     ten minutes of mixed traffic, after which nothing may have grown; BENCH='--minutes 60' passes options on
#   make demo     builds and runs the demo
#   make fips     builds target/fips/release/rust-nginx with the cryptography of FIPS 140-3; wants cmake and Go
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

STEPS := needs fmt-check clippy docs deny build unit tools suite demo-once chart fuzz

.PHONY: help test lint fmt bench bench-scale soak layout demo fips fuzz-lint $(STEPS)

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
	need c++ 'get a C++ compiler, on Debian: apt-get install g++'; \
	need go 'get Go 1.26 or newer from https://go.dev/dl/ and put its bin directory into PATH'; \
	$(CARGO) fmt --version >/dev/null || { echo 'make: rustfmt is missing: rustup component add rustfmt' >&2; exit 1; }; \
	$(CARGO) clippy --version >/dev/null || { echo 'make: clippy is missing: rustup component add clippy' >&2; exit 1; }

fmt:
	$(CARGO) fmt --all

# Apart from everything else: the module takes minutes, and a build of the workspace with it would want it everywhere.
fips:
	$(CARGO) build --locked --release --package rust-nginx --features fips --target-dir $(target)/fips

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

# Every fuzz target for a few seconds: FUZZ_SECONDS=600 looks longer, FUZZ='heads routes' at some of them. They are built
# as `cargo fuzz build -s none` does, on the toolchain of everything else: coverage and assertions, no sanitizer. What is
# found is left in target/fuzz, where the inputs of earlier runs are taken from too.
FUZZ ?= heads frames responses routes manifests proxy cookies hello
FUZZ_SECONDS ?= 5
fuzz_host := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
fuzz_coverage := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing

fuzz: fuzz-lint
	RUSTFLAGS='$(fuzz_coverage)' $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml \
	    --target $(fuzz_host) --target-dir $(target)/fuzz/build $(FUZZ:%=--bin %)
	@for name in $(FUZZ); do \
	    mkdir -p $(target)/fuzz/corpus/$$name $(target)/fuzz/found; \
	    echo "fuzzing $$name for $(FUZZ_SECONDS)s"; \
	    $(target)/fuzz/build/$(fuzz_host)/release/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
	        -verbosity=0 -artifact_prefix=$(target)/fuzz/found/$$name- \
	        $(target)/fuzz/corpus/$$name fuzz/seeds/$$name || exit 1; \
	done

# The dependencies are those of the workspace, and what libfuzzer needs besides.
fuzz/Cargo.lock: Cargo.lock fuzz/Cargo.toml
	cp Cargo.lock $@
	$(CARGO) metadata --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null

fuzz-lint: fuzz/Cargo.lock
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir $(target) -- -D warnings

demo:
	$(CARGO) run --locked --release -- demo

bench:
	bench/setup.sh
	$(CARGO) run --locked --release --package rust-nginx-bench -- $(BENCH)

# The control plane is that of the tests.
bench-scale: tools
	$(CARGO) run --locked --release --package rust-nginx-bench -- scale $(BENCH)

# Of a program with names. `make bench` says what it brings.
layout:
	CARGO_PROFILE_RELEASE_STRIP=none $(CARGO) build --locked --release --package rust-nginx --package rust-nginx-bench
	$(target)/release/rust-nginx-bench layout --subject $(target)/release/rust-nginx

soak:
	$(CARGO) run --locked --release --package rust-nginx-bench -- soak $(BENCH)
