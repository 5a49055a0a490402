//! Client certificates: they guard the whole host.

use super::{
    super::{
        grammar::{self, Objection, Value},
        host_tls::ClientCertificates,
        route::RouteSettings,
    },
    Annotation, Reach, Risk,
};
use crate::snapshot::ObjectName;
use http::{HeaderValue, StatusCode, uri::PathAndQuery};
use rust_nginx_proxy::tls::{ClientAuthMode, ErrorPage, SubjectPattern};

const MODES: Value = Value::Words(&["on", "off", "optional", "optional_no_ca"]);

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("auth-tls-secret", Value::Text("`namespace/name` of a Secret"), "")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::Medium)
        .doc("The authorities that client certificates must come from (`ca.crt`), and what they have revoked (`ca.crl`).")
        .served(auth_tls_secret),
    Annotation::new("auth-tls-verify-client", MODES, "on")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::Medium)
        .doc("Whether a client certificate must be there, and be valid; 400 otherwise.")
        .served(auth_tls_verify_client),
    Annotation::new("auth-tls-verify-depth", Value::Integer, "1")
        .reach(Reach::Host)
        .checks()
        .doc("Longest chain between client certificate and authority.")
        .served(auth_tls_verify_depth),
    Annotation::new("auth-tls-error-page", Value::Text("a URL or path"), "")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::High)
        .doc("Where clients go whose certificate is missing or bad.")
        .served(auth_tls_error_page),
    Annotation::new("auth-tls-pass-certificate-to-upstream", Value::Bool, "false")
        .reach(Reach::Host)
        .checks()
        .doc("Sends the client certificate to the endpoint, in `ssl-client-cert`.")
        .served(auth_tls_pass_certificate_to_upstream),
    Annotation::new("auth-tls-match-cn", Value::Text("`CN=` and a regular expression"), "")
        .reach(Reach::Host)
        .checks()
        .risk(Risk::High)
        .doc("What the subject of the client certificate must match; 403 otherwise, also in cleartext.")
        .served(auth_tls_match_cn),
];

fn draft(settings: &mut RouteSettings) -> &mut ClientCertificates {
    settings.host_tls.client_certificates.get_or_insert_default()
}

/// Closes the whole host, as far as the annotation reaches.
fn broken(settings: &mut RouteSettings, message: &str) -> Result<(), Objection> {
    draft(settings).broken = Some(StatusCode::SERVICE_UNAVAILABLE);
    Err(Objection::Partly(format!("{message}: every path of its hosts answers 503")))
}

fn auth_tls_secret(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let name = ObjectName::parse(text);
    let missing = name.is_none();
    let client_certificates = draft(settings);
    client_certificates.secret = name;
    if missing {
        // As for a Secret that does not exist.
        client_certificates.broken.get_or_insert(StatusCode::FORBIDDEN);
        let message = format!("{text:?} is not `namespace/name`: every path of its hosts answers 403");
        return Err(Objection::Partly(message));
    }
    Ok(())
}

fn auth_tls_verify_client(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let mode = match text {
        "on" => ClientAuthMode::On,
        "off" => ClientAuthMode::Off,
        "optional" => ClientAuthMode::Optional,
        "optional_no_ca" => ClientAuthMode::OptionalNoCa,
        _ => {
            draft(settings).guards = true;
            return Err(MODES.rejects(text));
        }
    };
    let client_certificates = draft(settings);
    client_certificates.mode = mode;
    client_certificates.guards |= mode == ClientAuthMode::On;
    Ok(())
}

fn auth_tls_verify_depth(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    draft(settings).depth = grammar::count(text)?.max(1);
    Ok(())
}

fn auth_tls_error_page(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    if text.starts_with('@') {
        let message = format!("{text:?} is a location of an nginx configuration, which does not exist here; 400 stays");
        return Err(Objection::Partly(message));
    }
    let page = if text.starts_with('/') {
        text.parse::<PathAndQuery>().ok().map(ErrorPage::Path)
    } else {
        let url = text.parse::<http::Uri>().ok().filter(|url| {
            url.host().is_some_and(|host| !host.is_empty()) && matches!(url.scheme_str(), Some("http" | "https"))
        });
        url.and_then(|_| HeaderValue::from_str(text).ok()).map(ErrorPage::Redirect)
    };
    match page {
        Some(page) => {
            draft(settings).error_page = Some(page);
            if text.contains('$') {
                return Err(Objection::Partly(format!("{text:?} is used as it is: variables are not expanded in it")));
            }
            Ok(())
        }
        None => broken(settings, &format!("{text:?} is neither a URL nor a path")),
    }
}

fn auth_tls_pass_certificate_to_upstream(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match grammar::boolean(text) {
        Ok(pass) => {
            draft(settings).pass_certificate = pass;
            Ok(())
        }
        Err(_) => broken(settings, &format!("{text:?} is not {}", Value::Bool)),
    }
}

fn auth_tls_match_cn(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let pattern = text.starts_with("CN=").then(|| SubjectPattern::new(text));
    match pattern {
        Some(Ok(pattern)) => {
            let client_certificates = draft(settings);
            client_certificates.subject = Some(pattern);
            client_certificates.guards = true;
            Ok(())
        }
        Some(Err(error)) => {
            let reason = grammar::reason_of_regex(&error);
            broken(settings, &format!("{text:?} is not a regular expression without backtracking ({reason})"))
        }
        None => broken(settings, &format!("{text:?} does not begin with CN=")),
    }
}
