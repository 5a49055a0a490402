//! Client certificates: who gets in, what endpoints are told, and that no session is a way around.

use crate::{
    harness::{Message, Origin, Running},
    tls_client::{Authority, Can, SiteBuilder, TLS12, TLS13, Tls},
};
use http::{HeaderValue, uri::PathAndQuery};
use rust_nginx_proxy::{
    table::{Settings, Table},
    tls::{
        Authorities, ClientAuth, ClientAuthMode, ClientAuthSettings, ErrorPage, SessionSettings, SubjectPattern,
        TicketKey, Tickets, TlsSettings,
    },
};
use std::sync::Arc;

/// What is asked by default: a certificate of this authority.
fn asking(authority: &Authority, change: impl FnOnce(&mut ClientAuthSettings)) -> TlsSettings {
    let mut settings = ClientAuthSettings {
        mode: ClientAuthMode::On,
        authorities: Arc::new(Authorities::from_pem(authority.pem.as_bytes()).unwrap()),
        revoked: None,
        depth: 1,
        pass_certificate: false,
        subject: None,
        error_page: None,
    };
    change(&mut settings);
    TlsSettings { client_auth: Some(Arc::new(ClientAuth::new(settings))), ..TlsSettings::default() }
}

/// `a.example` under these settings, `open.example` without.
fn site(origin: &Origin, tls: Option<TlsSettings>) -> Table {
    SiteBuilder::new(origin.address, Settings::default()).host("a.example", tls).host("open.example", None).build()
}

fn proxy(origin: &Origin, tls: Option<TlsSettings>) -> Running {
    let proxy = Running::to(&[origin.address]);
    proxy.handle.install(site(origin, tls));
    proxy
}

fn nobody() -> Tls {
    Tls::new(Can::default())
}

fn client(authority: &Authority, name: &str) -> Tls {
    Tls::new(Can { identity: Some(authority.client(name)), ..Can::default() })
}

fn ask(client: &Tls, proxy: &Running) -> Message {
    client.connect(proxy, "a.example").ask("a.example", "/x?y")
}

/// Status, and what the endpoint was told.
fn told(message: &Message) -> (u16, Option<String>, Option<String>) {
    let seen = message.echoed();
    let field = |name: &str| seen.header(name).map(str::to_owned);
    (message.status(), field("ssl-client-verify"), field("ssl-client-subject-dn"))
}

#[test]
fn only_clients_of_the_authority_get_in() {
    let origin = Origin::echo();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let proxy = proxy(&origin, Some(asking(&ours, |_| {})));
    for versions in [TLS12, TLS13] {
        let with = |identity| Tls::new(Can { versions, identity, ..Can::default() });
        let answer = ask(&with(Some(ours.client("alice"))), &proxy);
        assert_eq!(told(&answer), (200, Some("SUCCESS".to_owned()), Some("CN=alice".to_owned())));
        assert!(answer.echoed().header("ssl-client-issuer-dn").unwrap().contains("CN=ours"));
        assert_eq!(answer.echoed().header("ssl-client-cert"), None);

        let mut shaken = with(None).connect(&proxy, "a.example");
        let answer = shaken.ask("a.example", "/");
        assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")));
        assert!(answer.text().contains("No required SSL certificate was sent"), "{}", answer.text());
        assert!(shaken.client.is_closed());

        let answer = ask(&with(Some(other.client("mallory"))), &proxy);
        assert_eq!(answer.status(), 400);
        assert!(answer.text().contains("The SSL certificate error"), "{}", answer.text());
    }
    assert_eq!(origin.accepted(), 1, "only the clients that got in were forwarded, over one connection");
}

