//! The suite's own network namespace, in which every address of the pod networks is
//! local: each fake pod can bind an address that the API server accepts, and no
//! packet can reach the machine's network.
//!
//! Invariant: [`enter`] returns only inside. The namespace comes with a PID
//! namespace whose first process is the suite, so that whatever it started ends with it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::address::LOCAL_NETWORKS;

pub mod netlink;

/// Set for the second run of the program, the one inside, to the network namespace
/// that it must not find itself in.
const INSIDE: &str = "RUST_NGINX_TESTS_INSIDE";

/// What Linux does unless it is told otherwise, so that machines which are (BBR, say) show the same; and where these do
/// not allow it in namespaces, the one that all allow. Without losses both do the same.
pub const USUAL_CONGESTION_CONTROL: &[&str] = &["cubic", "reno"];

/// Moves this program into namespaces of its own: runs it again under `unshare`, and
/// in that second run sets up the network. Must be called before any thread starts.
///
/// # Errors
/// When `unshare` is missing or not allowed; the message says what to do.
pub fn enter() -> Result<()> {
    enter_with(&["--pid", "--fork", "--kill-child"], USUAL_CONGESTION_CONTROL)?;
    for (network, length) in LOCAL_NETWORKS {
        netlink::add_local_route(network, length).with_context(|| format!("cannot make {network}/{length} local"))?;
    }
    Ok(())
}

/// The same for the network alone, with the first of some congestion controls of TCP that
/// can be had. Whatever the program starts it has to end itself, and finds in `/proc`.
///
/// # Errors
/// As for [`enter`], and when none of the congestion controls can be had.
pub fn enter_network(congestion_controls: &[&str]) -> Result<()> {
    enter_with(&[], congestion_controls)
}

/// `also` is what else than the network is not shared, as `unshare` wants it said.
fn enter_with(also: &[&str], congestion_controls: &[&str]) -> Result<()> {
    let Some(outside) = env::var_os(INSIDE) else {
        return Err(run_inside(also)?);
    };
    ensure_inside(&outside)?;
    netlink::loopback_up().context(
        "cannot set the loopback device up; without root this needs user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)",
    )?;
    set_congestion_control(congestion_controls)
}

/// Takes the first that the machine allows.
fn set_congestion_control(wanted: &[&str]) -> Result<()> {
    let setting = "/proc/sys/net/ipv4/tcp_congestion_control";
    let is = fs::read_to_string(setting).with_context(|| format!("cannot read {setting}"))?;
    // Containers may not let us write what need not be written.
    if wanted.contains(&is.trim()) || wanted.iter().any(|name| fs::write(setting, name).is_ok()) {
        return Ok(());
    }
    let allowed = fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap_or_default();
    bail!("{setting} is {} and cannot be {}; allowed are: {}", is.trim(), wanted.join(" or "), allowed.trim())
}

/// Whether this is the second run of the program, the one inside.
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Replaces this process; comes back only with the reason why it could not.
fn run_inside(also: &[&str]) -> Result<anyhow::Error> {
    let program = env::current_exe().context("cannot find the path of this program")?;
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Root inside a user namespace of one's own, which owns the network namespace.
        unshare.arg("--map-root-user");
    }
    let error = unshare
        .arg("--net")
        .args(also)
        .arg("--")
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, network()?)
        .exec();
    Ok(if error.kind() == ErrorKind::NotFound {
        anyhow!("the program `unshare` is missing: install the package util-linux")
    } else {
        anyhow::Error::new(error).context("cannot run `unshare`")
    })
}

/// The variable alone could have been set by anybody, and the machine's own loopback
/// device is not ours to change.
fn ensure_inside(outside: &OsStr) -> Result<()> {
    let here = network()?;
    let valid = outside.to_str().is_some_and(|name| name.starts_with("net:["));
    ensure!(valid && outside != here, "{INSIDE} is set, but this is no namespace of our own: unset it");
    Ok(())
}

/// The kernel's name of the network namespace that this process is in.
fn network() -> Result<OsString> {
    let link = "/proc/self/ns/net";
    Ok(fs::read_link(link).with_context(|| format!("cannot read {link}"))?.into_os_string())
}
