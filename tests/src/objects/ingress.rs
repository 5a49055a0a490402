//! Ingress objects.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::{Manifest, metadata};

/// An Ingress that grows; ends as a [`Manifest`].
#[derive(Clone)]
pub struct IngressBuilder(Ingress);

/// A path of a rule.
#[derive(Clone)]
pub struct Path(HTTPIngressPath);

/// A port, by number (`80`) or name (`http`).
fn service_backend(target: &str) -> IngressBackend {
    let (name, port) = target.split_once(':').unwrap_or((target, "80"));
    let port = port.parse().map_or_else(
        |_| ServiceBackendPort { name: Some(port.to_owned()), number: None },
        |number| ServiceBackendPort { name: None, number: Some(number) },
    );
    IngressBackend { resource: None, service: Some(IngressServiceBackend { name: name.to_owned(), port: Some(port) }) }
}

fn path(kind: &str, path: &str, backend: IngressBackend) -> Path {
    Path(HTTPIngressPath { backend, path: Some(path.to_owned()), path_type: kind.to_owned() })
}

/// A Prefix path; the target is `service` (its port 80), `service:port` or `service:name`.
#[must_use]
pub fn prefix(at: &str, target: &str) -> Path {
    path("Prefix", at, service_backend(target))
}

/// An Exact path; targets as for [`prefix`].
#[must_use]
pub fn exact(at: &str, target: &str) -> Path {
    path("Exact", at, service_backend(target))
}

/// An ImplementationSpecific path; targets as for [`prefix`].
#[must_use]
pub fn implementation_specific(at: &str, target: &str) -> Path {
    path("ImplementationSpecific", at, service_backend(target))
}

/// A Prefix path that leads to an object which is no Service.
#[must_use]
pub fn resource(at: &str, group: &str, kind: &str, name: &str) -> Path {
    let reference =
        TypedLocalObjectReference { api_group: Some(group.to_owned()), kind: kind.to_owned(), name: name.to_owned() };
    path("Prefix", at, IngressBackend { resource: Some(reference), service: None })
}

/// An Ingress without rules yet, of no class.
#[must_use]
pub fn ingress(name: &str) -> IngressBuilder {
    IngressBuilder(Ingress { metadata: metadata(name), spec: Some(IngressSpec::default()), status: None })
}

// === impl IngressBuilder ===

impl IngressBuilder {
    fn spec(&mut self) -> &mut IngressSpec {
        self.0.spec.get_or_insert_default()
    }

    /// `spec.ingressClassName`
    #[must_use]
    pub fn class(mut self, class: &str) -> Self {
        self.spec().ingress_class_name = Some(class.to_owned());
        self
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// A rule; the host `""` is a rule without host.
    #[must_use]
    pub fn host(mut self, host: &str, paths: impl IntoIterator<Item = Path>) -> Self {
        let paths = paths.into_iter().map(|path| path.0).collect();
        let host = Some(host.to_owned()).filter(|host| !host.is_empty());
        let rule = IngressRule { host, http: Some(HTTPIngressRuleValue { paths }) };
        self.spec().rules.get_or_insert_default().push(rule);
        self
    }

    /// An entry of `spec.tls`; the Secret `""` is an entry without Secret.
    #[must_use]
    pub fn tls(mut self, secret: &str, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let secret_name = Some(secret.to_owned()).filter(|secret| !secret.is_empty());
        self.spec().tls.get_or_insert_default().push(IngressTLS { hosts: Some(hosts), secret_name });
        self
    }

    /// `spec.defaultBackend`; targets as for [`prefix`].
    #[must_use]
    pub fn default_backend(mut self, target: &str) -> Self {
        self.spec().default_backend = Some(service_backend(target));
        self
    }

    /// The finished object.
    #[must_use]
    pub fn build(self) -> Manifest {
        Manifest::new(&self.0)
    }
}

impl From<IngressBuilder> for Manifest {
    fn from(builder: IngressBuilder) -> Self {
        builder.build()
    }
}
