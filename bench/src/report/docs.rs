//! Puts tables into the documents that show them, between two marker lines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{full, summary};
use crate::results::Results;

/// Writes the table of the front page and the full report into README.md and docs/performance.md
/// below `root`. Neither file is touched unless both have their markers.
pub(crate) fn write(root: &Path, results: &Results) -> Result<()> {
    let pages = [("README.md", summary(results)), ("docs/performance.md", full(results))];
    let mut changed = Vec::new();
    for (name, content) in pages {
        let path = root.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = replace(&text, &content).with_context(|| format!("{}", path.display()))?;
        changed.push((path, text));
    }
    for (path, text) in changed {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

fn replace(text: &str, content: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(BEGIN) else {
        bail!("no marker {BEGIN}");
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("no marker {END} after {BEGIN}");
    };
    Ok(format!("{before}{BEGIN}\n{content}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = "# Title\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nrest\n";
        let changed = replace(text, "new\n").unwrap();
        assert_eq!(changed, text.replace("old", "new"));
        assert_eq!(replace(&changed, "new\n").unwrap(), changed);
    }

    #[test]
    fn both_pages_are_written_or_none() {
        let root = tempfile::tempdir().unwrap();
        let results = super::super::tests::results();
        let (readme, page) = (root.path().join("README.md"), root.path().join("docs/performance.md"));
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(&readme, format!("# A\n{BEGIN}\n{END}\n")).unwrap();
        fs::write(&page, "# B\n").unwrap();
        let error = write(root.path(), &results).unwrap_err();
        assert!(format!("{error:#}").contains("performance.md: no marker"), "{error:#}");
        assert_eq!(fs::read_to_string(&readme).unwrap(), format!("# A\n{BEGIN}\n{END}\n"));

        fs::write(&page, format!("# B\n{BEGIN}\n{END}\n")).unwrap();
        write(root.path(), &results).unwrap();
        assert!(fs::read_to_string(&readme).unwrap().contains(&summary(&results)));
        assert!(fs::read_to_string(&page).unwrap().contains(&full(&results)));
    }

    #[test]
    fn missing_markers_are_named() {
        assert!(replace("x", "y").unwrap_err().to_string().contains(BEGIN));
        assert!(replace(BEGIN, "y").unwrap_err().to_string().contains(END));
    }
}
