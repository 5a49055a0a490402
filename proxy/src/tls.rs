//! TLS towards clients: material, choice of certificate, policy.

mod material;
mod policy;
mod resolver;

pub use self::material::{Certificate, CertificateInfo, KeyError, MaterialError};
pub(crate) use self::policy::Configurations;
