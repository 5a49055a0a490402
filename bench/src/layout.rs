//! Which functions run in an ordinary process, for the linker: `controller/layout.ld` puts them beside each other.
//!
//! The kernel maps code 64 KB at a time. A process runs a fifth of the program, and where that fifth is spread all over
//! it, two thirds of the program are in memory: 8 MB more than need be.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Kept};
use crate::peer::{self, Found};
use crate::process::{self, Launch};
use crate::run::Origin;
use crate::site::{self, Site};
use crate::target::Target;
use crate::work::Protocol;

const CONTROL_LIMIT: Duration = Duration::from_secs(60);
/// A profile of a program without names has none.
const LEAST: usize = 1000;

/// Starts the program, lets it answer everything that [`Target::start`] checks, a scrape and a WebSocket, and writes the
/// script for the linker.
pub(crate) fn run(found: &Found, script: &Path) -> Result<usize> {
    let valgrind = peer::installed("valgrind", "valgrind")?;
    let directory =
        tempfile::Builder::new().prefix("rust-nginx-bench-").tempdir().context("make a temporary directory")?;
    let origin = Origin::start(directory.path())?;
    let site = Site::new(directory.path(), origin.address)?;
    let profile = directory.path().join("profile");
    let valgrind = Launch::new(valgrind)
        .arg("--tool=callgrind")
        .arg("--demangle=no")
        .arg(format!("--callgrind-out-file={}", profile.display()));
    let target = Target::start_under(Some(&valgrind), found, directory.path(), &site, 1).context("under valgrind")?;
    target.scrape(&site)?;
    drop(load::hold(target.address_for(Protocol::Http1), Protocol::Http1, Kept::WebSocket, &site, 2)?);
    let dump = Launch::new("callgrind_control").arg("--dump").arg(target.id().to_string());
    process::run("callgrind_control", &dump, CONTROL_LIMIT, directory.path())?;
    let dump = PathBuf::from(format!("{}.1", profile.display()));
    let text = fs::read_to_string(&dump).with_context(|| format!("read {}", dump.display()))?;
    let patterns = patterns(&text, &found.program);
    ensure!(
        patterns.len() > LEAST,
        "{} has hardly any names: build it with CARGO_PROFILE_RELEASE_STRIP=none",
        found.program.display()
    );
    site::write(script, &render(&patterns))?;
    Ok(patterns.len())
}

/// The functions of a program in a profile, by what stays the same when it is built again.
fn patterns(profile: &str, program: &Path) -> BTreeSet<String> {
    let program = program.to_string_lossy();
    let (mut objects, mut functions) = (Names::default(), Names::default());
    let (mut inside, mut patterns) = (false, BTreeSet::new());
    for line in profile.lines() {
        // What is called may be named there for the first time; it stands by itself elsewhere if it is called.
        match line.split_once('=') {
            // Valgrind does not know whose a section with a name of its own is, and the layout makes one.
            Some(("ob", object)) => inside = matches!(objects.name(object), name if name == program || name == "???"),
            Some(("cob", object)) => _ = objects.name(object),
            Some(("fn", function)) => {
                let name = functions.name(function);
                // Behind it stands how deep a recursion is.
                let name = name.split('\'').next().unwrap_or_default();
                let is_symbol = |byte: u8| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte);
                // Without a symbol it is an address.
                if inside && !name.is_empty() && !name.starts_with("0x") && name.bytes().all(is_symbol) {
                    patterns.insert(pattern(name));
                }
            }
            Some(("cfn", function)) => _ = functions.name(function),
            _ => {}
        }
    }
    patterns
}

/// Names as profiles write them: `(3) name` the first time, `(3)` from then on.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    fn name(&mut self, text: &'a str) -> &'a str {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if name.is_empty() {
            return self.0.get(number).copied().unwrap_or_default();
        }
        self.0.insert(number, name);
        name
    }
}

/// A symbol without what identifies a build. In Rust's names (RFC 2603) these are the disambiguators of crates, and
/// references back, which count bytes from there; in those of before, and of the standard library, the hash at the end.
fn pattern(symbol: &str) -> String {
    let symbol = symbol.split(".llvm.").next().unwrap_or(symbol);
    if let Some((name, _)) = symbol.rsplit_once("17h").filter(|_| symbol.starts_with("_ZN")) {
        return format!("{name}17h*");
    }
    if !symbol.starts_with("_R") {
        return symbol.to_owned();
    }
    let (mut pattern, mut rest) = (String::new(), symbol);
    while let Some(at) = rest.find("Cs").into_iter().chain(rest.find('B')).min() {
        let tag = if rest[at..].starts_with("Cs") { 2 } else { 1 };
        let (before, after) = rest.split_at(at + tag);
        pattern.push_str(before);
        let number = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        rest = match number.strip_prefix('_') {
            Some(number) => {
                pattern.push_str("*_");
                number
            }
            None => after,
        };
    }
    pattern + rest
}

fn render(patterns: &BTreeSet<String>) -> String {
    let mut script = String::from(
        "/* The functions that an ordinary process runs, so that the linker puts them beside each other and fewer pages of\n   \
         the program are in memory. A name that no longer exists does no harm. Written by `make layout`. */\n\
         SECTIONS {\n  .text.ordinary : {\n",
    );
    for pattern in patterns {
        // Also where it stands among what the compiler holds for unlikely.
        script.push_str("    *(.text*.");
        script.push_str(pattern);
        script.push_str(")\n");
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_without_the_build() {
        for (symbol, expected) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "_ZN4core3fmt5write17h*"),
            ("_ZN4core3fmt5write17h0123456789abcdefE.llvm.42", "_ZN4core3fmt5write17h*"),
            ("_RNvNtCs4xYz_10rust_nginx5serve4main", "_RNvNtCs*_10rust_nginx5serve4main"),
            (
                "_RINvNtCsa_4core3ptr13drop_in_placeNtNtCsb1_5alloc6string6StringEB4_",
                "_RINvNtCs*_4core3ptr13drop_in_placeNtNtCs*_5alloc6string6StringEB*_",
            ),
            ("mi_free", "mi_free"),
        ] {
            assert_eq!(pattern(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn only_the_functions_of_the_program_count() {
        let profile = "ob=(1) /lib/libc.so\nfn=(1) start\ncob=(2) /opt/subject\ncfn=(2) ours\ncalls=1 0\n1 5\n\n\
                       ob=(2)\nfn=(2)\ncob=(1)\ncfn=(6) memcpy\ncalls=1 0\n1 7\nfn=(3) again'2\n\n\
                       ob=(1)\nfn=(4) strlen\n\nob=(2)\nfn=(2)\nfn=(5) (below main)\n\n\
                       ob=(3) ???\nfn=(7) placed\nfn=(8) 0x0000000000001100\n";
        let found: Vec<_> = patterns(profile, Path::new("/opt/subject")).into_iter().collect();
        assert_eq!(found, ["again", "ours", "placed"]);
    }
}
