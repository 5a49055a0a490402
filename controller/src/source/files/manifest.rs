//! Documents → objects of the kinds that we read, and findings about the rest.

use super::document::{self, Document, Place, Unparsable};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{
        ClassConfig, ConfigMap, EndpointSlice, Ingress, IngressClass, ObjectName, Secret, Service, Unconvertible,
    },
};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// What a file holds.
#[derive(Debug)]
pub(super) enum Entry {
    /// An object, and where it stands.
    Object(Place, Object),
    /// Something to say.
    Finding(Diagnostic),
    /// A ConfigMap that cannot be read, which may guard everything; `None` where it may be any object.
    Unreadable(Option<ObjectName>, Diagnostic),
}

/// An object of a kind that we read.
#[derive(Debug)]
pub(super) enum Object {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    ClassConfig(Arc<ClassConfig>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    /// Name and labels of a Namespace.
    Namespace(Arc<str>, Arc<BTreeMap<String, String>>),
}

/// Everything in a file.
pub(super) fn parse(file: &Arc<str>, content: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let line = 1 + content[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let place = Place { file: file.clone(), document: 1, line };
            let error = Unparsable { place, message: "the file is not UTF-8".to_owned() };
            entries.push(Entry::Unreadable(None, unparsable(error)));
            return entries;
        }
    };
    for document in document::split(file, text) {
        match document.parse() {
            Ok(Value::Null) => {}
            Ok(value) => read(&document, value, "", &mut entries),
            Err(error) => entries.push(Entry::Unreadable(None, unparsable(error))),
        }
    }
    entries
}

/// Reads one object, or each object of a list; `at` is the path of the object within the document.
fn read(document: &Document<'_>, mut value: Value, at: &str, entries: &mut Vec<Entry>) {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        let message = if value.is_object() {
            format!("{at}apiVersion and kind are required")
        } else {
            format!("{at}the document is no object")
        };
        entries.push(Entry::Finding(unparsable(Unparsable { place: document.place.clone(), message })));
        return;
    }
    match (&*api_version, &*kind) {
        ("networking.k8s.io/v1", "Ingress") => {
            convert::<networking::Ingress, _>(document, value, at, Object::Ingress, entries);
        }
        ("networking.k8s.io/v1", "IngressClass") => {
            convert::<networking::IngressClass, _>(document, value, at, Object::IngressClass, entries);
        }
        ("rust-nginx.io/v1alpha1", "IngressClassConfig") => {
            convert::<rust_nginx_crds::IngressClassConfig, _>(document, value, at, Object::ClassConfig, entries);
        }
        ("v1", "Service") => convert::<core::Service, _>(document, value, at, Object::Service, entries),
        ("v1", "Secret") => convert::<core::Secret, _>(document, value, at, Object::Secret, entries),
        ("v1", "ConfigMap") => convert::<core::ConfigMap, _>(document, value, at, Object::ConfigMap, entries),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            convert::<discovery::EndpointSlice, _>(document, value, at, Object::EndpointSlice, entries);
        }
        ("v1", "Namespace") => {
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let labels = value.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
            let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            let object = Object::Namespace(name.into(), Arc::new(labels.collect()));
            entries.push(Entry::Object(document.place.clone(), object));
        }
        (_, list) if list.ends_with("List") && value.get("items").is_some_and(Value::is_array) => {
            let items = value.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
            let item_kind = list.strip_suffix("List").unwrap_or_default();
            for (index, mut item) in items.into_iter().enumerate() {
                // The items of a typed list need not repeat their type.
                if let Some(item) = item.as_object_mut().filter(|_| !item_kind.is_empty()) {
                    item.entry("apiVersion").or_insert_with(|| api_version.clone().into());
                    item.entry("kind").or_insert_with(|| item_kind.into());
                }
                read(document, item, &format!("{at}items[{index}]."), entries);
            }
        }
        (_, "Ingress" | "IngressClass" | "IngressClassConfig" | "EndpointSlice") => {
            let wanted = match &*kind {
                "EndpointSlice" => "discovery.k8s.io/v1",
                "IngressClassConfig" => "rust-nginx.io/v1alpha1",
                _ => "networking.k8s.io/v1",
            };
            let message = format!("{at}apiVersion {api_version:?} of {kind} is not read, only {wanted:?} is");
            entries.push(Entry::Finding(Diagnostic::warning(
                file_of(&document.place),
                Reason::InvalidKind,
                field(&document.place),
                message,
            )));
        }
        _ if is_kubernetes(&api_version) => {}
        _ => {
            let message = format!("{at}kind {kind} of {api_version} is not read");
            entries.push(Entry::Finding(Diagnostic::info(
                file_of(&document.place),
                Reason::InvalidKind,
                field(&document.place),
                message,
            )));
        }
    }
}

