//! Findings as data: compile and the sources return them, and Events, logs, metrics and `check` render them.

use crate::snapshot::ObjectName;
use serde::Serialize;
use std::{fmt, sync::Arc};

/// One finding about one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Diagnostic {
    /// What it is about; an Event goes there.
    pub object: ObjectRef,
    /// Whether somebody must act.
    pub severity: Severity,
    /// Closed vocabulary; becomes the Event's reason.
    pub reason: Reason,
    /// The field, in the notation of `kubectl explain` with indexes (`spec.rules[0].http.paths[1].backend`); empty when
    /// the whole object is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// A sentence that names what is wrong, what is accepted, and what happens instead.
    pub message: String,
}

/// Findings in their order, each once. A clone is one pointer, and what two of them share is not looked at when they are
/// compared.
pub type Diagnostics = imbl::OrdSet<Arc<Diagnostic>>;

/// The object of a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// Kind of the object; decides `apiVersion` when rendered as an Event.
    pub kind: ObjectKind,
    /// Namespace; empty for cluster-scoped kinds, files and flags.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name; the path of a file, the name of a flag.
    pub name: Arc<str>,
}

/// Kinds that findings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ObjectKind {
    /// networking.k8s.io/v1
    Ingress,
    /// networking.k8s.io/v1
    IngressClass,
    /// rust-nginx.io/v1alpha1
    IngressClassConfig,
    /// core v1
    Service,
    /// discovery.k8s.io/v1
    EndpointSlice,
    /// core v1
    Secret,
    /// core v1
    ConfigMap,
    /// A manifest file of the file source.
    File,
    /// A kind that could not be listed or watched; the name is the resource (`services`).
    Resource,
    /// A command-line flag, named without dashes.
    Flag,
}

/// Whether somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Severity {
    /// Worth knowing; no Event.
    Info,
    /// Something that was asked for is not served as asked; a Warning Event.
    Warning,
}

/// Why. CamelCase, as Kubernetes reasons are; Gateway API's names where they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// A document that is not valid YAML or not the kind that it says.
    Unparsable,
    /// The Service, or its port, does not exist.
    BackendNotFound,
    /// The Service has no ready endpoint.
    NoEndpoints,
    /// A backend kind that we do not serve (`resource`).
    InvalidKind,
    /// The Secret does not exist.
    SecretNotFound,
    /// The Secret exists, its content cannot be used.
    InvalidCertificate,
    /// The certificate does not cover the host.
    CertificateMismatch,
    /// A certificate, or a list of revoked ones, has expired or will soon.
    CertificateExpiring,
    /// An older object owns the same host and path.
    Conflict,
    /// A host or path that is none.
    InvalidHost,
    /// A path that cannot be matched as written.
    InvalidPath,
    /// An annotation with a value outside its grammar.
    AnnotationParsingFailed,
    /// A value or setting that we know and do not serve.
    UnsupportedValue,
    /// A ConfigMap key or an annotation with our prefix that nobody reads.
    UnknownKey,
    /// A reference to another namespace that is not permitted.
    RefNotPermitted,
    /// A referenced object (ConfigMap, Service of a flag) does not exist.
    RefNotFound,
    /// The API server does not serve the resource, or we may not read it.
    ResourceUnavailable,
    /// A port of a TCP or UDP service cannot be opened.
    PortUnavailable,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// A namespaced object.
    #[must_use]
    pub fn namespaced(kind: ObjectKind, name: &ObjectName) -> Self {
        Self { kind, namespace: name.namespace.clone(), name: name.name.clone() }
    }

    /// Anything without a namespace: a cluster-scoped object, a file, a resource, a flag.
    #[must_use]
    pub fn named(kind: ObjectKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: "".into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{:?} {}", self.kind, self.name)
        } else {
            write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

// === impl Diagnostic ===

impl Diagnostic {
    /// Something that was asked for is not served as asked.
    #[must_use]
    pub fn warning(object: ObjectRef, reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object, severity: Severity::Warning, reason, field: field.into(), message: message.into() }
    }

    /// Something worth knowing.
    #[must_use]
    pub fn info(object: ObjectRef, reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object, severity: Severity::Info, reason, field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {} ({:?})", self.message, self.reason)
    }
}
