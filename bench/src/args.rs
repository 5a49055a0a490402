//! The command line: text → `Command`. All errors are reported at once; nothing is done here.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt};

use crate::peer::{Peer, Programs};
use crate::scale::Plan;
use crate::work::Work;

/// What the user wants done.
#[derive(Debug)]
pub(crate) enum Command {
    Compare(Compare),
    Callgrind(Callgrind),
    Layout(Programs),
    Scale(Scale),
    Soak(Soak),
    Origin { threads: usize },
    Help,
}

/// Options of a comparison.
#[derive(Debug)]
pub(crate) struct Compare {
    pub(crate) works: Vec<Work>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) programs: Programs,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) workers: usize,
    pub(crate) idle_connections: usize,
    pub(crate) latency: bool,
    pub(crate) memory: bool,
    pub(crate) output: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) write_docs: bool,
    pub(crate) network: Network,
}

/// Which network a run takes place in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// One of its own, with this congestion control of TCP, or the usual one.
    Own(Option<String>),
    /// The machine's, as it is.
    Host,
}

/// Options of counting instructions.
#[derive(Debug)]
pub(crate) struct Callgrind {
    pub(crate) works: Vec<Work>,
    pub(crate) programs: Programs,
    pub(crate) requests: u64,
    pub(crate) output: Option<PathBuf>,
}

/// Options of a run in a large cluster.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) plan: Plan,
    /// Run the benchmarks that need no cluster.
    pub(crate) pure: bool,
    /// Run what needs one.
    pub(crate) cluster: bool,
    pub(crate) programs: Programs,
    pub(crate) output: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) write_docs: bool,
}

/// Options of a long mixed run.
#[derive(Debug)]
pub(crate) struct Soak {
    pub(crate) minutes: u64,
    pub(crate) programs: Programs,
    pub(crate) write_docs: bool,
}

pub(crate) const HELP: &str = "\
Measures what rust-nginx, nginx, HAProxy and Envoy cost for the same work, side by side.

Usage: rust-nginx-bench [OPTIONS]
       rust-nginx-bench callgrind [--only WORKS] [--subject PATH] [--requests N] [--output DIR]
       rust-nginx-bench layout [--subject PATH]
       rust-nginx-bench scale [--quick] [--ingresses LIST] [--changes N] [--rate N] [--no-pure] [--no-cluster]
                              [--subject PATH] [--output FILE] [--from FILE] [--write-docs]
       rust-nginx-bench soak [--minutes N] [--subject PATH] [--write-docs]

  --only WORKS        comma list of h1, tls, h2, connect, handshake, large (default: all)
  --peers PEERS       comma list of nginx, rust-nginx, haproxy, envoy (default: all)
  --subject PATH      rust-nginx binary (default: cargo build --release)
  --baseline PATH     a second rust-nginx binary to measure beside the first
  --rounds N          rounds (default 5, with --quick 2)
  --seconds N         length of one sample (default 3, with --quick 1)
  --quick             few short rounds
  --workers N         workers or threads of each peer (default 2)
  --connections N     idle connections for the memory per connection (default 2000)
  --no-latency        leave out the latencies at a fixed rate
  --no-memory         leave out memory
  --congestion NAME   congestion control of TCP (default cubic, else reno), in a network namespace of its own;
                      \"host\" stays in the network of the machine, with what it has
  --output FILE       result file (default: target/bench/TIME.json)
  --from FILE         measure nothing, take the results of an earlier run
  --write-docs        write the tables into README.md and docs/performance.md
  --keep DIR          leave configurations and logs there

callgrind counts instructions per request of rust-nginx with valgrind.
  --requests N        requests that are counted (default 2000)
  --output DIR        leave the profiles there (default: target/bench/callgrind)

layout finds out with valgrind which functions run, and writes controller/layout.ld for the linker.

scale measures rust-nginx in a large cluster: a real API server, and changes while clients ask.
  --ingresses LIST    growing numbers of Ingresses (default 5000,20000, with --quick 500,2000)
  --changes N         changes with the first number, a fifth with the others (default 1500, with --quick 250; 0 for none)
  --rate N            changes per second (default 50)
  --no-pure           leave out compile and lookup, which need no cluster
  --no-cluster        leave out the cluster

