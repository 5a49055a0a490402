//! A synthetic cluster: Ingresses, Services, EndpointSlices and Secrets as teams of a company would have them.
//!
//! Every object is a function of its number alone. A fleet of 20,000 Ingresses therefore contains the one of 5,000, and
//! two runs measure the same work. Only certificates differ from run to run, because keys are made anew.
//!
//! Per Ingress: a host of its own, two paths, a quarter of a Service. What is in it beyond that follows [`Shape`].

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rust_nginx::snapshot::{ObjectName, Snapshot};

mod objects;

/// Namespaces over which the objects are spread.
pub const NAMESPACES: usize = 50;
/// Port on which the pods of all Services listen.
pub const POD_PORT: u16 = 8080;
/// Value of `spec.controller` of the class.
pub const CONTROLLER: &str = "rust-nginx.io/ingress-controller";

/// Ingresses per Service: 20,000 have 5,000.
const PER_SERVICE: usize = 4;
/// Ingresses per certificate: 20,000 have 400.
const PER_CERTIFICATE: usize = 50;
/// Every so many Ingresses, one puts its second path on a host that it shares with others.
const PER_SHARED_PATH: usize = 50;
/// Ingresses of which those that share meet on one host.
const PER_SHARED_HOST: usize = 1_000;
/// Every so many Ingresses, one has a wildcard for its host.
const PER_WILDCARD: usize = 200;

/// A cluster of a certain size.
pub struct Fleet {
    ingresses: usize,
    class: String,
    certificates: Vec<Pair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// What is particular about an Ingress; all of it follows from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its number.
    pub index: usize,
    /// The number of its namespace.
    pub namespace: usize,
    /// The Services of its two paths.
    pub services: [usize; 2],
    /// The host is a wildcard.
    pub wildcard: bool,
    /// The second path stands on a host that is shared with others.
    pub shared: bool,
    /// The host has a certificate, so that plain HTTP is redirected.
    pub tls: bool,
}

// === impl Fleet ===

impl Fleet {
    /// A fleet of so many Ingresses of a class. Makes the certificates, 50 µs each.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(ingresses: usize, class: &str) -> Result<Self> {
        let mut fleet = Self { ingresses: 0, class: class.to_owned(), certificates: Vec::new() };
        fleet.grow(ingresses)?;
        Ok(fleet)
    }

    /// Makes it larger; what there is stays the same.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn grow(&mut self, ingresses: usize) -> Result<()> {
        self.ingresses = self.ingresses.max(ingresses);
        for number in self.certificates.len()..self.secrets() {
            self.certificates.push(Pair::new(&Shape::of(number * PER_CERTIFICATE).host())?);
        }
        Ok(())
    }

    /// How many Ingresses.
    #[must_use]
    pub fn ingresses(&self) -> usize {
        self.ingresses
    }

    /// How many Services, each with one EndpointSlice.
    #[must_use]
    pub fn services(&self) -> usize {
        self.ingresses.div_ceil(PER_SERVICE)
    }

    /// How many Secrets.
    #[must_use]
    pub fn secrets(&self) -> usize {
        self.ingresses.div_ceil(PER_CERTIFICATE)
    }

    /// Everything, as the sources would deliver it.
    ///
    /// # Errors
    /// Never for what a fleet makes.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let class: Arc<str> = self.class.as_str().into();
        snapshot.ingress_classes.insert(class, Arc::new(self.ingress_class(CONTROLLER).try_into()?));
        for index in 0..self.services() {
            let name = name_of(Shape::namespace_of_service(index), service_name(index));
            let slice = self.endpoint_slice(index);
            let slice_name: Arc<str> = slice.metadata.name.as_deref().context("a slice has a name")?.into();
            let slices = std::iter::once((slice_name, Arc::new(slice.try_into()?))).collect();
            snapshot.endpoint_slices.insert(name.clone(), slices);
            snapshot.services.insert(name, Arc::new(self.service(index).try_into()?));
        }
        for index in 0..self.secrets() {
            let name = name_of(Shape::of(index * PER_CERTIFICATE).namespace, secret_name(index));
            snapshot.secrets.insert(name, Arc::new(self.secret(index).try_into()?));
        }
        for index in 0..self.ingresses {
            let name = name_of(Shape::of(index).namespace, ingress_name(index));
            snapshot.ingresses.insert(name, Arc::new(self.ingress(index).try_into()?));
        }
        Ok(snapshot)
    }

    /// The Secret number `index`.
    #[must_use]
    pub fn secret(&self, index: usize) -> Secret {
        let Pair { certificate, key } = &self.certificates[index];
        objects::tls_secret(Shape::of(index * PER_CERTIFICATE).namespace, &secret_name(index), certificate, key)
    }
}

