//! Whether the machine gives what the configuration may come to need, and if not, the command that raises it.
//!
//! Arithmetic only: what the machine gives is read by [`readings`]. What is not known is not compared. Without: descriptors of clients'
//! tables, for which a start is refused (`reactor/probe`).

pub(super) mod readings;

use crate::config::{Config, Limits, Source};

/// What the machine, or the container, gives. None: it could not be read here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// All memory that the process may have.
    pub(super) memory: Option<Memory>,
    /// What of it nobody has.
    pub(super) available_bytes: Option<u64>,
    /// The hard limit of descriptors.
    pub(super) descriptors_max: Option<u64>,
    /// `tcp_mem`: below the first number the kernel never saves, above the second it does, beyond the third it gives no more. Bytes.
    pub(super) tcp_bytes: Option<[u64; 3]>,
    /// `somaxconn`.
    pub(super) backlog_max: Option<u32>,
    /// How many ports there are for connections that begin here.
    pub(super) ports: Option<u32>,
}

/// Memory, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) bytes: u64,
    pub(super) giver: Giver,
}

/// What bounds the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    Machine,
    /// The control group: a container, or a service.
    Group,
    /// `RLIMIT_AS`.
    AddressSpace,
}

/// Resident for an idle client with its subscriptions, as docs/security.md bounds it, and in the kernel for its socket.
const IDLE_CLIENT_BYTES: u64 = (4 + 5) << 10;
/// What the kernel holds beyond `send_unsent_bytes_max` for a client that never reads: measured, a segment in flight and its own.
const TCP_BYTES_BESIDES: u64 = 31 << 10;
/// Rings, listeners, runtimes, standard streams.
const DESCRIPTORS_BESIDES: u64 = 256;
const PAGE_BYTES: u64 = 4096;

/// What a configuration may come to need at most, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Receive buffers, idle clients, and the rings of topics that are named; of topics by pattern nobody knows how many there will be.
    memory_bytes: u64,
    descriptors: u64,
    /// All clients take what their sockets hold, and do not read it.
    tcp_bytes: u64,
    backlog: u32,
    ports: u32,
}

impl Needs {
    /// With so many shards; `ordinary` clients count as descriptors of the process (by epoll, and before Linux 6.13).
    pub(super) fn of(config: &Config, shards: u16, ordinary: bool) -> Needs {
        let (limits, shards) = (&config.limits, u64::from(shards));
        let clients = u64::from(limits.connections_max);
        let buffers = shards * u64::from(config.shards.receive_buffers) * u64::from(config.shards.receive_buffer_bytes);
        let named = config.topics.iter().filter(|topic| !topic.pattern.contains(['*', '>']));
        // The log and one more encoding, on each shard.
        let rings: u64 = named.map(|topic| u64::from(topic.ring_bytes) * 2 * shards).sum();
        let has_journals = config.topics.iter().any(|topic| topic.journal.is_some());
        let journals = if has_journals { u64::from(config.journal.topics_max) } else { 0 };
        let admin = if config.admin.enabled { u64::from(config.admin.open_connections_max) } else { 0 };
        let lines = config.sources.iter().map(|source| match source {
            Source::Upstream(upstream) => upstream.urls.len() as u32,
            Source::Synthetic(_) | Source::Replay(_) => 0,
        });
        let ports: u32 = lines.sum();
        let places = if ordinary { clients } else { 0 };
        Needs {
            memory_bytes: buffers + clients * IDLE_CLIENT_BYTES + rings,
            descriptors: places
                + journals
                + admin
                + u64::from(ports)
                + shards * config.listeners.len() as u64
                + DESCRIPTORS_BESIDES,
            tcp_bytes: clients * (u64::from(limits.send_unsent_bytes_max) + TCP_BYTES_BESIDES),
            backlog: limits.accept_backlog,
            ports,
        }
    }