soak sends rust-nginx mixed traffic at a fixed rate while its table changes; fails when anything grows or goes wrong.
  --minutes N         length of the traffic (default 10)
  --write-docs        write the table into docs/performance.md
";

/// Parses the arguments that follow the program name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Vec<String>> {
    let mut arguments = arguments.into_iter().peekable();
    let word = arguments.peek().and_then(|first| first.to_str()).map(str::to_owned);
    let mut errors = Vec::new();
    let command = match word.as_deref() {
        Some("origin") => {
            let threads = arguments.nth(1).and_then(|text| text.to_str()?.parse().ok());
            match threads {
                Some(threads) => Command::Origin { threads },
                None => return Err(vec!["origin: the number of threads is missing".to_owned()]),
            }
        }
        Some("callgrind") => {
            arguments.next();
            Command::Callgrind(callgrind(Parser::from_args(arguments), &mut errors))
        }
        Some("layout") => {
            arguments.next();
            Command::Layout(layout(Parser::from_args(arguments), &mut errors))
        }
        Some("scale") => {
            arguments.next();
            Command::Scale(scale(Parser::from_args(arguments), &mut errors))
        }
        Some("soak") => {
            arguments.next();
            Command::Soak(soak(Parser::from_args(arguments), &mut errors))
        }
        _ => compare(Parser::from_args(arguments), &mut errors),
    };
    if errors.is_empty() { Ok(command) } else { Err(errors) }
}

fn callgrind(mut parser: Parser, errors: &mut Vec<String>) -> Callgrind {
    let mut options =
        Callgrind { works: Work::ALL.to_vec(), programs: Programs::default(), requests: 2000, output: None };
    while let Some(option) = next(&mut parser, errors) {
        match option.as_str() {
            "only" => set(&mut options.works, list(&mut parser), &option, errors),
            "subject" => set(&mut options.programs.subject, path(&mut parser), &option, errors),
            "requests" => set(&mut options.requests, positive(&mut parser), &option, errors),
            "output" => set(&mut options.output, path(&mut parser), &option, errors),
            _ => errors.push(format!("callgrind: unknown option --{option}")),
        }
    }
    options
}

fn layout(mut parser: Parser, errors: &mut Vec<String>) -> Programs {
    let mut programs = Programs::default();
    while let Some(option) = next(&mut parser, errors) {
        match option.as_str() {
            "subject" => set(&mut programs.subject, path(&mut parser), &option, errors),
            _ => errors.push(format!("layout: unknown option --{option}")),
        }
    }
    programs
}

fn compare(mut parser: Parser, errors: &mut Vec<String>) -> Command {
    let mut options = Compare {
        works: Work::ALL.to_vec(),
        peers: vec![Peer::Nginx, Peer::RustNginx, Peer::Haproxy, Peer::Envoy],
        programs: Programs::default(),
        rounds: 0,
        seconds: 0,
        workers: 2,
        idle_connections: 2000,
        latency: true,
        memory: true,
        output: None,
        from: None,
        keep: None,
        write_docs: false,
        network: Network::Own(None),
    };
    let mut quick = false;
    while let Some(option) = next(&mut parser, errors) {
        match option.as_str() {
            "only" => set(&mut options.works, list(&mut parser), &option, errors),
            "peers" => set(&mut options.peers, list(&mut parser), &option, errors),
            "subject" => set(&mut options.programs.subject, path(&mut parser), &option, errors),
            "baseline" => set(&mut options.programs.baseline, path(&mut parser), &option, errors),
            "rounds" => set(&mut options.rounds, positive(&mut parser), &option, errors),
            "seconds" => set(&mut options.seconds, positive(&mut parser), &option, errors),
            "workers" => set(&mut options.workers, positive(&mut parser), &option, errors),
            "connections" => {
                set(&mut options.idle_connections, positive(&mut parser), &option, errors);
            }
            "output" => set(&mut options.output, path(&mut parser), &option, errors),
            "from" => set(&mut options.from, path(&mut parser), &option, errors),
            "keep" => set(&mut options.keep, path(&mut parser), &option, errors),
            "congestion" => set(&mut options.network, network(&mut parser), &option, errors),
            "quick" => quick = true,
            "no-latency" => options.latency = false,
            "no-memory" => options.memory = false,
            "write-docs" => options.write_docs = true,
            "help" | "h" => return Command::Help,
            _ => errors.push(format!("unknown option --{option}")),
        }
    }
    let default = |given, normal, short| match given {
        0 if quick => short,
        0 => normal,
        given => given,
    };
    options.rounds = default(options.rounds, 5, 2);
    options.seconds = default(options.seconds as usize, 3, 1) as u64;
    if options.programs.baseline.is_some() && !options.peers.contains(&Peer::Baseline) {
        options.peers.push(Peer::Baseline);
    }
    options.peers.sort_unstable();
    options.peers.dedup();
    options.works.sort_unstable();
    options.works.dedup();
    if options.latency && options.from.is_none() && !options.peers.contains(&Peer::Nginx) {
        errors.push("--peers without nginx needs --no-latency: the rate is a share of nginx's".to_owned());
    }
    Command::Compare(options)
}

