//! API structs → model, at the border.
//!
//! Every API struct is destructured field by field: a field that a newer API adds breaks the build here and asks to be
//! read or to be ignored on purpose. Inside, only the model exists, and its lists are boxed slices: a list is decoded into
//! room for four elements or more, which a `Vec` of what its elements become would keep. With 20,000 Ingresses that is
//! 50 MB.

mod class_config;
mod endpoint_slice;
mod ingress;
mod installation;
mod plain;
mod service;

pub use self::installation::{ApiNode, ApiPod};

use super::ObjectName;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{collections::BTreeMap, sync::Arc};

/// An object that cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Unconvertible {
    /// The field, with indexes.
    pub field: String,
    /// What is wrong, and what is accepted.
    pub message: String,
}

/// The metadata that anything here reads.
struct Metadata {
    name: ObjectName,
    uid: Arc<str>,
    resource_version: Arc<str>,
    created: Option<Timestamp>,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

// === impl Unconvertible ===

impl Unconvertible {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

// === impl Metadata ===

impl Metadata {
    /// A namespace is only absent in files (`default` holds) and for cluster-scoped kinds, which do not read it.
    fn read(metadata: ObjectMeta) -> Result<Self, Unconvertible> {
        let ObjectMeta {
            annotations,
            creation_timestamp,
            deletion_grace_period_seconds: _,
            deletion_timestamp: _,
            finalizers: _,
            generate_name: _,
            generation: _,
            labels,
            managed_fields: _,
            name,
            namespace,
            owner_references: _,
            resource_version,
            self_link: _,
            uid,
        } = metadata;
        let name = required(name.unwrap_or_default(), "metadata.name")?;
        let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned());
        Ok(Self {
            name: ObjectName::new(namespace, name),
            uid: uid.unwrap_or_default().into(),
            resource_version: resource_version.unwrap_or_default().into(),
            created: creation_timestamp.map(|time| time.0),
            annotations: annotations.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
        })
    }
}

fn required(value: String, field: &str) -> Result<String, Unconvertible> {
    if value.is_empty() { Err(Unconvertible::new(field, "is required")) } else { Ok(value) }
}

fn port(number: i32, field: impl FnOnce() -> String) -> Result<u16, Unconvertible> {
    u16::try_from(number).ok().filter(|&port| port != 0).ok_or_else(|| {
        Unconvertible::new(field(), format!("{number} is not a port, which is a number from 1 to 65535"))
    })
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
}

fn non_empty(text: Option<String>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

#[cfg(test)]
mod tests;
