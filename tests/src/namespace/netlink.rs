//! The two requests to the kernel that a fresh network namespace needs, so that the
//! suite does not depend on the program `ip`.
//!
//! Owns the encoding of rtnetlink messages (rtnetlink(7)); must only be used inside
//! a namespace of our own.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;

const NEW_LINK: u16 = 16;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;

const REQUEST_ACK: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400;

const UP: u32 = 1;

const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
const DESTINATION: u16 = 1;
const OUTPUT_DEVICE: u16 = 4;

/// `ip link set lo up`
///
/// # Errors
/// What the kernel answered.
pub fn loopback_up() -> Result<()> {
    let mut body = vec![0; 4]; // family, padding, type
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(UP.to_ne_bytes()); // flags
    body.extend(UP.to_ne_bytes()); // which of them to change
    request(NEW_LINK, 0, &body)
}

/// `ip route add local NETWORK/LENGTH dev lo`: every address of it is ours to bind.
///
/// # Errors
/// What the kernel answered.
pub fn add_local_route(network: IpAddr, length: u8) -> Result<()> {
    let (family, address) = match network {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let family = u8::try_from(family.as_raw())?;
    let mut body = vec![family, length, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, SCOPE_HOST, TYPE_LOCAL];
    body.extend([0; 4]); // flags
    attribute(&mut body, DESTINATION, &address);
    attribute(&mut body, OUTPUT_DEVICE, &LOOPBACK.to_ne_bytes());
    request(NEW_ROUTE, CREATE, &body)
}

/// Lengths of attributes count their four bytes of header; our values need no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("addresses are short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let mut message = u32::try_from(16 + body.len())?.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_ACK | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one request per socket
    message.extend(body);
    send(&socket, &message, SendFlags::empty())?;

    let mut answer = [0; 4096];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    ensure!(
        length >= 20 && answer[4..6] == ERROR.to_ne_bytes(),
        "the kernel answered with something else than an acknowledgement"
    );
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code != 0 {
        return Err(std::io::Error::from_raw_os_error(-code).into());
    }
    Ok(())
}
