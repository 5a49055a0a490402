//! A DNS server that knows what a test tells it, and the resolver configuration that leads to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::{address, scratch};

/// How a server behaves towards a name.
#[derive(Clone, Debug)]
pub enum Zone {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// These addresses, and no answer about the other family.
    Half(Vec<IpAddr>, u32),
    /// It does not answer.
    Silence,
}

/// A running server; it ends when dropped.
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    names: Arc<Mutex<Names>>,
    task: JoinHandle<()>,
}

/// What it knows, and what it was asked. Names end with a dot.
#[derive(Default)]
struct Names {
    zones: BTreeMap<String, Zone>,
    asked: Vec<String>,
}

// === impl Dns ===

impl Dns {
    /// A server that knows no name.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let socket = UdpSocket::bind((address::host(), 53)).await.context("the port of the DNS server")?;
        let address = socket.local_addr()?;
        let names = Arc::<Mutex<Names>>::default();
        let task = tokio::spawn(serve(socket, Arc::clone(&names)));
        Ok(Self { address, names, task })
    }

    /// From now on a name has these addresses.
    pub fn set(&self, name: &str, addresses: &[IpAddr], seconds: u32) {
        self.put(name, Some(Zone::Addresses(addresses.to_vec(), seconds)));
    }

    /// From now on a name has these addresses, and nothing is answered about the other family.
    pub fn set_half(&self, name: &str, addresses: &[IpAddr], seconds: u32) {
        self.put(name, Some(Zone::Half(addresses.to_vec(), seconds)));
    }

    /// From now on nothing is answered about a name.
    pub fn silence(&self, name: &str) {
        self.put(name, Some(Zone::Silence));
    }

    /// From now on there is no such name.
    pub fn forget(&self, name: &str) {
        self.put(name, None);
    }

    /// How often it was asked for an address of a name.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let names = self.names.lock();
        names.asked.iter().filter(|asked| **asked == format!("{name}.")).count()
    }

    /// A file in the format of resolv.conf(5) that names this server and these search domains.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configuration(&self, search: &[&str]) -> Result<PathBuf> {
        let path = scratch::directory("dns")?.join("resolv.conf");
        let text = format!("nameserver {}\nsearch {}\noptions ndots:5\n", self.address.ip(), search.join(" "));
        scratch::replace(&path, &text)?;
        Ok(path)
    }

    fn put(&self, name: &str, zone: Option<Zone>) {
        let mut names = self.names.lock();
        match zone {
            Some(zone) => _ = names.zones.insert(format!("{name}."), zone),
            None => _ = names.zones.remove(&format!("{name}.")),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, names: Arc<Mutex<Names>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let answer = Message::from_vec(&buffer[..length]).ok().and_then(|request| answer(request, &names));
        if let Some(bytes) = answer.and_then(|answer| answer.to_vec().ok()) {
            // A client that is gone needs no answer.
            _ = socket.send_to(&bytes, peer).await;
        }
    }
}

fn answer(request: Message, names: &Mutex<Names>) -> Option<Message> {
    let query = request.queries.first()?.clone();
    let name = query.name().to_string().to_ascii_lowercase();
    let mut names = names.lock();
    names.asked.push(name.clone());
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    match names.zones.get(&name) {
        None => response.metadata.response_code = ResponseCode::NXDomain,
        Some(Zone::Silence) => return None,
        Some(zone @ (Zone::Addresses(addresses, seconds) | Zone::Half(addresses, seconds))) => {
            let is_wanted = |address: &&IpAddr| match query.query_type() {
                RecordType::A => address.is_ipv4(),
                RecordType::AAAA => address.is_ipv6(),
                _ => false,
            };
            if matches!(zone, Zone::Half(..)) && !addresses.iter().any(|address| is_wanted(&address)) {
                return None;
            }
            for address in addresses.iter().filter(is_wanted) {
                let data = match address {
                    IpAddr::V4(v4) => RData::A((*v4).into()),
                    IpAddr::V6(v6) => RData::AAAA((*v6).into()),
                };
                response.add_answer(Record::from_rdata(query.name().clone(), *seconds, data));
            }
        }
    }
    Some(response)
}
