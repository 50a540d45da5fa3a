//! How a worker's clients come: some handshakes at a time, in the order of their numbers, and the publisher after all others. One
//! whose handshake fails may come again, a few times.
//!
//! Without: what a client does once it is open; the load says when it has settled. Storms, whose connects have moments of their own.
//!
//! Invariant: a client has one connection at a time; without failures the numbers of clients and connections are the same.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::engine::Engine;
use crate::link::Route;
use crate::run::{OPENING_MAX, PATIENCE};

/// Before a client comes again.
const PAUSE_NS: u64 = 500_000_000;

pub(crate) struct Arrivals {
    route: Arc<Route>,
    /// So many of the first go another way.
    others: (usize, Arc<Route>),
    /// Who comes when all others have settled; its number is theirs.
    publisher: Option<Arc<Route>>,
    /// The first one's number among all workers'.
    first: usize,
    count: usize,
    opening_max: usize,
    begun: usize,
    settled: usize,
    /// By client.
    places: Vec<Place>,
    /// By connection.
    clients: Vec<u32>,
    moved_ns: u64,
    retries_max: u32,
    /// Who comes again, and not before when.
    again: VecDeque<(u64, usize)>,
    /// How often those came again that did.
    retries: HashMap<usize, u32>,
    retried: Retried,
}

#[derive(Clone, Copy, Default)]
struct Place {
    connection: u32,
    has_settled: bool,
}

/// How often clients came again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retried {
    pub(crate) count: u64,
    /// Why the first of them had to.
    pub(crate) first: Option<String>,
}

impl Arrivals {
    /// So many clients, numbered from `first` among those of all workers.
    pub(crate) fn new(route: Arc<Route>, first: usize, count: usize) -> Arrivals {
        Arrivals {
            others: (0, route.clone()),
            route,
            publisher: None,
            first,
            count,
            opening_max: OPENING_MAX,
            begun: 0,
            settled: 0,
            places: vec![Place::default(); count],
            clients: Vec::new(),
            moved_ns: 0,
            retries_max: 0,
            again: VecDeque::new(),
            retries: HashMap::new(),
            retried: Retried::default(),
        }
    }

    /// The same, of which the first ones go another way.
    pub(crate) fn with_first(self, count: usize, route: Arc<Route>) -> Arrivals {
        Arrivals { others: (count, route), ..self }
    }

    /// The same, with a publisher behind them.
    pub(crate) fn with_publisher(mut self, route: Arc<Route>) -> Arrivals {
        self.publisher = Some(route);
        self.places.push(Place::default());
        self
    }

    /// The same with at most so many handshakes at once, each tried again so often.
    pub(crate) fn patient(self, opening_max: usize, retries_max: u32) -> Arrivals {
        Arrivals { opening_max, retries_max, ..self }
    }

    /// Begins handshakes. True once everyone has settled; an error if nobody did for long.
    pub(crate) fn begin(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<bool> {
        while engine.opening() < self.opening_max
            && let Some(client) = self.next(now_ns)
        {
            let route = match &self.publisher {
                _ if client < self.others.0 => &self.others.1,
                Some(publisher) if client == self.count => publisher,
                _ => &self.route,
            };
            let connection = engine.connect(route, self.first + client)?;
            debug_assert_eq!(connection, self.clients.len(), "all of this engine's connections are begun here");
            self.clients.push(client as u32);
            self.places[client].connection = connection as u32;
        }
        let (settled, wanted) = (self.settled, self.places.len());
        if settled < wanted && now_ns > self.moved_ns + PATIENCE.as_nanos() as u64 {
            return Err(io::Error::other(format!(
                "{settled} of {wanted} clients of a worker are connected and subscribed, and no more came for {} s; the server's log \
                 may say why",
                PATIENCE.as_secs()
            )));
        }
        Ok(settled == wanted)
    }

    fn next(&mut self, now_ns: u64) -> Option<usize> {
        if let Some((_, client)) = self.again.pop_front_if(|(from_ns, _)| *from_ns <= now_ns) {
            return Some(client);
        }
        let is_publishers_turn = self.publisher.is_some() && self.begun == self.count && self.settled == self.count;
        (self.begun < self.count || is_publishers_turn).then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }

    /// The client of a connection.
    pub(crate) fn client(&self, connection: usize) -> usize {
        self.clients[connection] as usize
    }

    /// The latest connection of a client.
    pub(crate) fn connection(&self, client: usize) -> usize {
        self.places[client].connection as usize
    }

    /// The publisher's number and that of its connection, if nobody came twice.
    pub(crate) fn publisher(&self) -> usize {
        self.count
    }

    /// A client is as it is to be.
    pub(crate) fn settle(&mut self, client: usize, now_ns: u64) {
        self.settled += usize::from(!std::mem::replace(&mut self.places[client].has_settled, true));
        self.moved_ns = now_ns;
    }

    /// When one settled last.
    pub(crate) fn settled_ns(&self) -> u64 {
        self.moved_ns
    }

    /// A connection ended. Its client comes again if it had not settled and may; else the reason is given back.
    pub(crate) fn come_again(&mut self, connection: usize, why: io::Error, now_ns: u64) -> io::Result<()> {
        let client = self.client(connection);
        let retries = self.retries.entry(client).or_default();
        if self.places[client].has_settled || *retries >= self.retries_max {
            let tried = if *retries > 0 { format!(" (tried {} times)", *retries + 1) } else { String::new() };
            return Err(io::Error::new(why.kind(), format!("{why}{tried}")));
        }
        *retries += 1;
        self.again.push_back((now_ns + PAUSE_NS, client));
        self.retried.count += 1;
        self.retried.first.get_or_insert(why.to_string());
        Ok(())
    }

    pub(crate) fn retried(&self) -> &Retried {
        &self.retried
    }
}