    /// What falls short, one sentence each, with what raises it.
    pub(super) fn shortfalls(&self, machine: &Machine) -> Vec<String> {
        let mut found = Vec::new();
        let short = |need: u64, given: Option<u64>| given.filter(|given| need > *given);
        if let Some(limit) = short(self.descriptors, machine.descriptors_max) {
            let need = self.descriptors;
            found.push(format!(
                "{need} descriptors may be open at once, and RLIMIT_NOFILE is {limit}: raise it (`ulimit -n {need}`, `LimitNOFILE={need}` of \
                 the service)."
            ));
        }
        if let Some(given) = short(self.memory_bytes, machine.available_bytes) {
            found.push(format!(
                "Receive buffers, idle clients and the rings of the topics that are named take {}, and {} are to be had: {}, or lower \
                 connections_max, ring_bytes or receive_buffers.",
                told(self.memory_bytes),
                told(given),
                raising(machine.memory, self.memory_bytes)
            ));
        }
        if let Some([_, pressure, most]) = machine.tcp_bytes
            && self.tcp_bytes > pressure
        {
            let pages = self.tcp_bytes.div_ceil(PAGE_BYTES);
            let most = (most / PAGE_BYTES).max(pages * 3 / 2);
            found.push(format!(
                "connections_max clients that do not read make the kernel hold {} for their sockets, and from {} on it shrinks everybody's \
                 buffers: `sysctl -w net.ipv4.tcp_mem=\"{} {pages} {most}\"`, or lower connections_max or send_unsent_bytes_max.",
                told(self.tcp_bytes),
                told(pressure),
                pages * 3 / 4
            ));
        }
        if let Some(most) = machine.backlog_max.filter(|most| self.backlog > *most) {
            let need = self.backlog;
            found.push(format!(
                "accept_backlog is {need}, and the kernel caps it at {most}: `sysctl -w net.core.somaxconn={need}`, or lower it."
            ));
        }
        if let Some(most) = machine.ports.filter(|most| self.ports > *most) {
            found.push(format!(
                "{} connections to upstreams need a port each, and there are {most}: `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`.",
                self.ports
            ));
        }
        found
    }
}

/// Above so many resident bytes no more clients are taken; none: nobody knows what the machine has.
pub(super) fn memory_bytes_max(limits: &Limits, machine: &Machine) -> Option<u64> {
    match limits.memory_bytes_max {
        // The kernel's share for sockets, and what others need, is in the rest.
        0 => machine.memory.map(|memory| memory.bytes / 4 * 3),
        configured => Some(configured),
    }
}

/// The bound is there to be met before the machine's end.
pub(super) fn bound_beyond(limits: &Limits, machine: &Machine) -> Option<String> {
    let memory = machine.memory.filter(|memory| limits.memory_bytes_max > memory.bytes)?;
    Some(format!(
        "memory_bytes_max is {}, and {} are all that there is: the process is killed before anybody is refused; {}, or lower it.",
        told(limits.memory_bytes_max),
        told(memory.bytes),
        raising(Some(memory), limits.memory_bytes_max)
    ))
}

fn raising(memory: Option<Memory>, need: u64) -> String {
    let mib = need.div_ceil(1 << 20);
    match memory.map(|memory| memory.giver) {
        Some(Giver::Group) => {
            format!("raise the control group's memory.max (`MemoryMax={mib}M` of the service, `--memory {mib}m` of a container)")
        }
        Some(Giver::AddressSpace) => format!("raise RLIMIT_AS (`ulimit -v {}`)", need.div_ceil(1 << 10)),
        Some(Giver::Machine) | None => "take a machine with more".into(),
    }
}

