//! TLS towards clients and endpoints: material, choice of certificate, policy, client certificates.

mod authorities;
mod client_auth;
mod configuration;
mod fips;
mod material;
mod ocsp;
mod pem;
mod policy;
mod resolver;
mod session;
mod sessions;
mod suite;
mod tickets;
mod upstream;
mod versions;

pub use self::{
    authorities::{Authorities, AuthoritiesError},
    client_auth::{
        ClientAuth, ClientAuthMode, ClientAuthSettings, ErrorPage, RevocationLists, RevocationListsError,
        SubjectPattern,
    },
    fips::{FIPS, NotFips, check_fips, crypto_provider},
    material::{Certificate, CertificateInfo, KeyError, KeyType, MaterialError},
    pem::BadPem,
    policy::{SessionSettings, Tickets, TlsPolicy, TlsSettings},
    suite::openssl_name,
    tickets::{InvalidTicketKey, TicketKey},
    upstream::{InvalidName, UpstreamTls, UpstreamTlsError, UpstreamTlsSettings, Verification},
    versions::TlsVersions,
};
pub(crate) use self::{
    client_auth::{Judgement, Verdict},
    configuration::Configurations,
    session::Session,
};