// === impl Pair ===

impl Pair {
    fn new(host: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a P-256 key")?;
        let certificate = CertificateParams::new([host.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .with_context(|| format!("make a certificate for {host}"))?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

// === impl Shape ===

impl Shape {
    /// Of the Ingress number `index`.
    #[must_use]
    pub fn of(index: usize) -> Self {
        let first = index / PER_SERVICE;
        let namespace = Self::namespace_of_service(first);
        // A Service of the same namespace that came no later: there is one in every fleet that has this Ingress.
        let second = first - NAMESPACES * (scatter(index) % (first / NAMESPACES + 1));
        Self {
            index,
            namespace,
            services: [first, second],
            wildcard: index % PER_WILDCARD == 7,
            shared: index % PER_SHARED_PATH == 49,
            tls: index.is_multiple_of(PER_CERTIFICATE),
        }
    }

    /// The number of the namespace in which a Service is.
    #[must_use]
    pub fn namespace_of_service(index: usize) -> usize {
        index % NAMESPACES
    }

    /// The host of the rule.
    #[must_use]
    pub fn host(self) -> String {
        let Self { index, namespace, .. } = self;
        let star = if self.wildcard { "*." } else { "" };
        format!("{star}shop-{index:05}.{}.example.com", namespace_name(namespace))
    }

    /// A host for requests that the rule's host matches.
    #[must_use]
    pub fn request_host(self) -> String {
        self.host().replace('*', "any")
    }
}

/// The addresses of a Service's pods: three to ten, and no two Services share one.
#[must_use]
pub fn pods(service: usize) -> Vec<Ipv4Addr> {
    const FIRST: u32 = u32::from_be_bytes([10, 244, 1, 0]);
    let first = FIRST + u32::try_from(service * 10).expect("a fleet has fewer Services than the network has addresses");
    (0..3 + u32::try_from(service % 8).unwrap_or(0)).map(|pod| (first + pod).into()).collect()
}

/// The name of a namespace.
#[must_use]
pub fn namespace_name(index: usize) -> String {
    format!("team-{index:02}")
}

/// The name of a Service.
#[must_use]
pub fn service_name(index: usize) -> String {
    format!("backend-{index:05}")
}

/// The name of an Ingress.
#[must_use]
pub fn ingress_name(index: usize) -> String {
    format!("shop-{index:05}")
}

fn secret_name(index: usize) -> String {
    format!("certificate-{index:04}")
}

fn name_of(namespace: usize, name: String) -> ObjectName {
    ObjectName::new(namespace_name(namespace), name)
}

/// Numbers without visible order (the finalizer of SplitMix64).
fn scatter(index: usize) -> usize {
    let mut bits = (index as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_fleet_contains_the_smaller_one() {
        for index in 0..20_000 {
            let Shape { namespace, services: [first, second], .. } = Shape::of(index);
            assert!(second <= first && first <= index / PER_SERVICE, "{index}: {first}, {second}");
            assert_eq!(Shape::namespace_of_service(first), namespace);
            assert_eq!(Shape::namespace_of_service(second), namespace);
        }
    }

    #[test]
    fn twenty_thousand_have_the_size_that_targets_speak_of() {
        let fleet = Fleet { ingresses: 20_000, class: "nginx".to_owned(), certificates: Vec::new() };
        assert_eq!((fleet.services(), fleet.secrets()), (5_000, 400));
        let shapes: Vec<_> = (0..20_000).map(|index| fleet.ingress(index)).collect();
        let rules = || shapes.iter().filter_map(|ingress| ingress.spec.as_ref()?.rules.as_ref()).flatten();
        let hosts: BTreeSet<_> = rules().filter_map(|rule| rule.host.as_deref()).collect();
        assert_eq!(hosts.len(), 20_020);
        assert_eq!(rules().filter_map(|rule| rule.http.as_ref()).map(|http| http.paths.len()).sum::<usize>(), 40_000);
    }

    #[test]
    fn no_two_services_share_a_pod() {
        let all: Vec<_> = (0..5_000).flat_map(pods).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|address| address.octets()[..2] == [10, 244]));
    }

    #[test]
    fn every_object_is_one_that_the_controller_reads() {
        let snapshot = Fleet::new(100, "nginx").unwrap().snapshot().unwrap();
        assert_eq!(snapshot.ingresses.len(), 100);
        assert_eq!((snapshot.services.len(), snapshot.endpoint_slices.len(), snapshot.secrets.len()), (25, 25, 2));
    }
}