fn told(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Admin, Journal, Listener, Shards, Topic, TopicJournal, Upstream, WebSocketUrl};

    /// Roomy in every respect.
    const ROOMY: Machine = Machine {
        memory: Some(Memory { bytes: 1 << 40, giver: Giver::Machine }),
        available_bytes: Some(1 << 40),
        descriptors_max: Some(1 << 20),
        tcp_bytes: Some([1 << 36, 1 << 37, 1 << 38]),
        backlog_max: Some(65_535),
        ports: Some(28_232),
    };

    fn config() -> Config {
        let url = |host: &str| WebSocketUrl::parse(&format!("ws://{host}/")).expect("a URL");
        let named =
            Topic { pattern: "a".into(), ring_bytes: 1 << 20, journal: Some(TopicJournal::default()), ..Topic::default() };
        Config {
            limits: Limits { connections_max: 1000, ..Limits::default() },
            shards: Shards { receive_buffers: 256, receive_buffer_bytes: 4096, ..Shards::default() },
            listeners: vec![Listener::default(); 2],
            admin: Admin { enabled: true, open_connections_max: 64, ..Admin::default() },
            topics: vec![named, Topic { pattern: "md.>".into(), ..Topic::default() }],
            journal: Journal { topics_max: 1024, ..Journal::default() },
            sources: vec![Source::Upstream(Upstream { urls: vec![url("a"), url("b"), url("c")], ..Upstream::default() })],
            ..Config::default()
        }
    }

    #[test]
    fn what_is_needed_is_added_up() {
        let needs = Needs::of(&config(), 4, true);
        let expected = Needs {
            memory_bytes: 4 * (1 << 20) + 1000 * 9216 + 4 * 2 * (1 << 20),
            descriptors: 1000 + 1024 + 64 + 3 + 4 * 2 + 256,
            tcp_bytes: 1000 * 47 * 1024,
            backlog: 4096,
            ports: 3,
        };
        assert_eq!(needs, expected);
        assert_eq!(Needs::of(&config(), 4, false).descriptors, needs.descriptors - 1000);
        assert_eq!(needs.shortfalls(&ROOMY), Vec::<String>::new());
        assert_eq!(needs.shortfalls(&Machine::default()), Vec::<String>::new(), "what is not known is not compared");
    }

    #[test]
    fn what_falls_short_is_told_with_the_command_that_raises_it() {
        let needs = Needs::of(&config(), 4, true);
        let group = Some(Memory { bytes: 20 << 20, giver: Giver::Group });
        for (machine, parts) in [
            (
                Machine { descriptors_max: Some(2354), ..ROOMY },
                &["2355 descriptors", "is 2354", "`ulimit -n 2355`", "LimitNOFILE=2355"][..],
            ),
            (
                Machine { available_bytes: Some(1 << 20), memory: group, ..ROOMY },
                &["take 20.8 MiB, and 1.0 MiB are to be had", "`MemoryMax=21M`", "`--memory 21m`"],
            ),
            (Machine { available_bytes: Some(9 << 10), memory: None, ..ROOMY }, &["9.0 KiB", "a machine with more"]),
            (
                Machine { tcp_bytes: Some([1 << 20, 2 << 20, 4 << 20]), ..ROOMY },
                &["hold 45.9 MiB", "from 2.0 MiB on", "`sysctl -w net.ipv4.tcp_mem=\"8812 11750 17625\"`"],
            ),
            (
                Machine { backlog_max: Some(128), ..ROOMY },
                &["accept_backlog is 4096", "at 128", "`sysctl -w net.core.somaxconn=4096`"],
            ),
            (Machine { ports: Some(2), ..ROOMY }, &["3 connections", "there are 2", "ip_local_port_range=\"1024 65535\""]),
        ] {
            let [said] = <[String; 1]>::try_from(needs.shortfalls(&machine)).expect("one thing falls short");
            for part in parts {
                assert!(said.contains(part), "{part:?}: {said}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_three_quarters_of_what_there_is_unless_the_configuration_says_so() {
        let limits = |memory_bytes_max| Limits { memory_bytes_max, ..Limits::default() };
        assert_eq!(memory_bytes_max(&limits(0), &ROOMY), Some(3 << 38));
        assert_eq!(memory_bytes_max(&limits(7), &ROOMY), Some(7));
        assert_eq!(memory_bytes_max(&limits(0), &Machine::default()), None);
        assert_eq!(bound_beyond(&limits(1 << 40), &ROOMY), None);
        assert_eq!(bound_beyond(&limits(0), &ROOMY), None);
        let small = Machine { memory: Some(Memory { bytes: 1 << 30, giver: Giver::AddressSpace }), ..ROOMY };
        let said = bound_beyond(&limits(2 << 30), &small).expect("there is less");
        assert!(said.contains("is 2.0 GiB, and 1.0 GiB are all") && said.contains("`ulimit -v 2097152`"), "{said}");
    }
}