#[test]
fn modes_decide_who_must_show_what() {
    let origin = Origin::echo();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let none = || Some("NONE".to_owned());
    let failed = || Some("FAILED:unable to verify the first certificate".to_owned());
    let success = || Some("SUCCESS".to_owned());
    for (mode, nobody_gets, ours_get, others_get) in [
        (ClientAuthMode::Optional, (200, none()), (200, success()), (400, None)),
        (ClientAuthMode::OptionalNoCa, (200, none()), (200, success()), (200, failed())),
        (ClientAuthMode::Off, (200, none()), (200, none()), (200, none())),
    ] {
        let proxy = proxy(&origin, Some(asking(&ours, |settings| settings.mode = mode)));
        for (client, expected) in
            [(nobody(), nobody_gets), (client(&ours, "alice"), ours_get), (client(&other, "mallory"), others_get)]
        {
            let (status, verify, _) = told(&ask(&client, &proxy));
            assert_eq!((status, verify), expected, "{mode:?}");
        }
    }
}

#[test]
fn endpoints_believe_only_what_we_say() {
    let origin = Origin::echo();
    let ours = Authority::new("ours");
    let proxy = proxy(&origin, Some(asking(&ours, |settings| settings.pass_certificate = true)));
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nssl-client-verify: SUCCESS\r\nssl-client-cert: forged\r\n\
                   ssl-client-subject-dn: CN=root\r\nssl-client-issuer-dn: CN=root\r\n\r\n";
    let mut shaken = client(&ours, "alice").connect(&proxy, "a.example");
    let seen = shaken.client.send(request).read().echoed();
    let all = |name: &str| {
        let fields = seen.headers.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(all("ssl-client-subject-dn"), ["CN=alice"]);
    let certificates = all("ssl-client-cert");
    assert!(certificates.len() == 1 && certificates[0].starts_with("-----BEGIN%20CERTIFICATE-----%0A"));
    let mut open = nobody().connect(&proxy, "open.example");
    let seen = open.client.send(request.replace("a.example", "open.example")).read().echoed();
    assert_eq!(seen.header("ssl-client-verify"), None);
    assert_eq!(seen.header("ssl-client-cert"), None);
}

#[test]
fn a_connection_for_another_host_is_misdirected() {
    let origin = Origin::echo();
    let ours = Authority::new("ours");
    let proxy = proxy(&origin, Some(asking(&ours, |_| {})));
    let alice = client(&ours, "alice");
    // The handshake was for a host that asks for nothing: the certificate was never shown.
    let mut open = alice.connect(&proxy, "open.example");
    assert_eq!(open.ask("a.example", "/").status(), 421);
    assert_eq!(open.ask("open.example", "/").status(), 200);
    let mut guarded = alice.connect(&proxy, "a.example");
    for host in ["a.example", "A.Example:443", "a.example."] {
        assert_eq!(guarded.ask(host, "/").status(), 200, "{host}");
    }
    assert_eq!(guarded.ask("open.example", "/").status(), 200);
    // Without a name nobody was asked, and nothing was shown.
    assert_eq!(alice.connect(&proxy, "").ask("a.example", "/").status(), 400);
}

#[test]
fn subjects_must_match_also_in_cleartext() {
    let origin = Origin::echo();
    let ours = Authority::new("ours");
    let pattern = SubjectPattern::new("CN=al(ice|bert)").unwrap();
    let proxy = proxy(&origin, Some(asking(&ours, |settings| settings.subject = Some(pattern))));
    assert_eq!(ask(&client(&ours, "alice"), &proxy).status(), 200);
    let refused = ask(&client(&ours, "bob"), &proxy);
    // Decided for the host, outside of its paths: without what those add.
    assert_eq!((refused.status(), refused.header("strict-transport-security")), (403, None));
    assert_eq!(ask(&nobody(), &proxy).status(), 400);
    assert_eq!(proxy.connect().get("/").status(), 403);
}

#[test]
fn an_error_page_stands_for_the_400() {
    let origin = Origin::echo();
    let ours = Authority::new("ours");
    let page = ErrorPage::Redirect(HeaderValue::from_static("https://help.example/cert"));
    let elsewhere = proxy(&origin, Some(asking(&ours, |settings| settings.error_page = Some(page))));
    let answer = ask(&nobody(), &elsewhere);
    assert_eq!((answer.status(), answer.header("location")), (302, Some("https://help.example/cert")));
    assert_eq!(ask(&client(&ours, "alice"), &elsewhere).status(), 200);

    let page = ErrorPage::Path(PathAndQuery::from_static("/denied?why=cert"));
    let here = proxy(&origin, Some(asking(&ours, |settings| settings.error_page = Some(page))));
    let mut shaken = nobody().connect(&here, "a.example");
    let request = "POST /secret HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    let answer = shaken.client.send(request).read();
    assert_eq!(answer.status(), 200);
    let seen = answer.echoed();
    assert_eq!(seen.start, "GET /denied?why=cert HTTP/1.1");
    assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (None, None));
    assert_eq!(seen.header("ssl-client-verify"), Some("NONE"));
    assert!(seen.body.is_empty());
    assert_eq!(ask(&client(&ours, "alice"), &here).echoed().start, "GET /x?y HTTP/1.1");
}

