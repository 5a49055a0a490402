//! TLS to the endpoints.

use super::{
    super::{
        cipher_list,
        grammar::{self, Objection, Value},
        proxy_ssl::ProxySsl,
        route::RouteSettings,
    },
    Annotation, Reach, Risk,
};
use crate::snapshot::ObjectName;
use rust_nginx_proxy::tls::{TlsVersions, UpstreamTlsSettings};

const ON_OFF: Value = Value::Words(&["on", "off"]);

const VERSIONS: &str = "TLSv1.2 TLSv1.3";

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("proxy-ssl-secret", Value::Text("`namespace/name` of a Secret"), "")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::Medium)
        .doc("Client certificate for the endpoints (`tls.crt`, `tls.key`), and the authorities that they are checked against (`ca.crt`). Without it the other `proxy-ssl-*` have no effect.")
        .served(proxy_ssl_secret),
    Annotation::new("proxy-ssl-verify", ON_OFF, "off")
        .reach(Reach::Host)
        .checks()
        .doc("Whether certificates of endpoints are checked; 502 otherwise.")
        .served(proxy_ssl_verify),
    Annotation::new("proxy-ssl-verify-depth", Value::Integer, "1")
        .reach(Reach::Host)
        .checks()
        .doc("Longest chain between an endpoint's certificate and its authority.")
        .served(proxy_ssl_verify_depth),
    Annotation::new("proxy-ssl-name", Value::Text("a host name"), "")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::High)
        .doc("The name that certificates of endpoints must carry, also sent as SNI.")
        .served(proxy_ssl_name),
    Annotation::new("proxy-ssl-server-name", ON_OFF, "off")
        .reach(Reach::Host)
        .checks()
        .doc("Whether a server name is sent to endpoints.")
        .served(proxy_ssl_server_name),
    Annotation::new("proxy-ssl-protocols", Value::List("`TLSv1.2` and `TLSv1.3`"), VERSIONS)
        .reach(Reach::Host)
        .checks()
        .doc("TLS versions towards endpoints.")
        .served(proxy_ssl_protocols),
    Annotation::new("proxy-ssl-ciphers", Value::Text("an OpenSSL cipher list"), "DEFAULT")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::Medium)
        .doc("Cipher suites of TLS 1.2 towards endpoints.")
        .served(proxy_ssl_ciphers),
];

fn draft(settings: &mut RouteSettings) -> &mut ProxySsl {
    settings.proxy_ssl.get_or_insert_default()
}

fn on_off(text: &str) -> Result<bool, Objection> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(ON_OFF.rejects(text)),
    }
}

fn broken(settings: &mut RouteSettings, message: &str) -> Result<(), Objection> {
    draft(settings).broken = true;
    Err(Objection::Partly(format!("{message}: every path of the Ingress answers 503")))
}

/// Without a Secret it would have had no effect.
fn broken_detail(settings: &mut RouteSettings, message: &str) -> Result<(), Objection> {
    draft(settings).broken_detail = true;
    Err(Objection::Partly(format!("{message}: with proxy-ssl-secret, every path of the Ingress answers 503")))
}

fn proxy_ssl_secret(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match ObjectName::parse(text) {
        Some(name) => {
            draft(settings).secret = Some(name);
            Ok(())
        }
        None => broken(settings, &format!("{text:?} is not `namespace/name`")),
    }
}

/// A value that nobody understands may have meant `on`.
fn proxy_ssl_verify(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match on_off(text) {
        Ok(verify) => {
            draft(settings).verify = verify;
            Ok(())
        }
        Err(_) => broken(settings, &format!("{text:?} is not {ON_OFF}")),
    }
}

fn proxy_ssl_verify_depth(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    draft(settings).depth = Some(grammar::count(text)?.max(1));
    Ok(())
}

fn proxy_ssl_name(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match UpstreamTlsSettings::parse_name(text) {
        Ok(name) => {
            draft(settings).name = Some(name);
            Ok(())
        }
        Err(error) => broken_detail(settings, &format!("{text:?} is {error}")),
    }
}

fn proxy_ssl_server_name(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    draft(settings).send_name = on_off(text)?;
    Ok(())
}

fn proxy_ssl_protocols(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let mut versions = TlsVersions { tls12: false, tls13: false };
    let mut others = Vec::new();
    for word in text.split_ascii_whitespace() {
        match word {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            _ => others.push(word),
        }
    }
    let others = others.join(", ");
    if !versions.tls12 && !versions.tls13 {
        return broken_detail(settings, &format!("{others} is none of {VERSIONS}"));
    }
    draft(settings).versions = Some(versions);
    if others.is_empty() {
        return Ok(());
    }
    Err(Objection::Partly(format!("{others} cannot be served, only {VERSIONS} can; the rest holds")))
}

fn proxy_ssl_ciphers(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let (suites, objection) = cipher_list::parse(text)?;
    draft(settings).cipher_suites = Some(suites);
    objection.map_or(Ok(()), Err)
}

/// ConfigMap only.
pub(in crate::compile) fn proxy_ssl_location_only(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.proxy_ssl_location_only = grammar::boolean(text)?;
    Ok(())
}
