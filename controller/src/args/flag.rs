//! What a flag is: the vocabulary of the registry.

/// One flag of the command line. Help, validation and the environment variable derive from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Long name, without dashes.
    pub(crate) name: &'static str,
    /// What follows the name.
    pub(crate) kind: Kind,
    /// The value when nobody gives one, in the same grammar; empty for none.
    pub(crate) default: &'static str,
    /// One sentence for `--help`.
    pub(crate) help: &'static str,
    /// What giving it does.
    pub(crate) effect: Effect,
    /// The commands that take it.
    pub(crate) commands: &'static [Command],
}

/// What follows a flag's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true` / `=false`.
    Switch,
    /// One value, shown like this in help; the last one given wins.
    Value(&'static str),
    /// A value that may be given several times, or as a comma list.
    List(&'static str),
}

/// What giving a flag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is honoured.
    Used,
    /// It names something that ingress-nginx can do and this version cannot: a warning at start.
    Unsupported,
    /// It tunes a part that does not exist here, so there is nothing to lose: a warning at start with the reason.
    Meaningless(&'static str),
}

/// The subcommands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `rust-nginx serve`
    Serve,
    /// `rust-nginx demo`
    Demo,
    /// `rust-nginx crds`
    Crds,
}

// === impl Flag ===

impl Flag {
    /// The environment variable that stands for the flag.
    pub(crate) fn variable(&self) -> String {
        format!("RUST_NGINX_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

// === impl Command ===

impl Command {
    /// In the order of `--help`.
    pub(crate) const ALL: [Self; 3] = [Self::Demo, Self::Serve, Self::Crds];

    /// As typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Demo => "demo",
            Self::Crds => "crds",
        }
    }

    /// One sentence for `--help`.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Serve => "Serve the Ingresses of a cluster, or of a directory of manifests",
            Self::Demo => "Run everything on this machine without a cluster: sample pods, Ingresses, TLS",
            Self::Crds => "Print the definitions of our own kinds, for `kubectl apply --server-side -f -`",
        }
    }
}
