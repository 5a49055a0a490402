//! The custom resources of rust-nginx.
//!
//! Owns the Rust types of the API group, from which the YAML in `crds/yaml` is generated; the chart ships a copy of it.
//! Knows nothing of what the controller does with them.

mod ingress_class_config;

pub use self::ingress_class_config::{IngressClassConfig, IngressClassConfigSpec, LoadBalance, RetryOn, RiskLevel};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group of every kind.
pub const GROUP: &str = "rust-nginx.io";

/// The version in which they are served and stored.
pub const VERSION: &str = "v1alpha1";

/// The definitions of all kinds, by the name of their file.
#[must_use]
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("ingressclassconfigs", IngressClassConfig::crd())]
}
