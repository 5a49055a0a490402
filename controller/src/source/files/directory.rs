//! Which files there are.

use crate::diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Deeper than any sensible tree, and a stop for symbolic links in a circle.
const MAX_DEPTH: usize = 16;

/// The files of a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By their name relative to the directory, with `/`.
    pub(super) files: BTreeMap<Arc<str>, PathBuf>,
    /// What could not be listed below it.
    pub(super) problems: Vec<Diagnostic>,
}

/// What tells that a file has changed without reading it.
pub(super) type Fingerprint = Vec<(Arc<str>, Option<(std::time::SystemTime, u64)>)>;

/// All manifests in and below the directory. Hidden entries are none: editors' temporary files, and the directories
/// behind the symbolic links of a mounted ConfigMap.
pub(super) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    descend(directory, "", 0, &mut listing)?;
    Ok(listing)
}

/// Times and lengths of all manifests.
pub(super) fn fingerprint(directory: &Path) -> Option<Fingerprint> {
    let listing = list(directory).ok()?;
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    Some(listing.files.into_iter().map(|(name, path)| (name, stamp(&path))).collect())
}

fn descend(directory: &Path, prefix: &str, depth: usize, listing: &mut Listing) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let path = entry.path();
        let name = format!("{prefix}{name}");
        // Follows symbolic links; one that leads nowhere is no file.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            let result = if depth < MAX_DEPTH {
                descend(&path, &format!("{name}/"), depth + 1, listing)
            } else {
                Err(io::Error::other(format!("it is more than {MAX_DEPTH} levels deep")))
            };
            if let Err(error) = result {
                let object = ObjectRef::named(ObjectKind::File, name);
                let message = format!("the directory cannot be read: {error}");
                listing.problems.push(Diagnostic::warning(object, Reason::ResourceUnavailable, "", message));
            }
        } else if metadata.is_file() && is_manifest(&path) {
            listing.files.insert(name.into(), path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}
