//! TLS policies: versions, suites, groups, certificates and sessions, per host and as they change.

use crate::{
    harness::{Origin, Running},
    tls_client::{Can, SiteBuilder, TLS12, TLS13, Tls},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rust_nginx_proxy::{
    table::Settings,
    tls::{Certificate, SessionSettings, TicketKey, Tickets, TlsPolicy, TlsSettings, TlsVersions},
};
use std::{sync::Arc, time::Duration};
use tokio_rustls::rustls::{CipherSuite, NamedGroup, ProtocolVersion};

fn proxy(origin: &Origin, site: SiteBuilder) -> Running {
    let proxy = Running::to(&[origin.address]);
    proxy.handle.install(site.build());
    proxy
}

fn settings(tls: TlsSettings) -> Settings {
    Settings { tls: Arc::new(TlsPolicy::new(tls).unwrap()), ..Settings::default() }
}

fn certificate(name: &str, algorithm: &'static SignatureAlgorithm) -> Arc<Certificate> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    Arc::new(Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap())
}

#[test]
fn each_host_has_its_own_versions_and_suites() {
    let origin = Origin::echo();
    let only = |tls12, tls13| TlsVersions { tls12, tls13 };
    let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let site = SiteBuilder::new(origin.address, Settings::default())
        .host("any.example", None)
        .host("new.example", Some(TlsSettings { versions: only(false, true), ..TlsSettings::default() }))
        .host("old.example", Some(TlsSettings { versions: only(true, false), ..TlsSettings::default() }))
        .host("strong.example", Some(TlsSettings { cipher_suites: Some(vec![suite]), ..TlsSettings::default() }));
    let proxy = proxy(&origin, site);
    let (old, new) = (Tls::new(Can { versions: TLS12, ..Can::default() }), Tls::new(Can::default()));
    let version = |client: &Tls, name| client.try_connect(proxy.https(), name).map(|shaken| shaken.version());
    assert_eq!(version(&new, "any.example").unwrap(), ProtocolVersion::TLSv1_3);
    assert_eq!(version(&old, "any.example").unwrap(), ProtocolVersion::TLSv1_2);
    assert_eq!(version(&new, "new.example").unwrap(), ProtocolVersion::TLSv1_3);
    assert!(version(&old, "new.example").is_err());
    assert_eq!(version(&new, "old.example").unwrap(), ProtocolVersion::TLSv1_2);
    // Suites of TLS 1.3 are not part of the list.
    assert_eq!(new.connect(&proxy, "strong.example").suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(old.connect(&proxy, "strong.example").suite(), suite);
    let weak = vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let weak = Tls::new(Can { versions: TLS12, suites: Some(weak), ..Can::default() });
    assert!(version(&weak, "strong.example").is_err());
    assert!(version(&weak, "any.example").is_ok());
}

#[test]
fn whose_order_of_suites_counts_is_a_setting() {
    let origin = Origin::echo();
    let theirs = TlsSettings { prefer_own_order: false, ..TlsSettings::default() };
    let site = SiteBuilder::new(origin.address, Settings::default())
        .host("ours.example", None)
        .host("theirs.example", Some(theirs));
    let proxy = proxy(&origin, site);
    // rustls prefers AES-256 as a client.
    let client = Tls::new(Can::default());
    assert_eq!(client.connect(&proxy, "ours.example").suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(client.connect(&proxy, "theirs.example").suite(), CipherSuite::TLS13_AES_256_GCM_SHA384);
}

#[test]
fn key_exchange_is_post_quantum_where_the_client_can() {
    let origin = Origin::echo();
    let groups = Some(vec![NamedGroup::secp384r1]);
    let site = SiteBuilder::new(origin.address, Settings::default())
        .host("auto.example", None)
        .host("curve.example", Some(TlsSettings { groups, ..TlsSettings::default() }));
    let proxy = proxy(&origin, site);
    let group = |groups, name| Tls::new(Can { groups, ..Can::default() }).connect(&proxy, name).group();
    assert_eq!(group(None, "auto.example"), NamedGroup::X25519MLKEM768);
    assert_eq!(group(Some(vec![NamedGroup::secp256r1]), "auto.example"), NamedGroup::secp256r1);
    assert_eq!(group(None, "curve.example"), NamedGroup::secp384r1);
}

#[test]
fn a_client_gets_the_certificate_that_it_can_verify() {
    let origin = Origin::echo();
    let ecdsa = certificate("a.example", &PKCS_ECDSA_P256_SHA256);
    let rsa = certificate("a.example", &PKCS_RSA_SHA256);
    let site = SiteBuilder::new(origin.address, Settings::default())
        .host("a.example", None)
        .certificates("a.example", vec![Arc::clone(&ecdsa), Arc::clone(&rsa)]);
    let proxy = proxy(&origin, site);
    for versions in [TLS12, TLS13] {
        for (rsa_only, expected) in [(false, &ecdsa), (true, &rsa)] {
            let mut shaken = Tls::new(Can { versions, rsa_only, ..Can::default() }).connect(&proxy, "a.example");
            assert_eq!(shaken.certificate(), expected.certified_key().cert[0]);
            assert_eq!(shaken.ask("a.example", "/").status(), 200);
        }
    }
}

#[test]
fn a_new_certificate_serves_from_the_next_handshake_on() {
    let origin = Origin::echo();
    let site = |certificate: &Arc<Certificate>| {
        SiteBuilder::new(origin.address, Settings::default())
            .host("a.example", None)
            .certificates("a.example", vec![Arc::clone(certificate)])
    };
    let (first, second) =
        (certificate("a.example", &PKCS_ECDSA_P256_SHA256), certificate("a.example", &PKCS_ECDSA_P256_SHA256));
    let proxy = proxy(&origin, site(&first));
    let client = || Tls::new(Can::default());
    let mut open = client().connect(&proxy, "a.example");
    assert_eq!(open.ask("a.example", "/").status(), 200);
    proxy.handle.install(site(&second).build());
    assert_eq!(open.ask("a.example", "/").status(), 200);
    assert_eq!(client().connect(&proxy, "a.example").certificate(), second.certified_key().cert[0]);
    assert_eq!(open.certificate(), first.certified_key().cert[0]);
}

#[test]
fn unknown_names_are_refused_when_they_shall_be() {
    let origin = Origin::echo();
    let strict = Settings { reject_unknown_names: true, ..Settings::default() };
    let site = SiteBuilder::new(origin.address, strict).host("a.example", None).host("*.w.example", None);
    let proxy = proxy(&origin, site);
    let client = Tls::new(Can::default());
    for name in ["a.example", "x.w.example"] {
        client.connect(&proxy, name);
    }
    for name in ["b.example", "x.y.w.example", ""] {
        let error = client.try_connect(proxy.https(), name).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains("UnrecognisedName")), "{name}: {error:?}");
    }
}

/// Whether a second connection of a client resumes.
fn resumes(proxy: &Running, client: &Tls) -> bool {
    for _ in 0..2 {
        let mut shaken = client.connect(proxy, "a.example");
        assert_eq!(shaken.ask("a.example", "/").status(), 200);
        if shaken.is_resumed() {
            return true;
        }
    }
    false
}

#[test]
fn sessions_are_kept_as_the_settings_say() {
    let origin = Origin::echo();
    let sessions = |cache, tickets| SessionSettings { cache, tickets, ..SessionSettings::default() };
    let key = Tickets::SharedKey(TicketKey::new(&[7; 80]).unwrap());
    for (sessions, expected) in [
        (sessions(1 << 20, Tickets::Off), true),
        (sessions(0, Tickets::Off), false),
        (sessions(0, Tickets::OwnKeys), true),
        (sessions(0, key), true),
    ] {
        let tls = TlsSettings { sessions: sessions.clone(), ..TlsSettings::default() };
        let proxy = proxy(&origin, SiteBuilder::new(origin.address, settings(tls)).host("a.example", None));
        for versions in [TLS12, TLS13] {
            let client = Tls::new(Can { versions, ..Can::default() });
            assert_eq!(resumes(&proxy, &client), expected, "{sessions:?} {versions:?}");
        }
    }
}

#[test]
fn replicas_with_one_key_resume_each_others_sessions() {
    let origin = Origin::echo();
    let replica = |byte| {
        let tickets = Tickets::SharedKey(TicketKey::new(&[byte; 48]).unwrap());
        let sessions = SessionSettings { tickets, ..SessionSettings::default() };
        SiteBuilder::new(origin.address, settings(TlsSettings { sessions, ..TlsSettings::default() }))
            .host("a.example", None)
            .build()
    };
    let start = |byte| {
        let proxy = Running::to(&[origin.address]);
        proxy.handle.install(replica(byte));
        proxy
    };
    let (first, second, other) = (start(1), start(1), start(2));
    let client = Tls::new(Can::default());
    let ask = |proxy: &Running| {
        let mut shaken = client.connect(proxy, "a.example");
        assert_eq!(shaken.ask("a.example", "/").status(), 200);
        shaken.is_resumed()
    };
    assert!(!ask(&first));
    assert!(ask(&second));
    assert!(!ask(&other));
    // A new key, and tickets under the old one.
    assert!(ask(&other));
    other.handle.install(replica(3));
    assert!(ask(&other), "the key before opens what it has sealed");
    assert!(ask(&other));
}

#[test]
fn http2_is_offered_while_it_is_on() {
    use tokio_rustls::rustls::pki_types::ServerName;
    let origin = Origin::echo();
    let site = |http2| {
        let settings = Settings { http2, ..Settings::default() };
        SiteBuilder::new(origin.address, settings).host("a.example", None).build()
    };
    let proxy = Running::to(&[origin.address]);
    for (http2, expected) in [(true, &b"h2"[..]), (false, b"http/1.1"), (true, b"h2")] {
        proxy.handle.install(site(http2));
        let mut client = crate::tls::connect_offering(&proxy, ServerName::try_from("a.example").unwrap());
        client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
        assert_eq!(client.stream.conn.alpn_protocol(), Some(expected));
    }
}

#[test]
fn sessions_end_in_time() {
    let origin = Origin::echo();
    let sessions = SessionSettings { lifetime: Duration::from_nanos(1), ..SessionSettings::default() };
    let tls = TlsSettings { sessions, ..TlsSettings::default() };
    let proxy = proxy(&origin, SiteBuilder::new(origin.address, settings(tls)).host("a.example", None));
    assert!(!resumes(&proxy, &Tls::new(Can::default())));
}
