//! Whom we believe about a client.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};
use http::HeaderName;
use ipnet::IpNet;
use rust_nginx_proxy::table::{Trust, TrustedPeers};
use std::{net::IpAddr, time::Duration};

const HEADER_NAME: Value = Value::Text("a header name");

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "use-forwarded-headers",
        Value::Bool,
        "false",
        "Takes address, scheme, host and port of the client from X-Forwarded-* or Forwarded of trusted peers.",
    )
    .served(use_forwarded_headers),
    Key::new(
        "enable-real-ip",
        Value::Bool,
        "false",
        "Takes the client's address, and nothing else, from X-Forwarded-For or Forwarded of trusted peers.",
    )
    .served(enable_real_ip),
    Key::new("forwarded-for-header", HEADER_NAME, "X-Forwarded-For", "The header with the client's address.")
        .served(forwarded_for_header),
    Key::new(
        "forwarded-host-header",
        HEADER_NAME,
        "X-Forwarded-Host",
        "The header that endpoints get as X-Original-Forwarded-Host.",
    )
    .served(forwarded_host_header),
    Key::new(
        "compute-full-forwarded-for",
        Value::Bool,
        "false",
        "Appends to the X-Forwarded-For of trusted peers instead of replacing it; needs `use-forwarded-headers`.",
    )
    .served(compute_full_forwarded_for),
    Key::new("proxy-real-ip-cidr", Value::List("IP addresses and CIDRs"), "0.0.0.0/0", "The trusted peers.")
        .served(proxy_real_ip_cidr),
    Key::new(
        "use-proxy-protocol",
        Value::Bool,
        "false",
        "Connections on the HTTP and HTTPS ports begin with a PROXY header, or are closed.",
    )
    .served(use_proxy_protocol),
    Key::new("proxy-protocol-header-timeout", Value::Time, "5s", "Time for the PROXY header.")
        .served(proxy_protocol_header_timeout),
];

fn use_forwarded_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.trust.forwarded_headers = grammar::boolean(text)?;
    Ok(())
}

fn enable_real_ip(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.trust.real_ip = grammar::boolean(text)?;
    Ok(())
}

/// The default would believe a header that nobody in front may care about, and that clients then write themselves.
fn forwarded_for_header(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let trust = &mut draft.settings.trust;
    trust.forwarded_for = HeaderName::try_from(text).ok();
    if trust.forwarded_for.is_none() && text.is_empty() {
        trust.forwarded_for = Some(Trust::X_FORWARDED_FOR);
    }
    match trust.forwarded_for {
        Some(_) => Ok(()),
        None => Err(Objection::Partly(format!("{text:?} is not a header name; no header says the client's address"))),
    }
}

fn forwarded_host_header(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.trust.forwarded_host = HeaderName::try_from(text).map_err(|_| HEADER_NAME.rejects(text))?;
    Ok(())
}

fn compute_full_forwarded_for(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.trust.full_forwarded_for = grammar::boolean(text)?;
    Ok(())
}

/// The default trusts everybody, so it must never stand in for what cannot be read.
fn proxy_real_ip_cidr(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    if text.is_empty() {
        // As ingress-nginx takes it.
        draft.settings.trust.peers = TrustedPeers::default();
        return Err(Objection::Partly("it is empty: everybody is trusted".to_owned()));
    }
    let (mut networks, mut bad) = (Vec::new(), Vec::new());
    for item in grammar::list(text) {
        match network(item) {
            Some(network) => networks.push(network),
            None => bad.push(item),
        }
    }
    let nobody = networks.is_empty();
    draft.settings.trust.peers = TrustedPeers::new(networks);
    if bad.is_empty() {
        return Ok(());
    }
    let instead = if nobody { "nobody is trusted" } else { "the rest holds" };
    Err(Objection::Partly(format!("{:?} is neither an IP address nor a CIDR; {instead}", bad.join(", "))))
}

/// A network, or the one address of it that is written.
fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|network| network.trunc()).or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn use_proxy_protocol(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.trust.proxy_protocol = grammar::boolean(text)?;
    Ok(())
}

fn proxy_protocol_header_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let time = grammar::time(text)?;
    if time < Duration::from_millis(1) {
        return Err(Objection::Malformed(format!("{text:?} leaves no time")));
    }
    draft.settings.trust.proxy_protocol_timeout = time;
    Ok(())
}
