use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::time::{Duration, SystemTime};

/// An authority, and those above it.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    chain: Vec<CertificateDer<'static>>,
}

const DAY: Duration = Duration::from_secs(86_400);

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let (certificate, chain) = match above {
        None => (params.self_signed(&key).expect("a root"), Vec::new()),
        Some(above) => {
            let issuer = Issuer::from_params(&above.params, &above.key);
            let certificate = params.signed_by(&key, &issuer).expect("an intermediate");
            let chain = std::iter::once(certificate.der().clone()).chain(above.chain.iter().cloned()).collect();
            (certificate, chain)
        }
    };
    Authority { pem: certificate.pem(), params, key, chain }
}

impl Authority {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A client's chain, leaf first.
    fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = named("client");
        params.serial_number = Some(SerialNumber::from(7_u64));
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer()).expect("a leaf").der().clone();
        std::iter::once(leaf).chain(self.chain.iter().cloned()).collect()
    }

    fn list(&self, revoked: &[u64], expires: SystemTime) -> String {
        self.list_of(SystemTime::now() - 2 * DAY, revoked, expires)
    }

    fn list_of(&self, made: SystemTime, revoked: &[u64], expires: SystemTime) -> String {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: made.into(),
            next_update: expires.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).expect("a list").pem().expect("in PEM")
    }

    fn auth(&self, change: impl FnOnce(&mut ClientAuthSettings)) -> ClientAuth {
        let mut settings = ClientAuthSettings {
            mode: ClientAuthMode::On,
            authorities: Arc::new(Authorities::from_pem(self.pem.as_bytes()).expect("an authority")),
            revoked: None,
            depth: 1,
            pass_certificate: false,
            subject: None,
            error_page: None,
        };
        change(&mut settings);
        ClientAuth::new(settings)
    }
}

fn lists(text: &str) -> Option<Arc<RevocationLists>> {
    Some(Arc::new(RevocationLists::from_pem(text.as_bytes()).expect("lists")))
}

