//! The command line: arguments and environment → one typed value, or every mistake at once.
//!
//! Flags are declared in one registry; parsing validates and never acts. Must not know: sockets, clients, tasks.

mod config;
mod flag;
mod help;
mod registry;
mod selector;
mod values;

pub use self::{
    config::{
        Admin, ClusterAccess, Demo, Election, Identity, Listen, Log, LogFormat, NodeAddress, Publish, Scope, Serve,
        Shutdown, Source, Status,
    },
    selector::LabelSelector,
    values::BindAddress,
};
use self::{flag::Command, values::Values};
use lexopt::Arg;
use std::{ffi::OsString, fmt, fs};

/// What to do.
#[derive(Debug)]
pub enum Invocation {
    /// Print this on stdout and exit with 0.
    Print(String),
    /// `rust-nginx serve`
    Serve(Box<Serve>),
    /// `rust-nginx demo`
    Demo(Box<Demo>),
    /// `rust-nginx crds`
    Crds,
}

/// All that is wrong with the arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes {
    messages: Vec<String>,
    command: Option<Command>,
}

/// Where variables and the host name come from.
pub trait Environment {
    /// The value of a variable; `None` also when it is not Unicode.
    fn get(&self, variable: &str) -> Option<String>;
    /// The name of this machine.
    fn host_name(&self) -> Option<String>;
}

/// The environment of the process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

/// Reads the arguments (without the program's name) and the environment.
///
/// # Errors
/// All mistakes together.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
) -> Result<Invocation, Mistakes> {
    let mut line = Line::read(arguments);
    if let Some(topic) = line.help {
        return Ok(Invocation::Print(help::render(topic.or(line.command))));
    }
    if line.version {
        return Ok(Invocation::Print(crate::cli::version()));
    }
    let Some(command) = line.command else {
        line.require_command();
        return Err(Mistakes { messages: line.values.into_errors(), command: None });
    };
    line.values.read_environment(environment, command);
    let invocation = match command {
        Command::Serve => Invocation::Serve(Box::new(Serve::from_values(&mut line.values, environment))),
        Command::Demo => Invocation::Demo(Box::new(Demo::from_values(&mut line.values))),
        Command::Crds => Invocation::Crds,
    };
    let messages = line.values.into_errors();
    if messages.is_empty() { Ok(invocation) } else { Err(Mistakes { messages, command: Some(command) }) }
}

/// The command line, taken apart.
struct Line {
    command: Option<Command>,
    /// A word stands where the command should; it has been reported.
    bad_command: bool,
    help: Option<Option<Command>>,
    version: bool,
    values: Values,
}

// === impl Line ===

impl Line {
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut line =
            Self { command: None, bad_command: false, help: None, version: false, values: Values::new(Vec::new()) };
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut flags = Vec::new();
        // What follows an unknown flag may be its value: one mistake is enough.
        let mut after_unknown = false;
        loop {
            let argument = match parser.next() {
                Ok(Some(argument)) => argument,
                Ok(None) => break,
                Err(error) => {
                    line.values.error(error.to_string());
                    continue;
                }
            };
            let was_after_unknown = std::mem::take(&mut after_unknown);
            let name = match argument {
                Arg::Short('h') => "help".to_owned(),
                Arg::Short(letter) => letter.to_string(),
                Arg::Long(name) => name.to_owned(),
                Arg::Value(word) => {
                    line.read_word(&word.to_string_lossy(), was_after_unknown);
                    continue;
                }
            };
            match name.as_str() {
                "help" => {
                    line.help.get_or_insert(None);
                }
                "version" => line.version = true,
                _ => match registry::find(&name) {
                    Some(flag) => match read_value(flag, &mut parser) {
                        Ok(value) => flags.push((flag, value)),
                        Err(message) => line.values.error(message),
                    },
                    None => {
                        after_unknown = parser.optional_value().is_none();
                        line.values.error(unknown_flag(&name));
                    }
                },
            }
        }
        for (flag, value) in flags {
            match line.command {
                Some(command) if !flag.commands.contains(&command) => line.values.error(format!(
                    "--{}: the command {} has no such flag; {} has",
                    flag.name,
                    command.name(),
                    flag.commands.iter().map(|command| command.name()).collect::<Vec<_>>().join(" and "),
                )),
                _ => line.values.push(flag, value),
            }
        }
        line
    }

    fn read_word(&mut self, word: &str, after_unknown: bool) {
        let command = Command::ALL.into_iter().find(|command| command.name() == word);
        match (command, &mut self.help, self.command) {
            (Some(command), Some(topic), _) => *topic = Some(command),
            (Some(command), None, None) => self.command = Some(command),
            (None, None, None) if word == "help" => self.help = Some(None),
            _ if after_unknown => {}
            (None, _, None) if !self.bad_command => {
                self.bad_command = true;
                let hint = help::nearest(word, Command::ALL.into_iter().map(Command::name))
                    .map(|name| format!("; did you mean {name}?"))
                    .unwrap_or_default();
                self.values.error(format!("unknown command {word:?}: expected {}{hint}", help::command_names()));
            }
            _ => self.values.error(format!("unexpected argument {word:?}")),
        }
    }

    fn require_command(&mut self) {
        if !self.bad_command {
            let hint =
                if self.values.given().next().is_some() { "; to serve a cluster, `rust-nginx serve …`" } else { "" };
            self.values.error(format!("no command: expected {}{hint}", help::command_names()));
        }
    }
}

/// The value of a flag as text; a switch without one is true.
fn read_value(flag: &flag::Flag, parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = match flag.kind {
        flag::Kind::Switch => parser.optional_value().unwrap_or_else(|| "true".into()),
        flag::Kind::Value(value_name) | flag::Kind::List(value_name) => {
            parser.value().map_err(|_| format!("--{0}: a value is missing (--{0}={value_name})", flag.name))?
        }
    };
    value.into_string().map_err(|value| format!("--{}: {value:?} is not Unicode", flag.name))
}

fn unknown_flag(name: &str) -> String {
    let dashes = if name.chars().count() == 1 { "-" } else { "--" };
    help::nearest(name, registry::FLAGS.iter().map(|flag| flag.name)).map_or_else(
        || format!("unknown flag {dashes}{name}"),
        |nearest| format!("unknown flag {dashes}{name}; did you mean --{nearest}?"),
    )
}

// === impl Mistakes ===

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.messages {
            writeln!(f, "rust-nginx: {message}")?;
        }
        let command = self.command.map(|command| format!("{} ", command.name())).unwrap_or_default();
        write!(f, "Try 'rust-nginx {command}--help'.")
    }
}

// === impl ProcessEnvironment ===

impl Environment for ProcessEnvironment {
    fn get(&self, variable: &str) -> Option<String> {
        std::env::var(variable).ok()
    }

    fn host_name(&self) -> Option<String> {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests;
