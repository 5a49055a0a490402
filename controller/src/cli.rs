//! The commands of the binary. Thin: each wires parts together.

pub mod crds;
pub mod demo;
pub mod serve;

use rust_nginx_proxy::tls::FIPS;

/// What tells one build from another besides its version.
pub(crate) const BUILD: &str = if FIPS { "fips" } else { "" };

/// What `--version` prints.
pub(crate) fn version() -> String {
    let build = if FIPS { " (fips)" } else { "" };
    format!("rust-nginx {}{build}\n", env!("CARGO_PKG_VERSION"))
}
