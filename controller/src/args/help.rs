//! `--help`, derived from the registry, and "did you mean".

use super::{
    flag::{Command, Effect, Flag},
    registry::FLAGS,
};
use std::fmt::Write as _;

/// Help of a command, or of the program.
pub(crate) fn render(command: Option<Command>) -> String {
    let mut text = String::new();
    match command {
        Some(command) => {
            let flags = || FLAGS.iter().filter(|flag| flag.effect == Effect::Used && flag.commands.contains(&command));
            if flags().next().is_none() {
                let _ = writeln!(text, "{}\n\nUsage: rust-nginx {}", command.help(), command.name());
                return text;
            }
            let _ = writeln!(text, "{}\n\nUsage: rust-nginx {} [flags]\n\nFlags:", command.help(), command.name());
            for flag in flags() {
                render_flag(&mut text, flag);
            }
            if command == Command::Serve {
                text.push_str("\nAll other flags of ingress-nginx are accepted and named in a warning.\n");
            }
            text.push_str(
                "Each flag is also read from the environment: RUST_NGINX_<FLAG>, in capitals, with _ for -.\n",
            );
        }
        None => {
            text.push_str("A Kubernetes ingress controller.\n\nUsage: rust-nginx <command> [flags]\n\nCommands:\n");
            for command in Command::ALL {
                let _ = writeln!(text, "  {:8} {}", command.name(), command.help());
            }
            text.push_str(
                "\n`rust-nginx <command> --help` lists the flags; `rust-nginx --version` prints the version.\n",
            );
        }
    }
    text
}

fn render_flag(text: &mut String, flag: &Flag) {
    let dashes = if flag.name.len() == 1 { "-" } else { "--" };
    let value = flag.value_name().map(|value_name| format!("={value_name}")).unwrap_or_default();
    let default = match flag.default {
        "" | "false" => String::new(),
        default => format!(" (default {default})"),
    };
    let _ = writeln!(text, "  {dashes}{}{value}\n        {}{default}", flag.name, flag.help);
}

/// "demo, serve or crds"
pub(crate) fn command_names() -> String {
    let [first @ .., last] = Command::ALL.map(Command::name);
    format!("{} or {last}", first.join(", "))
}

/// The candidate that a mistyped word probably meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn nearest_is_near() {
        let names = || ["serve", "demo"].into_iter();
        assert_eq!(nearest("server", names()), Some("serve"));
        assert_eq!(nearest("dmeo", names()), None);
        assert_eq!(nearest("dem", names()), Some("demo"));
        assert_eq!(nearest("x", names()), None);
    }
}
