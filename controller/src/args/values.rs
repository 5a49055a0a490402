//! The values that were given, and how they become types.
//!
//! Every getter records what is wrong and goes on with the default, so that all mistakes are reported together.

use super::{
    Environment,
    flag::{Command, Flag, Kind},
    registry,
};
use crate::snapshot::{ObjectName, is_dns_label, is_dns_subdomain};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Values by flag name.
pub(crate) struct Values {
    given: BTreeMap<&'static str, Vec<Given>>,
    errors: Vec<String>,
}

/// One value and where it was written.
#[derive(Clone, Debug)]
struct Given {
    value: String,
    origin: String,
}

/// An address to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// Every address of the machine, IPv4 and IPv6.
    Every(u16),
    /// This one.
    One(SocketAddr),
}

// === impl Values ===

impl Values {
    pub(crate) fn new(errors: Vec<String>) -> Self {
        Self { given: BTreeMap::new(), errors }
    }

    /// A value from the command line.
    pub(crate) fn push(&mut self, flag: &'static Flag, value: String) {
        let origin = if flag.name.len() == 1 { format!("-{}", flag.name) } else { format!("--{}", flag.name) };
        self.given.entry(flag.name).or_default().push(Given { value, origin });
    }

    /// Fills in what the command line leaves open.
    pub(crate) fn read_environment(&mut self, environment: &dyn Environment, command: Command) {
        for flag in registry::FLAGS.iter().filter(|flag| flag.commands.contains(&command)) {
            let variable = flag.variable();
            if self.given.contains_key(flag.name) {
                continue;
            }
            let Some(value) = environment.get(&variable) else { continue };
            // A Service named `rust-nginx-http` makes the kubelet set RUST_NGINX_HTTP_PORT=tcp://10.0.0.1:80 in every
            // pod of its namespace; that is not meant for us.
            if value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://") {
                continue;
            }
            self.given.entry(flag.name).or_default().push(Given { value, origin: variable });
        }
    }

    /// The flags that were given, with their origin.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static Flag, &str)> {
        self.given.iter().filter_map(|(name, values)| Some((registry::find(name)?, values.last()?.origin.as_str())))
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.get(name).and_then(|values| values.last()).is_some_and(|last| !last.value.is_empty())
    }

    pub(crate) fn error(&mut self, message: String) {
        self.errors.push(message);
    }

    pub(crate) fn into_errors(self) -> Vec<String> {
        self.errors
    }

    pub(crate) fn switch(&mut self, name: &'static str) -> bool {
        self.parse(name, "true or false", |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
        .unwrap_or_default()
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.parse(name, "text", |text| Some(text.to_owned()))
    }

    /// Text that may not be empty; a flag with a default that is set to nothing is a mistake.
    pub(crate) fn required_text(&mut self, name: &'static str) -> String {
        self.required(name, "text", |text| Some(text.to_owned()))
    }

    /// The same for text of some form.
    pub(crate) fn required(
        &mut self,
        name: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<String>,
    ) -> String {
        self.parse(name, accepted, parse).unwrap_or_else(|| {
            self.errors.push(format!("--{name} may not be empty"));
            String::new()
        })
    }

    pub(crate) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(crate) fn object(&mut self, name: &'static str) -> Option<ObjectName> {
        self.parse(name, "namespace/name", ObjectName::parse)
    }

    pub(crate) fn port(&mut self, name: &'static str) -> u16 {
        self.parse(name, "a port from 0 to 65535 (0 picks a free one)", |text| text.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn number(&mut self, name: &'static str) -> u32 {
        self.parse(name, "a whole number", |text| text.parse().ok()).unwrap_or_default()
    }

    /// Whole seconds.
    pub(crate) fn seconds(&mut self, name: &'static str) -> Duration {
        let seconds = self.parse(name, "a number of seconds", |text| text.parse::<u32>().ok()).unwrap_or_default();
        Duration::from_secs(seconds.into())
    }

    /// A Go duration; `None` when it is zero or negative.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        self.parse(name, "a duration such as 30s, 1m30s or 500ms", parse_duration).flatten()
    }

    pub(crate) fn addresses(&mut self, name: &'static str) -> Vec<BindAddress> {
        self.list(name, "ADDRESS:PORT (10.0.0.1:80, [::1]:80, or :80 for every address)", BindAddress::parse)
    }

    /// Addresses, and whether connections to them begin with a PROXY header.
    pub(crate) fn traffic_addresses(&mut self, name: &'static str) -> Vec<(BindAddress, bool)> {
        let accepted = "ADDRESS:PORT (10.0.0.1:80, [::1]:80, or :80 for every address), or that followed by /proxy";
        self.list(name, accepted, |text| {
            let plain = text.strip_suffix("/proxy");
            Some((BindAddress::parse(plain.unwrap_or(text))?, plain.is_some()))
        })
    }

    /// Addresses as an API server takes them into a status: of hosts, or names in lower case.
    pub(crate) fn public_addresses(&mut self, name: &'static str) -> Vec<String> {
        self.list(name, "an IP address or a host name", public_address)
    }

    /// The name of a namespace.
    pub(crate) fn namespace(&mut self, name: &'static str) -> Option<String> {
        let accepted = "the name of a namespace: up to 63 lower-case letters, digits and `-`";
        self.parse(name, accepted, |text| is_dns_label(text).then(|| text.to_owned()))
    }

    /// One of several words.
    pub(crate) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        self.parse(name, &names.join(" or "), |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }

    /// The last value given, else the default; empty text counts as not given.
    pub(crate) fn parse<T>(
        &mut self,
        name: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        if let Some(last) = self.given.get(name).and_then(|values| values.last()) {
            if last.value.is_empty() {
                return None;
            }
            let parsed = parse(&last.value);
            if parsed.is_none() {
                self.errors.push(format!("{}: {:?} is not {accepted}", last.origin, last.value));
            } else {
                return parsed;
            }
        }
        let default = registry::find(name).expect("getters are called with names of the registry").default;
        (!default.is_empty()).then(|| parse(default)).flatten()
    }

    fn list<T>(&mut self, name: &'static str, accepted: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut parsed = Vec::new();
        for given in self.given.get(name).into_iter().flatten() {
            for item in given.value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                match parse(item) {
                    Some(item) => parsed.push(item),
                    None => self.errors.push(format!("{}: {item:?} is not {accepted}", given.origin)),
                }
            }
        }
        parsed
    }
}

