//! Fields of requests and responses on every route alike.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
    logging::unknown_variable,
};
use http::{HeaderName, HeaderValue, header};
use rust_nginx_proxy::{
    table::{FieldValue, Fields, Server},
    variable::Template,
};

const CONFIG_MAP: Value = Value::Text("`namespace/name` of a ConfigMap");

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "proxy-set-headers",
        CONFIG_MAP,
        "",
        "Request headers that endpoints get in place of the client's; an empty value removes.",
    )
    .served(proxy_set_headers),
    Key::new(
        "add-headers",
        CONFIG_MAP,
        "",
        "Response headers that clients get in place of the endpoint's; an empty value removes.",
    )
    .served(add_headers),
    Key::new("hide-headers", Value::List("header names"), "", "Response headers to remove.").served(hide_headers),
    Key::new("server-tokens", Value::Bool, "false", "Sends a Server header.").served(server_tokens),
    Key::new(
        "allow-backend-server-header",
        Value::Bool,
        "false",
        "Passes the endpoint's Server header; needs `server-tokens`.",
    )
    .served(allow_backend_server_header),
    Key::new("proxy-add-original-uri-header", Value::Bool, "false", "Sends X-Original-URI to endpoints.")
        .served(proxy_add_original_uri_header),
    Key::new("enable-underscores-in-headers", Value::Bool, "false", "Keeps headers with `_` in their names.")
        .served(enable_underscores_in_headers),
    Key::new("ignore-invalid-headers", Value::Bool, "true", "Drops headers with odd names.")
        .served(ignore_invalid_headers),
];

/// Fields that frame a message or belong to one connection.
const NOT_TO_SET: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn proxy_set_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let (fields, objection) = referred(draft, text, "sent to endpoints without them, also where clients send some")?;
    draft.settings.headers.request = fields;
    objection.map_or(Ok(()), Err)
}

fn add_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let (fields, objection) = referred(draft, text, "answered without them")?;
    draft.settings.headers.response = fields;
    objection.map_or(Ok(()), Err)
}

/// The fields in the ConfigMap that a key names. A field that cannot be set as asked is removed instead: whoever relies on
/// its value must not get one from somebody else.
fn referred(draft: &mut Draft, text: &str, instead: &str) -> Result<(Fields, Option<Objection>), Objection> {
    let Some(data) = draft.refer(text)? else { return Ok((Fields::default(), None)) };
    let (mut fields, mut bad, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in data {
        let parsed = HeaderName::try_from(name.as_str()).ok().filter(|name| !NOT_TO_SET.contains(name));
        let Some(parsed) = parsed else {
            bad.push(format!("{name}: no header of this name can be set"));
            continue;
        };
        let value = self::value(value).unwrap_or_else(|why| {
            bad.push(format!("{name}: {why}"));
            HeaderValue::from_static("").into()
        });
        if let FieldValue::Varying(template) = &value {
            unknown.extend(
                template.unknown().map(|variable| format!("{name}: {}", unknown_variable(variable, Template::known()))),
            );
        }
        fields.push((parsed, value));
    }
    let bad = (!bad.is_empty()).then(|| format!("{}; everything is {instead}", bad.join("; ")));
    let unknown = (!unknown.is_empty()).then(|| unknown.join("; "));
    let objections: Vec<_> = bad.into_iter().chain(unknown).collect();
    let objection = (!objections.is_empty())
        .then(|| Objection::Partly(format!("in ConfigMap {text}, {}", objections.join("; moreover, "))));
    Ok((Fields::new(fields), objection))
}

fn value(text: &str) -> Result<FieldValue, String> {
    let fixed = HeaderValue::from_str(text).map_err(|_| "invalid value".to_owned())?;
    if !text.contains('$') {
        return Ok(fixed.into());
    }
    Template::parse(text).map(FieldValue::Varying).map_err(|error| format!("it has {error}"))
}

fn hide_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let (mut names, mut bad) = (Vec::new(), Vec::new());
    for item in grammar::list(text) {
        match HeaderName::try_from(item) {
            Ok(name) => names.push(name),
            Err(_) => bad.push(item),
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    draft.settings.headers.hidden = names.into();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Objection::Partly(format!("{:?} is not a header name; the rest holds", bad.join(", "))))
}

fn server_tokens(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.server.own = grammar::boolean(text)?;
    Ok(())
}

fn allow_backend_server_header(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.server.endpoint = grammar::boolean(text)?;
    Ok(())
}

fn proxy_add_original_uri_header(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.headers.original_uri = grammar::boolean(text)?;
    Ok(())
}

fn enable_underscores_in_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.headers.names.underscores = grammar::boolean(text)?;
    Ok(())
}

fn ignore_invalid_headers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.headers.names.odd = !grammar::boolean(text)?;
    Ok(())
}

/// The two keys that decide about one field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerDraft {
    own: bool,
    endpoint: bool,
}

// === impl ServerDraft ===

impl ServerDraft {
    pub(super) fn finish(self) -> Server {
        match (self.own, self.endpoint) {
            (false, _) => Server::Nothing,
            (true, false) => Server::Own,
            (true, true) => Server::Endpoint,
        }
    }
}
