//! Series about objects, made from the latest pass at every scrape.

use super::{PREFIX, opts};
use crate::{
    diagnostic::{ObjectKind, Reason},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName},
};
use prometheus::{
    Gauge, GaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rust_nginx_proxy::{
    metrics::ConstantLabels,
    tls::{Certificate, CertificateInfo, KeyType},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher as _,
    sync::Arc,
};
use tokio::sync::watch;

/// Labels of the certificate metrics; they carry no constant labels.
const CERTIFICATE: [&str; 5] = ["namespace", "class", "host", "secret_name", "identifier"];

/// Labels of what certificates say about themselves: the same, and more.
const CERTIFICATE_INFO: [&str; 9] = [
    "namespace",
    "class",
    "host",
    "secret_name",
    "identifier",
    "issuer_organization",
    "issuer_common_name",
    "serial_number",
    "public_key_algorithm",
];

/// Reads the latest pass.
#[derive(Debug)]
pub(super) struct ObjectCollector {
    constant: ConstantLabels,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    leader: watch::Receiver<bool>,
    desc: Desc,
}

/// The certificate that a host of an Ingress is served with.
struct ServedCertificate<'a> {
    namespace: &'a str,
    secret: &'a str,
    host: String,
    certificate: &'a Certificate,
}

// === impl ObjectCollector ===

impl ObjectCollector {
    pub(super) fn new(
        constant: &ConstantLabels,
        passes: watch::Receiver<Option<Arc<Pass>>>,
        leader: watch::Receiver<bool>,
    ) -> Self {
        let opts = opts(constant, "config_hash", "A hash of the installed table");
        let desc = Desc::new(opts.name, opts.help, Vec::new(), opts.const_labels).expect("the name is a constant");
        Self { constant: constant.clone(), passes, leader, desc }
    }

    fn config_hash(&self, pass: &Pass) -> Vec<MetricFamily> {
        let gauge = Gauge::with_opts(opts(&self.constant, "config_hash", "A hash of the installed table"))
            .expect("names and labels are constants that Prometheus accepts");
        gauge.set(hash(pass));
        gauge.collect()
    }

    /// 1 for each Ingress with a backend that does not exist or has no endpoint, 0 for the others, as ingress-nginx.
    fn orphans(&self, pass: &Pass) -> Vec<MetricFamily> {
        let gauges = GaugeVec::new(
            opts(&self.constant, "orphan_ingress", "Whether the Ingress has a backend without Service or endpoint"),
            &["namespace", "ingress", "type"],
        )
        .expect("names and labels are constants that Prometheus accepts");
        let with = |reason: Reason| -> BTreeSet<(&str, &str)> {
            let diagnostics = pass.compiled.diagnostics.iter();
            diagnostics
                .filter(|found| found.reason == reason && found.object.kind == ObjectKind::Ingress)
                .map(|found| (&*found.object.namespace, &*found.object.name))
                .collect()
        };
        for (kind, orphans) in
            [("no-service", with(Reason::BackendNotFound)), ("no-endpoint", with(Reason::NoEndpoints))]
        {
            for ObjectName { namespace, name } in &pass.compiled.ingresses {
                let orphan = orphans.contains(&(&**namespace, &**name));
                gauges.with_label_values(&[&**namespace, &**name, kind]).set(f64::from(u8::from(orphan)));
            }
        }
        gauges.collect()
    }

    fn certificates(&self, pass: &Pass) -> Vec<MetricFamily> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels)
                .expect("names and labels are constants that Prometheus accepts")
        };
        let help = "When the certificate expires, in seconds since the epoch";
        let expiry = gauge("ssl_expire_time_seconds", help, &CERTIFICATE);
        let info = gauge("ssl_certificate_info", "What the certificate says about itself", &CERTIFICATE_INFO);
        for ServedCertificate { namespace, secret, host, certificate } in served_certificates(pass) {
            let CertificateInfo { serial, not_after, issuer_organization, issuer_common_name, .. } = certificate.info();
            let serial = decimal(serial);
            let identifier = format!("-{serial}");
            let labels = [namespace, &self.constant.controller_class, &host, secret, &identifier];
            expiry.with_label_values(&labels).set(not_after as f64);
            let algorithm = match certificate.key_type() {
                KeyType::Rsa => "RSA",
                KeyType::Ecdsa => "ECDSA",
                KeyType::Other => "Ed25519",
            };
            let [namespace, class, host, secret, identifier] = labels;
            let labels = [
                namespace,
                class,
                host,
                secret,
                identifier,
                issuer_organization,
                issuer_common_name,
                &serial,
                algorithm,
            ];
            info.with_label_values(&labels).set(1.0);
        }
        expiry.collect().into_iter().chain(info.collect()).collect()
    }
}

impl Collector for ObjectCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(pass) = self.passes.borrow().clone() else { return Vec::new() };
        let mut families = self.config_hash(&pass);
        families.extend(self.orphans(&pass));
        // Each replica sees the same certificates; one that counts them is enough for an alert.
        if *self.leader.borrow() {
            families.extend(self.certificates(&pass));
        }
        families
    }
}

/// Which Secret gave which host its certificate: as for routes, the oldest Ingress that names the host.
fn served_certificates(pass: &Pass) -> Vec<ServedCertificate<'_>> {
    let index = pass.compiled.table.certificates();
    // A host whose Secret cannot be used is served with the default certificate; that says nothing about the Secret.
    let default = index.default_certificate();
    let certificates: BTreeMap<String, _> = index
        .sorted()
        .into_iter()
        .filter(|(_, certificate)| *certificate != default)
        .map(|(host, certificate)| (host.to_string(), &**certificate))
        .collect();
    let mut ingresses: Vec<&Arc<Ingress>> =
        pass.compiled.ingresses.iter().filter_map(|name| pass.snapshot.ingresses.get(name)).collect();
    ingresses.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| b.name.cmp(&a.name)));
    let mut seen = BTreeSet::new();
    let mut served = Vec::new();
    for ingress in ingresses {
        for tls in ingress.tls.iter().filter(|tls| !tls.secret_name.is_empty()) {
            for host in &tls.hosts {
                let host = host.to_ascii_lowercase();
                let Some(&certificate) = certificates.get(&host) else { continue };
                if seen.insert(host.clone()) {
                    served.push(ServedCertificate {
                        namespace: &ingress.name.namespace,
                        secret: &tls.secret_name,
                        host,
                        certificate,
                    });
                }
            }
        }
    }
    served
}

/// Prometheus's numbers have 53 bits; a hash in them only has to change when the table does.
fn hash(pass: &Pass) -> f64 {
    struct Sink(std::hash::DefaultHasher);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(std::hash::DefaultHasher::new());
    serde_json::to_writer(&mut sink, &pass.compiled.table).expect("a table is serialisable and the sink never fails");
    sink.0.finish() as f64
}

/// A serial number as ingress-nginx's label `identifier` shows it: the colon-separated hexadecimal in decimal.
fn decimal(hexadecimal: &str) -> String {
    let mut digits = vec![0_u8];
    for nibble in hexadecimal.chars().filter_map(|c| c.to_digit(16)) {
        let mut carry = nibble;
        for digit in &mut digits {
            let value = u32::from(*digit) * 16 + carry;
            *digit = u8::try_from(value % 10).expect("a remainder of ten is a digit");
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).expect("a remainder of ten is a digit"));
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn serial_numbers_are_decimal() {
        assert_eq!(decimal(""), "0");
        assert_eq!(decimal("00:ff"), "255");
        assert_eq!(decimal("01:00:00:00:00:00:00:00:00"), "18446744073709551616");
    }
}