fn network(parser: &mut Parser) -> Result<Network, lexopt::Error> {
    Ok(match parser.value()?.string()? {
        name if name == "host" => Network::Host,
        name => Network::Own(Some(name)),
    })
}

fn scale(mut parser: Parser, errors: &mut Vec<String>) -> Scale {
    let plan = Plan { ingresses: Vec::new(), changes: 0, idle_changes: 0, rate: 50 };
    let mut options = Scale {
        plan,
        pure: true,
        cluster: true,
        programs: Programs::default(),
        output: None,
        from: None,
        write_docs: false,
    };
    let (mut quick, mut changes) = (false, None);
    while let Some(option) = next(&mut parser, errors) {
        match option.as_str() {
            "ingresses" => set(&mut options.plan.ingresses, numbers(&mut parser), &option, errors),
            "changes" => set(&mut changes, number(&mut parser).map(Some), &option, errors),
            "rate" => set(&mut options.plan.rate, positive(&mut parser), &option, errors),
            "subject" => set(&mut options.programs.subject, path(&mut parser), &option, errors),
            "output" => set(&mut options.output, path(&mut parser), &option, errors),
            "from" => set(&mut options.from, path(&mut parser), &option, errors),
            "no-pure" => options.pure = false,
            "no-cluster" => options.cluster = false,
            "write-docs" => options.write_docs = true,
            "quick" => quick = true,
            _ => errors.push(format!("scale: unknown option --{option}")),
        }
    }
    if options.plan.ingresses.is_empty() {
        options.plan.ingresses = if quick { vec![500, 2_000] } else { vec![5_000, 20_000] };
    }
    options.plan.changes = changes.unwrap_or(if quick { 250 } else { 1_500 });
    options.plan.idle_changes = if quick { 10 } else { 50 };
    options
}

fn soak(mut parser: Parser, errors: &mut Vec<String>) -> Soak {
    let mut options = Soak { minutes: 10, programs: Programs::default(), write_docs: false };
    while let Some(option) = next(&mut parser, errors) {
        match option.as_str() {
            "minutes" => set(&mut options.minutes, positive(&mut parser), &option, errors),
            "subject" => set(&mut options.programs.subject, path(&mut parser), &option, errors),
            "write-docs" => options.write_docs = true,
            _ => errors.push(format!("soak: unknown option --{option}")),
        }
    }
    options
}

/// Numbers above 0 that grow.
fn numbers(parser: &mut Parser) -> anyhow::Result<Vec<usize>> {
    let text = parser.value()?.string()?;
    let numbers: Vec<usize> = text.split(',').map(|word| word.trim().parse()).collect::<Result<_, _>>()?;
    let grow = numbers.is_sorted_by(|a, b| a < b) && numbers.first().is_some_and(|first| *first > 0);
    anyhow::ensure!(grow, "`{text}` is not a list of growing numbers above 0");
    Ok(numbers)
}

fn number(parser: &mut Parser) -> anyhow::Result<usize> {
    let text = parser.value()?.string()?;
    text.parse().map_err(|_| anyhow::anyhow!("`{text}` is not a whole number"))
}

