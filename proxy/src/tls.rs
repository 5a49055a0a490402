//! TLS towards clients: material, choice of certificate, policy.

mod material;

pub use self::material::{Certificate, CertificateInfo, KeyError, MaterialError};
