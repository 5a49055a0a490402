//! TLS towards clients and endpoints: material, choice of certificate, policy.

mod material;
mod policy;
mod resolver;
mod upstream;

pub(crate) use self::policy::Configurations;
pub use self::{
    material::{Certificate, CertificateInfo, KeyError, MaterialError},
    upstream::{
        Authorities, AuthoritiesError, InvalidName, TlsVersions, UpstreamTls, UpstreamTlsError, UpstreamTlsSettings,
        Verification,
    },
};
