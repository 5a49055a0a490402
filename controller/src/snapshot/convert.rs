//! API structs → model, at the border.

/// An object that cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Unconvertible {
    /// The field.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}
