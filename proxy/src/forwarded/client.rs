//! Who a request comes from, and how, as far as it is believed.
//!
//! Only words of trusted peers count: the PROXY header of the connection first, then, if whom it names is trusted too,
//! the fields of the request. Must not know what is done with the answer.

use super::rfc7239::{self, Element, address};
use crate::{
    listener::{Connection, Proxied, Scheme, address_header},
    table::{Trust, TrustedPeers},
    tls::Session,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::IpAddr;

/// The client of a request.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    connection: &'a Connection,
    /// `None` where nobody is believed: then the connection says everything.
    believed: Option<Box<Believed>>,
}

/// The fields in which proxies speak about a client, as the request has them. The last line of each counts, which is the
/// one that the peer itself has added.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claims<'a> {
    /// `X-Forwarded-For`
    pub(crate) chain: Option<&'a HeaderValue>,
    /// How often it stands there.
    pub(crate) chains: usize,
    /// `X-Forwarded-Host`
    pub(crate) host: Option<&'a HeaderValue>,
    /// `X-Forwarded-Port`
    pub(crate) port: Option<&'a HeaderValue>,
    /// `X-Forwarded-Proto`
    pub(crate) proto: Option<&'a HeaderValue>,
    /// There is a `Forwarded`.
    pub(crate) forwarded: bool,
}

#[derive(Debug)]
struct Believed {
    address: IpAddr,
    address_header: HeaderValue,
    /// The value of `X-Forwarded-For` towards endpoints.
    chain: HeaderValue,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    /// The peer is trusted with all fields: its `Forwarded` goes on.
    keeps_forwarded: bool,
}

const FORWARDED: HeaderName = header::FORWARDED;
const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

// === impl Client ===

impl<'a> Client<'a> {
    pub(crate) fn of(connection: &'a Connection, trust: &Trust, claims: &Claims<'_>, headers: &HeaderMap) -> Self {
        let proxied = connection.proxied();
        let believed = (proxied.is_some() || trust.reads_fields())
            .then(|| Believed::new(connection.peer(), proxied, trust, claims, headers))
            .flatten();
        Self { connection, believed }
    }

    /// Its address.
    pub(crate) fn address(&self) -> IpAddr {
        self.believed.as_ref().map_or_else(|| self.connection.peer(), |believed| believed.address)
    }

    /// The address as the value of a field.
    pub(crate) fn address_header(&self) -> &HeaderValue {
        self.believed.as_ref().map_or_else(|| self.connection.peer_header(), |believed| &believed.address_header)
    }

    /// The value of `X-Forwarded-For`.
    pub(crate) fn chain(&self) -> &HeaderValue {
        self.believed.as_ref().map_or_else(|| self.connection.peer_header(), |believed| &believed.chain)
    }

    /// The scheme that the client used. What a trusted peer says is passed on as it is.
    pub(crate) fn scheme(&self) -> HeaderValue {
        if let Some(proto) = self.believed.as_ref().and_then(|believed| believed.proto.as_ref()) {
            return proto.clone();
        }
        match self.connection.scheme() {
            Scheme::Http => HTTP,
            Scheme::Https => HTTPS,
        }
    }

    /// Whether the client came over plain HTTP. As in ingress-nginx, any other word than `http` is something else.
    pub(crate) fn is_http(&self) -> bool {
        match self.believed.as_ref().and_then(|believed| believed.proto.as_ref()) {
            Some(proto) => *proto == HTTP,
            None => self.connection.scheme() == Scheme::Http,
        }
    }

    /// Whether the connection to us has TLS, whatever anybody says.
    pub(crate) fn has_tls(&self) -> bool {
        self.connection.scheme() == Scheme::Https
    }

    /// The Host that the client asked for; `own` is the one that the request itself names.
    pub(crate) fn host<'h>(&'h self, own: &'h HeaderValue) -> &'h HeaderValue {
        self.believed.as_ref().and_then(|believed| believed.host.as_ref()).unwrap_or(own)
    }

    /// The port that the client asked.
    pub(crate) fn port_header(&self) -> &HeaderValue {
        let believed = self.believed.as_ref().and_then(|believed| believed.port.as_ref());
        believed.unwrap_or_else(|| self.connection.port_header())
    }

    /// What the TLS handshake of the connection to us came to.
    pub(crate) fn session(&self) -> Option<&'a Session> {
        self.connection.session()
    }

    /// Whether its `Forwarded` goes on. Endpoints believe it more readily than what we say.
    pub(crate) fn keeps_forwarded(&self) -> bool {
        self.believed.as_ref().is_some_and(|believed| believed.keeps_forwarded)
    }
}

// === impl Claims ===

impl Claims<'_> {
    /// Whether a peer has used the customary fields. They beat `Forwarded` as a whole: of a proxy that writes the one
    /// and lets the other pass, the client's own would fill the gaps.
    fn any(&self) -> bool {
        self.chain.is_some() || self.host.is_some() || self.port.is_some() || self.proto.is_some()
    }
}

// === impl Believed ===

