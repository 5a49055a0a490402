//! What is spoken to the endpoints.

use super::{
    super::{
        grammar::{Objection, Value},
        route::RouteSettings,
    },
    Annotation, Risk,
};
use http::StatusCode;
use rust_nginx_proxy::table::{Protocol, ProtocolChoice};

const PROTOCOLS: Value = Value::Words(&["HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP", "FCGI"]);

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("backend-protocol", PROTOCOLS, "HTTP")
        .doc("The protocol of the endpoints; AUTO_HTTP is that of the client's connection. Without it, appProtocol of the Service port counts.")
        .served(backend_protocol),
    Annotation::new("proxy-http-version", Value::Words(&["1.0", "1.1"]), "1.1").doc("HTTP version towards endpoints."),
    Annotation::new("connection-proxy-header", Value::Words(&["close", "keep-alive"]), "")
        .doc("A fixed Connection header towards endpoints."),
    Annotation::new("fastcgi-index", Value::Text("a file name"), "")
        .risk(Risk::Medium)
        .doc("With FCGI: added to paths that end with a slash."),
    Annotation::new("fastcgi-params-configmap", Value::Text("the name of a ConfigMap"), "")
        .risk(Risk::Medium)
        .doc("With FCGI: further parameters."),
];

fn backend_protocol(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let choice = match text.to_ascii_uppercase().as_str() {
        "HTTP" => ProtocolChoice::Fixed(Protocol::Http1),
        "HTTPS" => ProtocolChoice::Fixed(Protocol::Https1),
        "GRPC" => ProtocolChoice::Fixed(Protocol::Grpc),
        "GRPCS" => ProtocolChoice::Fixed(Protocol::Grpcs),
        "AUTO_HTTP" => ProtocolChoice::AutoHttp,
        "FCGI" => {
            // What speaks FastCGI would not understand us.
            settings.refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
            let message = "FastCGI is not served by this version: every path of the Ingress answers 503";
            return Err(Objection::Partly(message.to_owned()));
        }
        _ => return Err(Objection::Malformed(format!("{text:?} is not {PROTOCOLS}"))),
    };
    settings.policy.protocol = Some(choice);
    Ok(())
}