/// Kinds of Kubernetes itself stand in the same files as a matter of course; they need no word.
fn is_kubernetes(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

fn convert<A, M>(document: &Document<'_>, value: Value, at: &str, wrap: fn(Arc<M>) -> Object, entries: &mut Vec<Entry>)
where
    A: DeserializeOwned + Serialize,
    M: TryFrom<A, Error = Unconvertible>,
{
    let api: A = match serde_json::from_value(value.clone()) {
        Ok(api) => api,
        Err(error) => {
            let located = if at.is_empty() { document.locate::<A>() } else { None };
            let Unparsable { place, message } =
                located.unwrap_or_else(|| Unparsable { place: document.place.clone(), message: error.to_string() });
            let message = mismatch::<A>(&value, &message);
            let error = Unparsable { place, message: format!("{at}{}: {message}", identity(&value)) };
            entries.push(unreadable(&value, error));
            return;
        }
    };
    // What comes out again is what was understood.
    let mut unknown = Vec::new();
    if let Ok(understood) = serde_json::to_value(&api) {
        unknown_fields(&value, &understood, "", &mut unknown);
    }
    match M::try_from(api) {
        Ok(object) => {
            let object = wrap(Arc::new(object));
            for field in unknown {
                let message = format!("no such field; it is ignored ({})", document.place);
                let reference = object.reference();
                entries.push(Entry::Finding(Diagnostic::warning(reference, Reason::UnknownKey, field, message)));
            }
            entries.push(Entry::Object(document.place.clone(), object));
        }
        Err(error) => {
            let message = format!("{at}{}: {error}", identity(&value));
            entries.push(unreadable(&value, Unparsable { place: document.place.clone(), message }));
        }
    }
}

/// What does not fit the type of a field, with the path of that field, and in the words of the API.
fn mismatch<A: DeserializeOwned>(value: &Value, message: &str) -> String {
    let path = serde_path_to_error::deserialize::<_, A>(value).err().map(|error| error.path().to_string());
    let message = ["i32", "i64"]
        .iter()
        .fold(message.to_owned(), |text, name| text.replace(&format!("expected {name}"), "expected a whole number"));
    match path.as_deref() {
        None | Some(".") => message,
        Some(path) if is_unquoted(&message) => format!("{path}: {message}: it belongs in quotes"),
        Some(path) => format!("{path}: {message}"),
    }
}

/// Text that YAML takes for something else.
fn is_unquoted(message: &str) -> bool {
    let found = message.strip_prefix("invalid type: ").filter(|_| message.ends_with("expected a string"));
    found.is_some_and(|found| ["boolean", "integer", "floating point"].iter().any(|kind| found.starts_with(kind)))
}

/// Fields of `given` that are not in `understood`, by path. Nulls stand for absence and drop out.
fn unknown_fields(given: &Value, understood: &Value, at: &str, unknown: &mut Vec<String>) {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match understood.get(name) {
                    Some(known) => unknown_fields(value, known, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(understood)) => {
            for (index, (value, known)) in given.iter().zip(understood).enumerate() {
                unknown_fields(value, known, &format!("{at}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// `Ingress default/web`, from a tree that may be anything.
fn identity(value: &Value) -> String {
    let text = |name: &str| value.pointer(name).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    match (text("/metadata/namespace"), text("/metadata/name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        (_, None) => format!("{kind} without a name"),
    }
}

/// An object whose kind is known and which says something that it cannot say.
fn unreadable(value: &Value, error: Unparsable) -> Entry {
    let text = |name: &str| value.pointer(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("/kind"), text("/metadata/name")) {
        (Some("ConfigMap"), Some(name)) => {
            let namespace = text("/metadata/namespace").unwrap_or("default");
            Entry::Unreadable(Some(ObjectName::new(namespace, name)), unparsable(error))
        }
        _ => Entry::Finding(unparsable(error)),
    }
}

fn unparsable(error: Unparsable) -> Diagnostic {
    let Unparsable { place, message } = error;
    Diagnostic::warning(file_of(&place), Reason::Unparsable, field(&place), message)
}

fn file_of(place: &Place) -> ObjectRef {
    ObjectRef::named(ObjectKind::File, place.file.clone())
}

fn field(place: &Place) -> String {
    format!("document {}, line {}", place.document, place.line)
}

// === impl Object ===

impl Object {
    /// What findings about it name.
    pub(super) fn reference(&self) -> ObjectRef {
        match self {
            Self::Ingress(object) => ObjectRef::namespaced(ObjectKind::Ingress, &object.name),
            Self::IngressClass(object) => ObjectRef::named(ObjectKind::IngressClass, object.name.clone()),
            Self::ClassConfig(object) => ObjectRef::named(ObjectKind::IngressClassConfig, object.name.clone()),
            Self::Service(object) => ObjectRef::namespaced(ObjectKind::Service, &object.name),
            Self::EndpointSlice(object) => ObjectRef::namespaced(ObjectKind::EndpointSlice, &object.name),
            Self::Secret(object) => ObjectRef::namespaced(ObjectKind::Secret, &object.name),
            Self::ConfigMap(object) => ObjectRef::namespaced(ObjectKind::ConfigMap, &object.name),
            Self::Namespace(name, _) => ObjectRef::named(ObjectKind::Resource, format!("namespaces/{name}")),
        }
    }
}
