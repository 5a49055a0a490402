//! Puts tables into the documents that show them, between two marker lines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A kind of report: the word in its markers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    /// Side by side with other proxies.
    Bench,
    /// In a large cluster.
    Scale,
    /// A long mixed run.
    Soak,
}

/// Writes the table of the front page, if there is one, and the full report into README.md and
/// docs/performance.md below `root`. Neither file is touched unless both have their markers.
pub(crate) fn write(root: &Path, section: Section, summary: Option<String>, full: String) -> Result<()> {
    let front = summary.map(|summary| ("README.md", summary));
    let mut changed = Vec::new();
    for (name, content) in front.into_iter().chain([("docs/performance.md", full)]) {
        let path = root.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = replace(&text, section, &content).with_context(|| format!("{}", path.display()))?;
        changed.push((path, text));
    }
    for (path, text) in changed {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn replace(text: &str, section: Section, content: &str) -> Result<String> {
    let (begin, end) = section.markers();
    let Some((before, rest)) = text.split_once(begin) else {
        bail!("no marker {begin}");
    };
    let Some((_, after)) = rest.split_once(end) else {
        bail!("no marker {end} after {begin}");
    };
    Ok(format!("{before}{begin}\n{content}{end}{after}"))
}

// === impl Section ===

impl Section {
    fn markers(self) -> (&'static str, &'static str) {
        match self {
            Self::Bench => ("<!-- bench:begin -->", "<!-- bench:end -->"),
            Self::Scale => ("<!-- scale:begin -->", "<!-- scale:end -->"),
            Self::Soak => ("<!-- soak:begin -->", "<!-- soak:end -->"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = "# Title\n<!-- scale:begin -->\nother\n<!-- scale:end -->\n\
                    <!-- bench:begin -->\nold\n<!-- bench:end -->\nrest\n";
        let changed = replace(text, Section::Bench, "new\n").unwrap();
        assert_eq!(changed, text.replace("old", "new"));
        assert_eq!(replace(&changed, Section::Bench, "new\n").unwrap(), changed);
        assert_eq!(replace(text, Section::Scale, "more\n").unwrap(), text.replace("other", "more"));
    }

    #[test]
    fn both_pages_are_written_or_none() {
        let root = tempfile::tempdir().unwrap();
        let (begin, end) = Section::Bench.markers();
        let both = || write(root.path(), Section::Bench, Some("short\n".to_owned()), "long\n".to_owned());
        let (readme, page) = (root.path().join("README.md"), root.path().join("docs/performance.md"));
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(&readme, format!("# A\n{begin}\n{end}\n")).unwrap();
        fs::write(&page, "# B\n").unwrap();
        let error = both().unwrap_err();
        assert!(format!("{error:#}").contains("performance.md: no marker"), "{error:#}");
        assert_eq!(fs::read_to_string(&readme).unwrap(), format!("# A\n{begin}\n{end}\n"));

        fs::write(&page, format!("# B\n{begin}\n{end}\n")).unwrap();
        both().unwrap();
        assert!(fs::read_to_string(&readme).unwrap().contains("short"));
        assert!(fs::read_to_string(&page).unwrap().contains("long"));
    }

    #[test]
    fn a_report_without_a_summary_needs_no_front_page() {
        let root = tempfile::tempdir().unwrap();
        let (begin, end) = Section::Soak.markers();
        let page = root.path().join("docs/performance.md");
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(&page, format!("{begin}\n{end}\n")).unwrap();
        write(root.path(), Section::Soak, None, "long\n".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), format!("{begin}\nlong\n{end}\n"));
    }

    #[test]
    fn missing_markers_are_named() {
        let (begin, end) = Section::Scale.markers();
        assert!(replace("x", Section::Scale, "y").unwrap_err().to_string().contains(begin));
        assert!(replace(begin, Section::Scale, "y").unwrap_err().to_string().contains(end));
    }
}
