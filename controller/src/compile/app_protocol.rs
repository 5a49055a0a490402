//! `appProtocol` of a Service port → what is spoken to its endpoints.
//!
//! ingress-nginx ignores the field. Here it counts where `backend-protocol` is absent, because it says the same thing in
//! the place that Kubernetes has for it (KEP-1422, KEP-3726), and `--ignore-app-protocol` switches it off.

use crate::{compile::Options, snapshot::ServicePort};
use rust_nginx_proxy::table::Protocol;

/// What is spoken to the endpoints of a port.
pub(super) fn of(port: &ServicePort, options: &Options) -> Protocol {
    if options.flags.ignore_app_protocol {
        return Protocol::Http1;
    }
    port.app_protocol.as_deref().map_or(Protocol::Http1, parse)
}

/// IANA names and those of KEP-3726, in any case, as names of services are compared (RFC 6335 §5.1). A value that means
/// nothing here, such as `tcp` or a vendor's own, is HTTP/1.1: the field is for everybody, and most read it for
/// something else.
fn parse(text: &str) -> Protocol {
    const NAMES: [(&str, Protocol); 7] = [
        ("http", Protocol::Http1),
        ("https", Protocol::Https1),
        ("kubernetes.io/h2c", Protocol::H2c),
        ("kubernetes.io/ws", Protocol::Http1),
        ("kubernetes.io/wss", Protocol::Https1),
        ("grpc", Protocol::Grpc),
        ("grpcs", Protocol::Grpcs),
    ];
    let known = NAMES.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    known.map_or(Protocol::Http1, |(_, protocol)| protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_mean_what_they_say_and_all_others_http() {
        for (text, protocol) in [
            ("http", Protocol::Http1),
            ("HTTPS", Protocol::Https1),
            ("kubernetes.io/h2c", Protocol::H2c),
            ("kubernetes.io/ws", Protocol::Http1),
            ("kubernetes.io/wss", Protocol::Https1),
            ("grpc", Protocol::Grpc),
            ("grpcs", Protocol::Grpcs),
            ("h2c", Protocol::Http1),
            ("mysql", Protocol::Http1),
            ("example.com/own", Protocol::Http1),
            ("", Protocol::Http1),
        ] {
            assert_eq!(parse(text), protocol, "{text}");
        }
    }

    #[test]
    fn the_switch_turns_the_field_off() {
        let port = ServicePort {
            name: "web".into(),
            port: 80,
            target_number: None,
            tcp: true,
            app_protocol: Some("grpcs".into()),
        };
        assert_eq!(of(&port, &super::super::tests::options("")), Protocol::Grpcs);
        assert_eq!(of(&port, &super::super::tests::options("--ignore-app-protocol")), Protocol::Http1);
        let unset = ServicePort { app_protocol: None, ..port };
        assert_eq!(of(&unset, &super::super::tests::options("")), Protocol::Http1);
    }
}
