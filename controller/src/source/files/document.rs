//! Bytes of a file → its documents.
//!
//! Documents are cut apart before they are parsed, so that a broken one does not take the others with it. A line that
//! begins with `---` or `...` ends a document wherever it stands (YAML 1.2 §9.1.4), also within a block scalar.

use serde_json::Value;
use std::{fmt, sync::Arc};

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// Where it stands.
    pub(super) place: Place,
    /// Its text.
    pub(super) text: &'a str,
    json: bool,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, relative to the directory.
    pub(super) file: Arc<str>,
    /// Which document of the file, from 1.
    pub(super) document: usize,
    /// Line in the file, from 1.
    pub(super) line: usize,
}

/// What is wrong with a document.
#[derive(Debug)]
pub(super) struct Unparsable {
    /// Where.
    pub(super) place: Place,
    /// What.
    pub(super) message: String,
}

/// The documents of a file, empty ones left out.
pub(super) fn split<'a>(file: &Arc<str>, text: &'a str) -> Vec<Document<'a>> {
    let json = file.ends_with(".json");
    if json {
        let place = Place { file: file.clone(), document: 1, line: 1 };
        return if text.trim().is_empty() { Vec::new() } else { vec![Document { place, text, json }] };
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let mut add = |start: usize, end: usize, line: usize| {
        let text = &text[start..end];
        if has_content(text) {
            let place = Place { file: file.clone(), document: documents.len() + 1, line };
            documents.push(Document { place, text, json });
        }
    };
    let (mut start, mut start_line) = (0, 1);
    let mut position = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") || is_marker(line, "...") {
            add(start, position, start_line);
            // What follows `---` on its line belongs to the document; after `...` only a comment may follow.
            let skip = if is_marker(line, "...") { line.len() } else { 0 };
            (start, start_line) = (position + skip, index + 1 + usize::from(skip > 0));
        }
        position += line.len();
    }
    add(start, text.len(), start_line);
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// False for comments, blank lines, directives and the marker itself.
fn has_content(text: &str) -> bool {
    text.lines().any(|line| {
        let line = if is_marker(line, "---") { &line[3..] } else { line };
        let trimmed = line.trim();
        !trimmed.is_empty() && !trimmed.starts_with('#') && !line.starts_with('%')
    })
}

/// The dump of a cluster is one list of any length; only what multiplies itself by references stays limited.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
        },
    }
}

// === impl Document ===

impl Document<'_> {
    /// The document as a tree; types are checked later, by the kind that it says it is.
    pub(super) fn parse(&self) -> Result<Value, Unparsable> {
        if self.json {
            return serde_json::from_str(self.text).map_err(|error| Unparsable {
                place: Place { line: error.line().max(1), ..self.place.clone() },
                message: error.to_string(),
            });
        }
        serde_saphyr::from_str_with_options(self.text, options()).map_err(|error| self.unparsable(&error))
    }

    /// What is wrong with the document as a value of some type, when YAML can tell the line; `None` when it cannot, or
    /// when it is more lenient than JSON (an unquoted number where a string belongs).
    pub(super) fn locate<T: serde::de::DeserializeOwned>(&self) -> Option<Unparsable> {
        if self.json {
            return None;
        }
        serde_saphyr::from_str_with_options::<T>(self.text, options()).err().map(|error| self.unparsable(&error))
    }

    fn unparsable(&self, error: &serde_saphyr::Error) -> Unparsable {
        let error = error.without_snippet();
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok()).unwrap_or(1).max(1);
        // The message repeats its position, counted from the start of the document.
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
        // Advice for whoever calls the library.
        let advice = [", set DuplicateKeyPolicy", "; use Option<"];
        let message =
            advice.iter().fold(message, |text, advice| text.split_once(advice).map_or(text, |(before, _)| before));
        Unparsable {
            place: Place { line: self.place.line + line - 1, ..self.place.clone() },
            message: message.to_owned(),
        }
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}, line {}", self.file, self.document, self.line)
    }
}