#[test]
fn a_resumed_session_brings_its_certificate_along() {
    let origin = Origin::echo();
    let ours = Authority::new("ours");
    let proxy = proxy(&origin, Some(asking(&ours, |_| {})));
    for versions in [TLS12, TLS13] {
        let alice = Tls::new(Can { versions, identity: Some(ours.client("alice")), ..Can::default() });
        assert_eq!(ask(&alice, &proxy).status(), 200);
        let mut again = alice.connect(&proxy, "a.example");
        assert!(again.is_resumed());
        let answer = again.ask("a.example", "/");
        assert_eq!(told(&answer), (200, Some("SUCCESS".to_owned()), Some("CN=alice".to_owned())));
    }
}

/// A session from before certificates were asked for, or from another policy, resumes nothing; with sessions kept here,
/// and with tickets under a key that stays the same.
#[test]
fn no_session_is_a_way_around() {
    let origin = Origin::echo();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let key = Tickets::SharedKey(TicketKey::new(&[7; 48]).unwrap());
    for tickets in [Tickets::Off, key] {
        let sessions = SessionSettings { tickets, ..SessionSettings::default() };
        let with = |tls: TlsSettings| Some(TlsSettings { sessions: sessions.clone(), ..tls });
        for versions in [TLS12, TLS13] {
            let proxy = proxy(&origin, with(TlsSettings::default()));
            let nobody = Tls::new(Can { versions, ..Can::default() });
            assert_eq!(ask(&nobody, &proxy).status(), 200);
            assert!(nobody.connect(&proxy, "a.example").is_resumed());

            proxy.handle.install(site(&origin, with(asking(&ours, |_| {}))));
            let mut shaken = nobody.connect(&proxy, "a.example");
            assert!(!shaken.is_resumed(), "{versions:?}");
            assert_eq!(shaken.ask("a.example", "/").status(), 400);

            // Whoever was let in by one authority is not let in by another.
            let alice = Tls::new(Can { versions, identity: Some(ours.client("alice")), ..Can::default() });
            assert_eq!(ask(&alice, &proxy).status(), 200);
            proxy.handle.install(site(&origin, with(asking(&other, |_| {}))));
            let mut shaken = alice.connect(&proxy, "a.example");
            assert!(!shaken.is_resumed(), "{versions:?}");
            assert_eq!(shaken.ask("a.example", "/").status(), 400);
        }
    }
}

#[test]
fn an_open_connection_hears_of_new_demands() {
    let origin = Origin::echo();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let proxy = proxy(&origin, None);
    let mut before = client(&ours, "alice").connect(&proxy, "a.example");
    assert_eq!(before.ask("a.example", "/").status(), 200);
    proxy.handle.install(site(&origin, Some(asking(&ours, |_| {}))));
    // This connection was never asked; a new one will be.
    assert_eq!(before.ask("a.example", "/").status(), 421);
    let mut during = client(&ours, "alice").connect(&proxy, "a.example");
    assert_eq!(during.ask("a.example", "/").status(), 200);
    proxy.handle.install(site(&origin, Some(asking(&other, |_| {}))));
    assert_eq!(during.ask("a.example", "/").status(), 400);
}