fn verdict(auth: &ClientAuth, chain: &[CertificateDer<'_>]) -> Verdict {
    auth.judge(chain, UnixTime::now()).verdict
}

#[test]
fn a_client_is_who_its_authority_says() {
    let (ours, other) = (authority("ours", None), authority("other", None));
    let auth = ours.auth(|_| {});
    let judgement = auth.judge(&ours.client(|_| {}), UnixTime::now());
    assert_eq!(judgement.verdict, Verdict::Success);
    assert_eq!(&*judgement.subject, "CN=client,O=Acme\\, Inc");
    assert_eq!(&*judgement.issuer, "CN=ours,O=Acme\\, Inc");
    assert_eq!(judgement.certificate, None);
    assert_eq!(verdict(&auth, &[]), Verdict::Missing);
    assert_eq!(verdict(&auth, &other.client(|_| {})), Verdict::Failed("unable to verify the first certificate"));
    let key = KeyPair::generate().expect("a key");
    let alone = named("alone").self_signed(&key).expect("a certificate");
    assert_eq!(verdict(&auth, &[alone.der().clone()]), Verdict::Failed("self-signed certificate"));
    assert!(matches!(verdict(&auth, &[CertificateDer::from(vec![1, 2, 3])]), Verdict::Failed(_)));
}

#[test]
fn a_certificate_must_be_meant_for_now_and_for_clients() {
    let ours = authority("ours", None);
    let auth = ours.auth(|_| {});
    let now = SystemTime::now();
    for (from, until, expected) in [
        (now - 3 * DAY, now - DAY, "certificate has expired"),
        (now + DAY, now + 3 * DAY, "certificate is not yet valid"),
    ] {
        let chain = ours.client(|params| (params.not_before, params.not_after) = (from.into(), until.into()));
        assert_eq!(verdict(&auth, &chain), Verdict::Failed(expected));
    }
    let usage = |usage| ours.client(|params| params.extended_key_usages = vec![usage]);
    assert_eq!(verdict(&auth, &usage(ExtendedKeyUsagePurpose::ClientAuth)), Verdict::Success);
    let server = usage(ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(verdict(&auth, &server), Verdict::Failed("unsuitable certificate purpose"));
}

#[test]
fn a_chain_is_no_longer_than_allowed() {
    let root = authority("root", None);
    let first = authority("first", Some(&root));
    let second = authority("second", Some(&first));
    let auth = |depth| root.auth(|settings| settings.depth = depth);
    assert_eq!(verdict(&auth(1), &first.client(|_| {})), Verdict::Success);
    assert_eq!(verdict(&auth(1), &second.client(|_| {})), Verdict::Failed("certificate chain too long"));
    assert_eq!(verdict(&auth(2), &second.client(|_| {})), Verdict::Success);
}

#[test]
fn what_was_revoked_is_not_valid() {
    let root = authority("root", None);
    let below = authority("below", Some(&root));
    let soon = SystemTime::now() + DAY;
    let with = |text: &str| root.auth(|settings| settings.revoked = lists(text));
    let client = root.client(|_| {});
    assert_eq!(verdict(&with(&root.list(&[8], soon)), &client), Verdict::Success);
    assert_eq!(verdict(&with(&root.list(&[7], soon)), &client), Verdict::Failed("certificate revoked"));
    let old = SystemTime::now() - DAY;
    assert_eq!(verdict(&with(&root.list(&[], old)), &client), Verdict::Failed("CRL has expired"));
    // Every authority in the chain needs a list.
    let client = below.client(|_| {});
    let unknown = Verdict::Failed("unable to get certificate CRL");
    assert_eq!(verdict(&with(&root.list(&[], soon)), &client), unknown);
    let both = format!("{}{}", root.list(&[], soon), below.list(&[], soon));
    assert_eq!(verdict(&with(&both), &client), Verdict::Success);
    // Somebody else's list under the same name is none.
    let forged = authority("root", None);
    let verdict = verdict(&with(&forged.list(&[], soon)), &root.client(|_| {}));
    assert_eq!(verdict, Verdict::Failed("CRL signature failure"));
    assert!(matches!(RevocationLists::from_pem(b""), Err(RevocationListsError::Empty)));
}

#[test]
fn the_latest_list_of_an_authority_counts() {
    let root = authority("root", None);
    let (now, client) = (SystemTime::now(), root.client(|_| {}));
    let with = |authorities: &str, text: &[&str]| {
        root.auth(|settings| {
            settings.authorities = Arc::new(Authorities::from_pem(authorities.as_bytes()).expect("authorities"));
            settings.revoked = lists(&text.concat());
        })
    };
    let both_ways = |a: &str, b: &str, expected: Verdict| {
        assert_eq!(verdict(&with(&root.pem, &[a, b]), &client), expected);
        assert_eq!(verdict(&with(&root.pem, &[b, a]), &client), expected);
    };
    let older = root.list_of(now - 3 * DAY, &[], now + 9 * DAY);
    let newer = root.list_of(now - DAY, &[7], now + 9 * DAY);
    both_ways(&older, &newer, Verdict::Failed("certificate revoked"));
    // What has ended meanwhile does no harm, and what is yet to begin says nothing.
    both_ways(&root.list_of(now - 3 * DAY, &[], now - 2 * DAY), &root.list(&[], now + DAY), Verdict::Success);
    let tomorrow = root.list_of(now + DAY, &[], now + 9 * DAY);
    both_ways(&tomorrow, &newer, Verdict::Failed("certificate revoked"));
    assert_eq!(
        verdict(&with(&root.pem, &[&tomorrow]), &client),
        Verdict::Failed("unable to get certificate CRL"),
        "a list that is not valid yet is no list"
    );
    // An authority that has changed its key has a list for each.
    let before = authority("root", None);
    let authorities = format!("{}{}", before.pem, root.pem);
    let (mut of_root, mut of_before) = (root.list(&[], now + DAY), before.list(&[], now + DAY));
    for _ in 0..2 {
        let auth = with(&authorities, &[&of_root, &of_before]);
        assert_eq!(verdict(&auth, &client), Verdict::Success);
        assert_eq!(verdict(&auth, &before.client(|_| {})), Verdict::Success);
        std::mem::swap(&mut of_root, &mut of_before);
    }
    let revoked = with(&authorities, &[&of_before, &newer]);
    assert_eq!(verdict(&revoked, &client), Verdict::Failed("certificate revoked"));
    assert_eq!(verdict(&revoked, &before.client(|_| {})), Verdict::Success);
}

#[test]
fn an_authority_is_one_while_it_is_valid() {
    let now = SystemTime::now();
    for (from, until, expected) in [
        (now - 9 * DAY, now - DAY, Verdict::Failed("certificate has expired")),
        (now + DAY, now + 9 * DAY, Verdict::Failed("certificate is not yet valid")),
        (now - DAY, now + DAY, Verdict::Success),
    ] {
        let mut root = authority("root", None);
        (root.params.not_before, root.params.not_after) = (from.into(), until.into());
        root.pem = root.params.self_signed(&root.key).expect("a root").pem();
        assert_eq!(verdict(&root.auth(|_| {}), &root.client(|_| {})), expected);
    }
}

#[test]
fn endpoints_get_the_certificate_as_nginx_escapes_it() {
    let ours = authority("ours", None);
    let auth = ours.auth(|settings| settings.pass_certificate = true);
    let chain = ours.client(|_| {});
    let value = auth.judge(&chain, UnixTime::now()).certificate.expect("passed on");
    let text = value.to_str().expect("ASCII");
    assert!(text.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{text}");
    assert!(text.ends_with("%0A-----END%20CERTIFICATE-----%0A"), "{text}");
    let pem = text.replace("%20", " ").replace("%0A", "\n").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    assert_eq!(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"), chain[0]);
    assert!(pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn names_are_plain_text_whatever_they_hold() {
    let ours = authority("ours", None);
    let subject = |pairs: &[(DnType, DnValue)]| {
        let chain = ours.client(|params| {
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in pairs {
                params.distinguished_name.push(kind.clone(), value.clone());
            }
        });
        ours.auth(|_| {}).judge(&chain, UnixTime::now()).subject
    };
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    assert_eq!(
        &*subject(&[(DnType::CountryName, utf8("DE")), (DnType::CommonName, utf8("a\r\nssl-client-verify: SUCCESS"))]),
        "CN=a\\0D\\0Assl-client-verify: SUCCESS,C=DE"
    );
    assert_eq!(&*subject(&[(DnType::CommonName, utf8("Zoë"))]), "CN=Zo\\C3\\AB");
    assert_eq!(
        &*subject(&[(DnType::CommonName, utf8("#a,b+c\"d\\e<f>g;h "))]),
        "CN=\\#a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h\\ "
    );
    assert_eq!(&*subject(&[(DnType::CommonName, utf8(" a b"))]), "CN=\\ a b");
    assert_eq!(&*subject(&[(DnType::CustomDnType(vec![1, 2, 3, 4]), utf8("x"))]), "1.2.3.4=#0C0178");
    assert_eq!(&*subject(&[]), "");
    let long = subject(&[(DnType::CustomDnType(vec![1, 2, 3, 4]), utf8(&"x".repeat(200)))]);
    assert!(long.starts_with("1.2.3.4=#0C81C87878"), "{long}");
}

#[test]
fn whatever_differs_asks_for_something_else() {
    let (ours, other) = (authority("ours", None), authority("other", None));
    let list = ours.list(&[], SystemTime::now() + DAY);
    let variants = [
        ours.auth(|_| {}),
        other.auth(|_| {}),
        ours.auth(|settings| settings.mode = ClientAuthMode::Optional),
        ours.auth(|settings| settings.revoked = lists(&list)),
        ours.auth(|settings| settings.depth = 2),
        ours.auth(|settings| settings.pass_certificate = true),
        ours.auth(|settings| settings.subject = Some(SubjectPattern::new("CN=a").expect("a pattern"))),
        ours.auth(|settings| settings.error_page = Some(ErrorPage::Path(PathAndQuery::from_static("/a")))),
        ours.auth(|settings| settings.error_page = Some(ErrorPage::Redirect(HeaderValue::from_static("/a")))),
    ];
    for (index, auth) in variants.iter().enumerate() {
        assert_eq!(*auth, ClientAuth::new(auth.settings().clone()));
        assert!(variants.iter().skip(index + 1).all(|other| other != auth), "{auth:?}");
    }
}