impl Believed {
    fn new(
        peer: IpAddr,
        proxied: Option<&Proxied>,
        trust: &Trust,
        claims: &Claims<'_>,
        headers: &HeaderMap,
    ) -> Option<Box<Self>> {
        let peers = &trust.peers;
        if !peers.contains(peer) {
            return None;
        }
        // Whom the fields come from.
        let sender = proxied.map_or(peer, |proxied| proxied.source);
        let mut believed = Self {
            address: sender,
            address_header: address_header(sender),
            chain: address_header(sender),
            proto: proxied.filter(|proxied| proxied.port == 443).map(|_| HTTPS),
            host: None,
            port: proxied.map(|proxied| HeaderValue::from(proxied.port)),
            keeps_forwarded: false,
        };
        if trust.reads_fields() && peers.contains(sender) {
            believed.read_fields(sender, trust, claims, headers);
        }
        Some(Box::new(believed))
    }

    fn read_fields(&mut self, sender: IpAddr, trust: &Trust, claims: &Claims<'_>, headers: &HeaderMap) {
        let customary = claims.any() || trust.forwarded_for.as_ref().is_some_and(|name| headers.contains_key(name));
        let lines = (claims.forwarded && !customary).then(|| forwarded(headers)).flatten();
        if let Some(elements) = lines {
            let (client, element) = outermost(&elements, &trust.peers, sender);
            self.address = client;
            if let Some(element) = element.filter(|_| trust.forwarded_headers) {
                self.proto = value(element.proto.as_deref()).or_else(|| self.proto.take());
                self.host = value(element.host.as_deref()).filter(is_host);
            }
        } else if let Some(name) = &trust.forwarded_for {
            self.address = walk(headers, name, &trust.peers, sender);
        }
        self.address_header = address_header(self.address);
        self.chain = self.address_header.clone();
        if !trust.forwarded_headers {
            return;
        }
        self.keeps_forwarded = true;
        if let Some(proto) = claims.proto {
            self.proto = Some(proto.clone());
        }
        if let Some(port) = claims.port {
            self.port = Some(port.clone());
        }
        if let Some(host) = claims.host.and_then(first_of_list).filter(is_host) {
            self.host = Some(host);
        }
        if trust.full_forwarded_for {
            let before = joined(headers, &Trust::X_FORWARDED_FOR);
            let before = before.or_else(|| (self.address != sender).then(|| self.address_header.clone()));
            self.chain = append(before.as_ref(), &address_header(sender));
        }
    }
}

/// From right to left, as nginx's `real_ip_recursive`: every proxy has added whom it was asked by, so the first address
/// that is not that of a trusted proxy is the client; when all are trusted, the leftmost. What is no address ends the
/// chain, because nobody can say who wrote what stands before it.
fn walk(headers: &HeaderMap, name: &HeaderName, peers: &TrustedPeers, sender: IpAddr) -> IpAddr {
    let mut client = sender;
    for line in headers.get_all(name).iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for item in line.rsplit(',').map(str::trim).filter(|item| !item.is_empty()) {
            let Some(address) = address(item) else { return client };
            client = address;
            if !peers.contains(client) {
                return client;
            }
        }
    }
    client
}

/// The same over `Forwarded`: the client, and what the proxy says that it came to first.
fn outermost<'e>(
    elements: &'e [Element<'e>],
    peers: &TrustedPeers,
    sender: IpAddr,
) -> (IpAddr, Option<&'e Element<'e>>) {
    let (mut client, mut outermost) = (sender, None);
    for element in elements.iter().rev() {
        outermost = Some(element);
        let Some(address) = element.client else { break };
        client = address;
        if !peers.contains(client) {
            break;
        }
    }
    (client, outermost)
}

/// The elements of all lines; `None` where one of them is malformed.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    for line in headers.get_all(FORWARDED) {
        elements.extend(rfc7239::parse(line.to_str().ok()?)?);
    }
    Some(elements)
}

fn value(text: Option<&str>) -> Option<HeaderValue> {
    HeaderValue::from_str(text?).ok().filter(|value| !value.is_empty())
}

/// ingress-nginx takes the first, which is the one that the client asked for.
fn first_of_list(value: &HeaderValue) -> Option<HeaderValue> {
    let first = value.as_bytes().split(|&byte| byte == b',').next()?.trim_ascii();
    HeaderValue::from_bytes(first).ok()
}

fn is_host(value: &HeaderValue) -> bool {
    crate::request::is_host(value.as_bytes())
}

/// All lines of a field as one value; `None` without any.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let lines = headers.get_all(name).iter().filter(|line| !line.is_empty());
    lines.fold(None, |before, line| Some(append(before.as_ref(), line)))
}

fn append(before: Option<&HeaderValue>, last: &HeaderValue) -> HeaderValue {
    let Some(before) = before else { return last.clone() };
    let mut text = Vec::with_capacity(before.len() + 2 + last.len());
    text.extend_from_slice(before.as_bytes());
    text.extend_from_slice(b", ");
    text.extend_from_slice(last.as_bytes());
    HeaderValue::from_bytes(&text).expect("two values with a comma between them are a value")
}
