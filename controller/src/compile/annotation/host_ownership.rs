//! Who else may have the hosts of an Ingress. What is listed is read where it counts, by [`ownership`].

use super::{
    super::{
        grammar::{Objection, Value},
        ownership,
        route::RouteSettings,
    },
    Annotation, Reach,
};

const NAMESPACES: Value = Value::List("names of namespaces, or `*` for all");

pub(super) const OWN: &[Annotation] = &[Annotation::new("allow-namespaces", NAMESPACES, "")
    .reach(Reach::Host)
    .doc("Namespaces that may have paths of the hosts of this Ingress, too (`--strict-host-ownership`).")
    .served(allow_namespaces)];

/// What is no name lets nobody in, and is said.
fn allow_namespaces(_: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let bad: Vec<_> = ownership::listed(text).filter(|name| !ownership::is_namespace(name)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let message = format!("{:?} is not {NAMESPACES}, separated by commas; it lets nobody in", bad.join(", "));
    Err(Objection::Partly(message))
}