/// The name of the next option; what is not an option is an error.
fn next(parser: &mut Parser, errors: &mut Vec<String>) -> Option<String> {
    loop {
        match parser.next() {
            Ok(Some(Arg::Long(name))) => return Some(name.to_owned()),
            Ok(Some(Arg::Short(name))) => return Some(name.to_string()),
            Ok(Some(Arg::Value(value))) => {
                errors.push(format!("unexpected argument `{}`", value.to_string_lossy()));
            }
            Ok(None) => return None,
            Err(error) => {
                errors.push(error.to_string());
                return None;
            }
        }
    }
}

fn set<T>(place: &mut T, value: Result<T, impl Display>, option: &str, errors: &mut Vec<String>) {
    match value {
        Ok(value) => *place = value,
        Err(error) => errors.push(format!("--{option}: {error:#}")),
    }
}

fn list<T: FromStr<Err = anyhow::Error>>(parser: &mut Parser) -> anyhow::Result<Vec<T>> {
    let text = parser.value()?.string()?;
    text.split(',').map(|word| word.trim().parse()).collect()
}

fn path(parser: &mut Parser) -> Result<Option<PathBuf>, lexopt::Error> {
    Ok(Some(PathBuf::from(parser.value()?)))
}

fn positive<T: FromStr + Default + PartialEq>(parser: &mut Parser) -> anyhow::Result<T> {
    let text = parser.value()?.string()?;
    match text.parse() {
        Ok(number) if number != T::default() => Ok(number),
        _ => anyhow::bail!("`{text}` is not a whole number above 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Command, Vec<String>> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn compare_words(line: &str) -> Compare {
        match parse_words(line) {
            Ok(Command::Compare(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn defaults_and_quick() {
        let options = compare_words("");
        assert_eq!((options.rounds, options.seconds), (5, 3));
        assert_eq!(options.works, Work::ALL);
        let options = compare_words("--quick --rounds 7");
        assert_eq!((options.rounds, options.seconds), (7, 1));
    }

    #[test]
    fn a_baseline_is_a_peer() {
        let options = compare_words("--baseline old --peers rust-nginx,nginx --only h2,h1");
        assert_eq!(options.peers, [Peer::Nginx, Peer::RustNginx, Peer::Baseline]);
        assert_eq!(options.works, [Work::H1, Work::H2]);
    }

    #[test]
    fn all_errors_come_at_once() {
        let errors = parse_words("--rounds 0 --peers apache --fast stray").unwrap_err();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[1].contains("apache") && errors[1].contains("accepted: nginx"), "{errors:?}");
    }

    #[test]
    fn latencies_need_nginx() {
        assert!(parse_words("--peers haproxy").is_err());
        assert!(parse_words("--peers haproxy --no-latency").is_ok());
    }

    #[test]
    fn callgrind_has_options_of_its_own() {
        match parse_words("callgrind --requests 10 --only tls") {
            Ok(Command::Callgrind(options)) => {
                assert_eq!((options.requests, options.works), (10, vec![Work::Tls]));
            }
            other => panic!("{other:?}"),
        }
        assert!(parse_words("callgrind --quick").is_err());
    }

    #[test]
    fn scale_has_options_of_its_own() {
        let words = |line: &str| match parse_words(line) {
            Ok(Command::Scale(options)) => options,
            other => panic!("{line}: {other:?}"),
        };
        let options = words("scale");
        assert_eq!((&*options.plan.ingresses, options.plan.changes), (&[5_000, 20_000][..], 1_500));
        let options = words("scale --quick --changes 0 --no-pure --ingresses 10,20");
        assert_eq!((&*options.plan.ingresses, options.plan.changes), (&[10, 20][..], 0));
        assert!(!options.pure && options.cluster);
        let errors = parse_words("scale --ingresses 20,10 --rounds").unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[test]
    fn soak_has_options_of_its_own() {
        match parse_words("soak --minutes 3 --subject own --write-docs") {
            Ok(Command::Soak(options)) => {
                assert_eq!((options.minutes, options.write_docs), (3, true));
                assert_eq!(options.programs.subject, Some(PathBuf::from("own")));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parse_words("soak"), Ok(Command::Soak(Soak { minutes: 10, .. }))));
        let errors = parse_words("soak --minutes 0 --quick").unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
