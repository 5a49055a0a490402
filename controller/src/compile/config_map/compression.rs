//! Compression of responses. The keys of zstd are ours, made after those of brotli.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};
use rust_nginx_proxy::table::{CodingSettings, Compression, UserAgents};
use std::sync::Arc;

const TYPES: Value = Value::List("media types, separated by blanks");
const DEFAULT_TYPES: &str = "application/atom+xml application/javascript application/x-javascript application/json \
    application/rss+xml application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json \
    application/xhtml+xml application/xml font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain \
    text/x-component";
const WHICH: &str = "Which types besides text/html; `*` is any.";
const FROM: &str = "From which length on, in bytes.";

pub(super) const KEYS: &[Key] = &[
    Key::new("use-gzip", Value::Bool, "false", "Compresses responses with gzip.").served(use_gzip),
    Key::new("gzip-level", Value::Integer, "1", "How hard, from 1 to 9.").served(gzip_level),
    Key::new("gzip-min-length", Value::Integer, "256", FROM).served(gzip_min_length),
    Key::new("gzip-types", TYPES, DEFAULT_TYPES, WHICH).served(gzip_types),
    Key::new(
        "gzip-disable",
        Value::Text("a regular expression"),
        "",
        "User-Agents that get no response with gzip, without regard to case.",
    )
    .served(gzip_disable),
    Key::new("enable-brotli", Value::Bool, "false", "Compresses responses with brotli.").served(enable_brotli),
    Key::new("brotli-level", Value::Integer, "4", "How hard, from 0 to 11.").served(brotli_level),
    Key::new("brotli-min-length", Value::Integer, "20", FROM).served(brotli_min_length),
    Key::new("brotli-types", TYPES, DEFAULT_TYPES, WHICH).served(brotli_types),
    Key::new("enable-zstd", Value::Bool, "false", "Compresses responses with zstd.").served(enable_zstd),
    Key::new("zstd-level", Value::Integer, "3", "How hard, from 1 to 19.").served(zstd_level),
    Key::new("zstd-min-length", Value::Integer, "20", FROM).served(zstd_min_length),
    Key::new("zstd-types", TYPES, DEFAULT_TYPES, WHICH).served(zstd_types),
];

/// What the keys say about each coding, whether it is on or not.
pub(super) struct CompressionDraft {
    gzip: CodingDraft,
    brotli: CodingDraft,
    zstd: CodingDraft,
    not_for: Option<UserAgents>,
}

struct CodingDraft {
    on: bool,
    settings: CodingSettings,
}

fn use_gzip(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.gzip.on = grammar::boolean(text)?;
    Ok(())
}

fn gzip_level(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.gzip.settings.level = level(text, 1, 9)?;
    Ok(())
}

fn gzip_min_length(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.gzip.settings.min_length = grammar::count(text)?.into();
    Ok(())
}

fn gzip_types(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.gzip.settings.types = types(text)?;
    Ok(())
}

fn gzip_disable(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let expression = || {
        UserAgents::new(text)
            .map_err(|error| Objection::Malformed(format!("{text:?}: {}", grammar::reason_of_regex(&error))))
    };
    draft.compression.not_for = if text.is_empty() { None } else { Some(expression()?) };
    Ok(())
}

fn enable_brotli(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.brotli.on = grammar::boolean(text)?;
    Ok(())
}

fn brotli_level(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.brotli.settings.level = level(text, 0, 11)?;
    Ok(())
}

fn brotli_min_length(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.brotli.settings.min_length = grammar::count(text)?.into();
    Ok(())
}

fn brotli_types(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.brotli.settings.types = types(text)?;
    Ok(())
}

fn enable_zstd(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.zstd.on = grammar::boolean(text)?;
    Ok(())
}

fn zstd_level(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.zstd.settings.level = level(text, 1, 19)?;
    Ok(())
}

fn zstd_min_length(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.zstd.settings.min_length = grammar::count(text)?.into();
    Ok(())
}

fn zstd_types(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.compression.zstd.settings.types = types(text)?;
    Ok(())
}

fn level(text: &str, least: u32, most: u32) -> Result<u32, Objection> {
    let level = grammar::count(text)?;
    if (least..=most).contains(&level) {
        return Ok(level);
    }
    Err(Objection::Malformed(format!("{text:?} is not from {least} to {most}")))
}

/// ingress-nginx separates them by blanks; commas are an easy mistake.
fn types(text: &str) -> Result<Arc<[Box<str>]>, Objection> {
    let items = text.split([' ', '\t', '\n', ',']).filter(|item| !item.is_empty());
    let types: Vec<Box<str>> = items.map(|item| item.to_ascii_lowercase().into()).collect();
    match types.iter().find(|item| ***item != *"*" && !item.contains('/')) {
        Some(bad) => Err(Objection::Malformed(format!("{bad:?} is not a media type"))),
        None => Ok(types.into()),
    }
}

// === impl CompressionDraft ===

impl CompressionDraft {
    pub(super) fn finish(self) -> Compression {
        Compression {
            gzip: self.gzip.finish(),
            brotli: self.brotli.finish(),
            zstd: self.zstd.finish(),
            not_for: self.not_for,
        }
    }
}

impl Default for CompressionDraft {
    fn default() -> Self {
        let coding = |level, min_length| {
            let types = Compression::TYPES.map(Into::into).into();
            CodingDraft { on: false, settings: CodingSettings { level, min_length, types } }
        };
        Self { gzip: coding(1, 256), brotli: coding(4, 20), zstd: coding(3, 20), not_for: None }
    }
}

// === impl CodingDraft ===

impl CodingDraft {
    fn finish(self) -> Option<CodingSettings> {
        self.on.then_some(self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_default_is_the_one_that_holds() {
        let declared = types(DEFAULT_TYPES).expect("well formed");
        assert_eq!(declared, CompressionDraft::default().gzip.settings.types);
    }
}
