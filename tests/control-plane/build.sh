#!/bin/sh
# Builds the programs that the tests start and that no package registry holds
# ready to run: kube-apiserver and etcd (go.mod here), helm and others (a go.mod
# each under tools/). Needs Go and nothing else, no C compiler either.
#
#   build.sh              what the integration tests use
#   build.sh NAME...      these (names: see `module_of`)
#
# On standard output: one line `NAME PATH` per program, in the order asked for.
# What it is doing goes to standard error. A program that is up to date is not
# touched; two runs at a time wait for each other; a run that dies leaves
# nothing half written.
#
#   RUST_NGINX_TOOLS      directory to build into (default: below the user's cache)
#   KUBEBUILDER_ASSETS    directory with a ready kube-apiserver and etcd
set -eu

here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

# Which module pins the program.
module_of() {
    case $1 in
        kube-apiserver | etcd) echo . ;;
        helm) echo tools/helm ;;
        h2spec) echo tools/h2spec ;;
        pebble | pebble-challtestsrv) echo tools/pebble ;;
        *) fail "unknown program '$1', there are: kube-apiserver etcd helm h2spec pebble pebble-challtestsrv" ;;
    esac
}

package_of() {
    case $1 in
        kube-apiserver) echo k8s.io/kubernetes/cmd/kube-apiserver ;;
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        helm) echo helm.sh/helm/v3/cmd/helm ;;
        h2spec) echo github.com/summerwind/h2spec/cmd/h2spec ;;
        pebble | pebble-challtestsrv) echo "github.com/letsencrypt/pebble/v2/cmd/$1" ;;
    esac
}

how_long() {
    case $1 in
        kube-apiserver) echo ' (about four minutes on two cores)' ;;
        helm) echo ' (about one minute)' ;;
    esac
}

# Linker flags: without them the programs do not know which version they are.
version_flags() {
    case $1 in
        kube-apiserver)
            version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
            minor=${version#v1.}
            v=k8s.io/component-base/version
            echo "-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean"
            ;;
        helm) echo "-X helm.sh/helm/v3/internal/version.version=$(go list -m -f '{{.Version}}' helm.sh/helm/v3)" ;;
    esac
}

need_go() {
    how="get Go 1.26 or newer from https://go.dev/dl/ and put its bin directory into PATH"
    command -v go >/dev/null || fail "'go' is missing: $how"
    # From 1.21 on an older Go fetches the version that a go.mod asks for.
    version=$(go env GOVERSION 2>/dev/null || true)
    minor=${version#go1.}
    case ${minor%%[!0-9]*} in
        '') ;; # a development version names no number
        [0-9] | 1[0-9] | 20) fail "$version is too old: $how" ;;
    esac
}

# What a program is made of: same key, same program.
key_of() {
    (cd "$here/$1" && cat go.mod go.sum "$here/build.sh") | sha256sum | cut -c1-16
}

up_to_date() { # program, key
    [ -x "$tools/$1" ] && [ "$(cat "$tools/.$1.key" 2>/dev/null)" = "$2" ]
}

build() { # program
    module=$(module_of "$1")
    key=$(key_of "$module")
    up_to_date "$1" "$key" && return
    need_go
    mkdir -p "$tools"
    (
        # The lock goes with the process that holds it.
        flock -n 9 || { echo "build.sh: waiting for another run" >&2 && flock 9; }
        up_to_date "$1" "$key" && exit
        echo "build.sh: building $1 into $tools, this once$(how_long "$1")" >&2
        cd "$here/$module"
        export CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly
        new=$tools/.$1.new
        go build -trimpath -buildvcs=false -ldflags "-s -w $(version_flags "$1")" -o "$new" "$(package_of "$1")" >&2
        rm -f "$tools/.$1.key"
        mv "$new" "$tools/$1"
        echo "$key" >"$tools/.$1.key.new"
        mv "$tools/.$1.key.new" "$tools/.$1.key"
    ) 9>"$tools/.lock"
}

[ $# -gt 0 ] || set -- kube-apiserver etcd helm h2spec

if [ -n "${RUST_NGINX_TOOLS:-}" ]; then
    mkdir -p "$RUST_NGINX_TOOLS"
    tools=$(cd "$RUST_NGINX_TOOLS" && pwd)
else
    all=$(cd "$here" && cat go.sum tools/*/go.sum build.sh | sha256sum | cut -c1-16)
    tools=${XDG_CACHE_HOME:-${HOME:?neither RUST_NGINX_TOOLS nor XDG_CACHE_HOME nor HOME is set}/.cache}/rust-nginx/tools-$all
fi

for program; do
    module_of "$program" >/dev/null
    case $program in
        kube-apiserver | etcd)
            if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
                [ -x "$KUBEBUILDER_ASSETS/$program" ] || fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS holds no program '$program'"
                echo "$program $KUBEBUILDER_ASSETS/$program"
                continue
            fi
            ;;
    esac
    build "$program"
    echo "$program $tools/$program"
done
