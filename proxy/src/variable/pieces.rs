//! Text around variables: the grammar that all templates share. Must not know what a variable stands for.

use super::BadTemplate;
use std::fmt;

/// What a text with variables consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pieces<V>(Box<[Piece<V>]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<V> {
    Text(Box<str>),
    Variable(V),
    /// None of those that are known here.
    Unknown(Box<str>),
}

/// A vocabulary.
pub(super) trait Vocabulary: Sized {
    /// The variable of a name in lower case.
    fn named(name: &str) -> Option<Self>;

    /// Its name.
    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

// === impl Pieces ===

impl<V: Vocabulary> Pieces<V> {
    /// Reads `$name`, `${name}` and the text around them. Names are compared without case, as nginx does.
    pub(super) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            if dollar > 0 {
                pieces.push(Piece::Text(rest[..dollar].into()));
            }
            rest = &rest[dollar + 1..];
            let name;
            if let Some(braced) = rest.strip_prefix('{') {
                let end = braced.find('}').ok_or(BadTemplate::Unclosed)?;
                (name, rest) = (&braced[..end], &braced[end + 1..]);
            } else {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (name, rest) = rest.split_at(end);
            }
            if name.is_empty() || name.contains(['$', '{']) {
                return Err(BadTemplate::NoName);
            }
            let name = name.to_ascii_lowercase();
            pieces.push(V::named(&name).map_or_else(|| Piece::Unknown(name.into()), Piece::Variable));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces.into()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece<V>> {
        self.0.iter()
    }

    /// Names that no variable has.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Unknown(name) => Some(&**name),
            Piece::Variable(_) | Piece::Text(_) => None,
        })
    }
}

impl<V> Default for Pieces<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V: Vocabulary> fmt::Display for Pieces<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Variable(variable) => {
                f.write_str("${")?;
                variable.write_name(f)?;
                f.write_str("}")
            }
            Piece::Unknown(name) => write!(f, "${{{name}}}"),
        })
    }
}