/// No name ends like an IPv4 address.
fn public_address(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    (is_dns_subdomain(&name) && !last.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

// === impl BindAddress ===

impl BindAddress {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(Self::Every),
            None => text.parse().ok().map(Self::One),
        }
    }
}

// === impl Flag ===

impl Flag {
    /// What the name is followed by in help.
    pub(crate) fn value_name(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Switch => None,
            Kind::Value(value_name) | Kind::List(value_name) => Some(value_name),
        }
    }
}

/// The grammar of Go's `time.ParseDuration`. The outer `None` is not a duration, the inner one is not positive.
fn parse_duration(text: &str) -> Option<Option<Duration>> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(None);
    }
    let mut total = Duration::ZERO;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        if rest.is_empty() {
            break;
        }
    }
    Some((!negative && !total.is_zero()).then_some(total))
}

#[cfg(test)]
mod tests {
    use super::parse_duration;
    use std::time::Duration;

    #[test]
    fn durations_follow_go() {
        let millis = |ms| Some(Some(Duration::from_millis(ms)));
        assert_eq!(parse_duration("30s"), millis(30_000));
        assert_eq!(parse_duration("1m30s"), millis(90_000));
        assert_eq!(parse_duration("1.5h"), millis(5_400_000));
        assert_eq!(parse_duration("250ms"), millis(250));
        assert_eq!(parse_duration("0"), Some(None));
        assert_eq!(parse_duration("0s"), Some(None));
        assert_eq!(parse_duration("-5s"), Some(None));
        for bad in ["", "s", "30", "30x", "1m30", "-", "1..5s", "99999999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }
}
