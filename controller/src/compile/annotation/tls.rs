//! TLS with the clients of a host.

use super::{
    super::{
        cipher_list,
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Annotation, Reach,
};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("ssl-ciphers", Value::Text("an OpenSSL cipher list"), "")
        .reach(Reach::Host)
        .doc(
            "Cipher suites of TLS 1.2 towards clients; the oldest Ingress of the host that has the annotation decides.",
        )
        .served(ssl_ciphers),
    Annotation::new("ssl-prefer-server-ciphers", Value::Bool, "true")
        .reach(Reach::Host)
        .doc("Whether the order of the server's suites counts.")
        .served(ssl_prefer_server_ciphers),
];

fn ssl_ciphers(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let (suites, objection) = cipher_list::parse_closed(text);
    settings.host_tls.cipher_suites = Some(suites);
    objection.map_or(Ok(()), Err)
}

fn ssl_prefer_server_ciphers(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.host_tls.prefer_own_order = Some(grammar::boolean(text)?);
    Ok(())
}
