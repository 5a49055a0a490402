//! What the kernel says about this process: `process_*`, and the same under the names that dashboards for nginx use.

use super::opts;
use prometheus::{
    Counter, Gauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rust_nginx_proxy::metrics::ConstantLabels;
use std::fs;

/// Ticks per second in the files of /proc: USER_HZ, which is 100 on every architecture that Rust supports.
const TICKS: f64 = 100.0;

/// Reads /proc when scraped. A file that cannot be read leaves its metrics out.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    constant: ConstantLabels,
    desc: Desc,
}

/// The numbers, in base units.
#[derive(Debug, Default, PartialEq)]
struct Readings {
    cpu_seconds: Option<f64>,
    start_time: Option<f64>,
    resident: Option<f64>,
    virtual_memory: Option<f64>,
    read: Option<f64>,
    written: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

// === impl ProcessCollector ===

impl ProcessCollector {
    pub(super) fn new(constant: &ConstantLabels) -> Self {
        let opts = Opts::new("process_start_time_seconds", "Start, in seconds since the epoch");
        let desc = Desc::new(opts.name, opts.help, Vec::new(), opts.const_labels).expect("the name is a constant");
        Self { constant: constant.clone(), desc }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let readings = Readings::take();
        let own = |name: &str, help: &str| Opts::new(format!("process_{name}"), help);
        let nginx = |name: &str, help: &str| opts(&self.constant, &format!("nginx_process_{name}"), help);
        let mut families = Vec::new();
        let mut gauge = |opts: Opts, value: Option<f64>| {
            if let Some(value) = value {
                let gauge = Gauge::with_opts(opts).expect("the name is a constant");
                gauge.set(value);
                families.extend(gauge.collect());
            }
        };
        gauge(own("start_time_seconds", "Start, in seconds since the epoch"), readings.start_time);
        gauge(own("resident_memory_bytes", "Memory in RAM"), readings.resident);
        gauge(own("virtual_memory_bytes", "Address space in use"), readings.virtual_memory);
        gauge(own("open_fds", "Open file descriptors"), readings.open_files);
        gauge(own("max_fds", "Limit of open file descriptors"), readings.max_files);
        gauge(nginx("num_procs", "Processes"), Some(1.0));
        gauge(nginx("oldest_start_time_seconds", "Start, in seconds since the epoch"), readings.start_time);
        gauge(nginx("resident_memory_bytes", "Memory in RAM"), readings.resident);
        gauge(nginx("virtual_memory_bytes", "Address space in use"), readings.virtual_memory);
        let mut counter = |opts: Opts, value: Option<f64>| {
            if let Some(value) = value {
                let counter = Counter::with_opts(opts).expect("the name is a constant");
                counter.inc_by(value);
                families.extend(counter.collect());
            }
        };
        counter(own("cpu_seconds_total", "CPU time, user and system"), readings.cpu_seconds);
        counter(nginx("cpu_seconds_total", "CPU time, user and system"), readings.cpu_seconds);
        counter(nginx("read_bytes_total", "Bytes read, sockets included"), readings.read);
        counter(nginx("write_bytes_total", "Bytes written, sockets included"), readings.written);
        families
    }
}

// === impl Readings ===

impl Readings {
    fn take() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut this = Self::parse(
            &read("/proc/self/stat"),
            &read("/proc/stat"),
            &read("/proc/self/status"),
            &read("/proc/self/io"),
            &read("/proc/self/limits"),
        );
        this.open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
        this
    }

    fn parse(stat: &str, system: &str, status: &str, io: &str, limits: &str) -> Self {
        // The second field is the name in parentheses, which may hold blanks; count from its end.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
        let boot: Option<f64> = number(system, "btime");
        Self {
            cpu_seconds: ticks(11).zip(ticks(12)).map(|(user, kernel)| user + kernel),
            start_time: boot.zip(ticks(19)).map(|(boot, start)| boot + start),
            resident: number(status, "VmRSS:").map(|kib| kib * 1024.0),
            virtual_memory: number(status, "VmSize:").map(|kib| kib * 1024.0),
            read: number(io, "rchar:"),
            written: number(io, "wchar:"),
            open_files: None,
            max_files: number(limits, "Max open files"),
        }
    }
}

/// The first number after `key` at the start of a line.
fn number(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Readings;

    #[test]
    fn files_of_proc_are_understood() {
        let readings = Readings::parse(
            "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 1000 2000 300 18446744073709551615 1",
            "cpu 1 2 3\nbtime 1700000000\nprocesses 9\n",
            "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\n",
            "rchar: 10\nwchar: 20\nread_bytes: 0\n",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n",
        );
        assert_eq!(
            readings,
            Readings {
                cpu_seconds: Some(3.0),
                start_time: Some(1_700_000_010.0),
                resident: Some(1_048_576.0),
                virtual_memory: Some(2_097_152.0),
                read: Some(10.0),
                written: Some(20.0),
                open_files: None,
                max_files: Some(1024.0),
            }
        );
        assert_eq!(Readings::parse("", "", "", "", ""), Readings::default());
    }
}
