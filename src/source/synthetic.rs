//! A made-up market: best prices and trades of some twenty instruments, for demonstrations and tests.
//!
//! [`Market`] is pure: the same seed, rate and times give the same bytes. Only `run` knows a clock, and only schedules.
//! Invariants: a price is positive and on its instrument's tick, the bid is below the ask, a trade is not outside the best
//! prices published before it, and every payload says `"demo":true`.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::complaints::Complaints;
use super::{Outlet, SourceContext, SourceError, unix_ms};
use crate::broker::PublishError;
use crate::config;
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::metrics::FeedState;

/// What an instrument is; prices and sizes are counted in their last decimal.
struct Listing {
    symbol: &'static str,
    /// Where the price begins and is drawn back to.
    price: u64,
    decimals: u32,
    tick: u64,
    size_decimals: u32,
    /// A usual size.
    size: u64,
    /// Standard deviation of the relative change in one second, millionths.
    volatility_ppm: f64,
    /// How often it moves, against the others.
    weight: u32,
}

#[rustfmt::skip]
const LISTINGS: &[Listing] = &[
    Listing { symbol: "BTC-USD",  price: 6_142_350,   decimals: 2, tick: 10,  size_decimals: 4, size: 2_500,      volatility_ppm: 90.0,  weight: 18 },
    Listing { symbol: "ETH-USD",  price: 338_420,     decimals: 2, tick: 1,   size_decimals: 3, size: 4_200,      volatility_ppm: 110.0, weight: 14 },
    Listing { symbol: "SOL-USD",  price: 14_662,      decimals: 2, tick: 1,   size_decimals: 2, size: 3_800,      volatility_ppm: 150.0, weight: 10 },
    Listing { symbol: "XRP-USD",  price: 52_480,      decimals: 5, tick: 10,  size_decimals: 0, size: 1_900,      volatility_ppm: 140.0, weight: 7 },
    Listing { symbol: "ADA-USD",  price: 38_910,      decimals: 5, tick: 10,  size_decimals: 0, size: 2_400,      volatility_ppm: 150.0, weight: 5 },
    Listing { symbol: "DOGE-USD", price: 12_356,      decimals: 5, tick: 1,   size_decimals: 0, size: 9_000,      volatility_ppm: 180.0, weight: 6 },
    Listing { symbol: "AVAX-USD", price: 2_714,       decimals: 2, tick: 1,   size_decimals: 2, size: 4_500,      volatility_ppm: 160.0, weight: 4 },
    Listing { symbol: "LTC-USD",  price: 7_135,       decimals: 2, tick: 1,   size_decimals: 2, size: 1_600,      volatility_ppm: 130.0, weight: 4 },
    Listing { symbol: "LINK-USD", price: 13_842,      decimals: 3, tick: 1,   size_decimals: 1, size: 850,        volatility_ppm: 150.0, weight: 4 },
    Listing { symbol: "BTC-EUR",  price: 5_628_410,   decimals: 2, tick: 10,  size_decimals: 4, size: 1_800,      volatility_ppm: 90.0,  weight: 7 },
    Listing { symbol: "ETH-BTC",  price: 55_090,      decimals: 6, tick: 10,  size_decimals: 3, size: 3_600,      volatility_ppm: 60.0,  weight: 4 },
    Listing { symbol: "EUR-USD",  price: 109_215,     decimals: 5, tick: 1,   size_decimals: 0, size: 1_000_000,  volatility_ppm: 14.0,  weight: 9 },
    Listing { symbol: "GBP-USD",  price: 127_480,     decimals: 5, tick: 1,   size_decimals: 0, size: 750_000,    volatility_ppm: 16.0,  weight: 6 },
    Listing { symbol: "USD-JPY",  price: 147_236,     decimals: 3, tick: 1,   size_decimals: 0, size: 1_000_000,  volatility_ppm: 18.0,  weight: 7 },
    Listing { symbol: "USD-CHF",  price: 86_570,      decimals: 5, tick: 1,   size_decimals: 0, size: 500_000,    volatility_ppm: 15.0,  weight: 4 },
    Listing { symbol: "AUD-USD",  price: 65_940,      decimals: 5, tick: 1,   size_decimals: 0, size: 600_000,    volatility_ppm: 18.0,  weight: 4 },
    Listing { symbol: "XAU-USD",  price: 242_785,     decimals: 2, tick: 1,   size_decimals: 0, size: 40,         volatility_ppm: 30.0,  weight: 6 },
    Listing { symbol: "XAG-USD",  price: 27_564,      decimals: 3, tick: 5,   size_decimals: 0, size: 900,        volatility_ppm: 50.0,  weight: 3 },
    Listing { symbol: "WTI-USD",  price: 7_682,       decimals: 2, tick: 1,   size_decimals: 0, size: 12,         volatility_ppm: 55.0,  weight: 4 },
    Listing { symbol: "ES-USD",   price: 534_425,     decimals: 2, tick: 25,  size_decimals: 0, size: 18,         volatility_ppm: 35.0,  weight: 6 },
];

/// What a publication is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Best bid and ask.
    Bbo,
    /// A trade.
    Trade,
}

/// An instrument's moment.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Relative distance from the listing's price.
    displacement: f64,
    /// A tendency that comes and goes, relative change a second.
    drift: f64,
    moved_us: u64,
    bid: u64,
    ask: u64,
    bid_size: u64,
    ask_size: u64,
}

/// The market.
#[derive(Debug)]
pub struct Market {
    random: Xoshiro256PlusPlus,
    states: Vec<State>,
    mean_interval_us: f64,
    /// Instruments that have prices.
    opened: usize,
    due_us: u64,
}

impl Market {
    /// A market that publishes `publications_per_second` (at least 1) in the mean, at random moments.
    #[must_use]
    pub fn new(seed: u64, publications_per_second: u32) -> Market {
        Market {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            states: vec![State::default(); LISTINGS.len()],
            mean_interval_us: 1e6 / f64::from(publications_per_second.max(1)),
            opened: 0,
            due_us: 0,
        }
    }

    /// When the next publication is due, microseconds since the market opened.
    #[must_use]
    pub fn due_us(&self) -> u64 {
        self.due_us
    }

    /// Appends the next publication's payload, stamped with `unix_ms`; tells the instrument (its place in [`symbols`]) and
    /// the kind.
    pub fn publish(&mut self, unix_ms: u64, payload: &mut Vec<u8>) -> (usize, Kind) {
        let now_us = self.due_us;
        // First every instrument gets its prices, at once, so that nobody waits for a quiet one.
        let opening = self.opened < LISTINGS.len();
        let instrument = if opening { self.opened } else { self.pick() };
        let kind = if opening || self.random.random_bool(0.72) { Kind::Bbo } else { Kind::Trade };
        self.opened += usize::from(opening);
        if self.opened == LISTINGS.len() {
            // Poisson arrivals: the time between two is exponential.
            let uniform: f64 = self.random.random();
            self.due_us += (-(1.0 - uniform).ln() * self.mean_interval_us) as u64;
        }
        match kind {
            Kind::Bbo => self.quote(instrument, now_us, unix_ms, payload),
            Kind::Trade => self.trade(instrument, unix_ms, payload),
        }
        (instrument, kind)
    }

    fn pick(&mut self) -> usize {
        let total: u32 = LISTINGS.iter().map(|listing| listing.weight).sum();
        let mut rest = self.random.random_range(0..total);
        for (place, listing) in LISTINGS.iter().enumerate() {
            match rest.checked_sub(listing.weight) {
                Some(less) => rest = less,
                None => return place,
            }
        }
        unreachable!("a number below the sum of the weights falls on one of them")
    }

    /// New best prices.
    fn quote(&mut self, instrument: usize, now_us: u64, unix_ms: u64, payload: &mut Vec<u8>) {
        let listing = &LISTINGS[instrument];
        self.walk(instrument, now_us);
        let fair = listing.price as f64 * (1.0 + self.states[instrument].displacement) / listing.tick as f64;
        // Mostly one tick wide, sometimes a few; of two sizes one is new, now and then both.
        let width = self.random.random::<f64>().powi(4).mul_add(5.0, 1.0) as u64;
        let bid = ((fair - width as f64 / 2.0).round() as u64).max(1);
        let (bid_size, ask_size) = (self.size(instrument), self.size(instrument));
        let renewed = self.random.random_range(0..3);
        let state = &mut self.states[instrument];
        let (bid, ask) = (bid * listing.tick, (bid + width) * listing.tick);
        if renewed != 0 || bid != state.bid || state.bid_size == 0 {
            state.bid_size = bid_size;
        }
        if renewed != 1 || ask != state.ask || state.ask_size == 0 {
            state.ask_size = ask_size;
        }
        (state.bid, state.ask) = (bid, ask);

        let price = |units| Decimal { units, decimals: listing.decimals };
        let size = |units| Decimal { units, decimals: listing.size_decimals };
        let (b, b_size, a, a_size) = (price(bid), size(state.bid_size), price(ask), size(state.ask_size));
        write!(
            payload,
            r#"{{"demo":true,"s":"{}","b":"{b}","B":"{b_size}","a":"{a}","A":"{a_size}","E":{unix_ms}}}"#,
            listing.symbol
        )
        .expect("a Vec takes every write");
    }

    /// A trade at the best prices, or between them.
    fn trade(&mut self, instrument: usize, unix_ms: u64, payload: &mut Vec<u8>) {
        let listing = &LISTINGS[instrument];
        let state = self.states[instrument];
        // Who follows the tendency is a little more eager.
        let buy = self.random.random_bool((0.5 + state.drift * 2_000.0).clamp(0.25, 0.75));
        let ticks = (state.ask - state.bid) / listing.tick;
        let from_bid = match self.random.random_range(0..10) {
            0 => self.random.random_range(0..=ticks),
            _ if buy => ticks,
            _ => 0,
        };
        let price = Decimal { units: state.bid + from_bid * listing.tick, decimals: listing.decimals };
        let size = Decimal { units: self.size(instrument), decimals: listing.size_decimals };
        let side = if buy { "buy" } else { "sell" };
        write!(payload, r#"{{"demo":true,"s":"{}","p":"{price}","q":"{size}","side":"{side}","E":{unix_ms}}}"#, listing.symbol)
            .expect("a Vec takes every write");
    }

    /// Moves the fair price: a random walk with a tendency that fades, drawn back to where it began.
    fn walk(&mut self, instrument: usize, now_us: u64) {
        const DRIFT_FADES_S: f64 = 25.0;
        const DRAWN_BACK_S: f64 = 900.0;
        const DISPLACEMENT_MAX: f64 = 0.4;
        let volatility = LISTINGS[instrument].volatility_ppm / 1e6;
        let (shock, turn) = (self.normal(), self.normal());
        let state = &mut self.states[instrument];
        // A pause of the clock is not made up for by a jump of the price.
        let elapsed_s = (now_us.saturating_sub(state.moved_us) as f64 / 1e6).min(5.0);
        state.moved_us = now_us;
        state.drift += volatility * 0.06 * elapsed_s.sqrt() * turn - state.drift * elapsed_s / DRIFT_FADES_S;
        state.displacement += state.drift * elapsed_s + volatility * elapsed_s.sqrt() * shock;
        state.displacement -= state.displacement * elapsed_s / DRAWN_BACK_S;
        state.displacement = state.displacement.clamp(-DISPLACEMENT_MAX, DISPLACEMENT_MAX);
    }

    /// Small sizes often, large ones seldom, never none.
    fn size(&mut self, instrument: usize) -> u64 {
        let skew = self.random.random::<f64>().powi(3).mul_add(4.0, 0.04);
        ((LISTINGS[instrument].size as f64 * skew) as u64).max(1)
    }

    /// About normal, mean 0 and deviation 1: a sum of twelve uniform numbers, which any machine adds alike.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0
    }
}

/// The instruments' names.
pub fn symbols() -> impl ExactSizeIterator<Item = &'static str> {
    LISTINGS.iter().map(|listing| listing.symbol)
}

/// A decimal number that was never a binary fraction.
#[derive(Clone, Copy)]
struct Decimal {
    units: u64,
    decimals: u32,
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = 10u64.pow(self.decimals);
        write!(f, "{}", self.units / one)?;
        if self.decimals > 0 {
            write!(f, ".{:0width$}", self.units % one, width = self.decimals as usize)?;
        }
        Ok(())
    }
}

/// The topics of each instrument: best prices, trades.
pub(super) fn topics(prefix: &str) -> Result<Vec<[TopicName; 2]>, SourceError> {
    let topic = |kind, symbol| TopicName::parse(&format!("{prefix}.{kind}.{symbol}"));
    let topics = symbols().map(|symbol| Ok([topic("bbo", symbol)?, topic("trades", symbol)?]));
    topics.collect::<Result<_, crate::hub::TopicNameError>>().map_err(|_| SourceError::Prefix(prefix.to_owned()))
}

/// A market further behind than this (the machine slept) goes on from now rather than at once with all that it missed.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Publishes the market of `settings` until the gateway stops.
///
/// # Errors
/// [`SourceError::Prefix`].
pub(super) async fn run<O: Outlet>(settings: &config::Synthetic, outlet: &O, context: &SourceContext) -> Result<(), SourceError> {
    let topics = topics(&settings.prefix)?;
    let mut market = Market::new(settings.seed, settings.publications_per_second);
    let mut complaints = Complaints::default();
    let mut stopping = context.stopping.clone();
    let mut stopped = pin!(stopping.wait_for(|&stopping| stopping));
    let mut start = Instant::now();
    context.feed.set_state(FeedState::Live);
    loop {
        let due = start + Duration::from_micros(market.due_us());
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            () = tokio::time::sleep_until(due) => {}
        }
        let behind = due.elapsed();
        if behind > BEHIND_MAX {
            start += behind;
        }
        let unix_ms = unix_ms();
        let mut payload = Vec::with_capacity(160);
        let (instrument, kind) = market.publish(unix_ms, &mut payload);
        let payload = Payload { bytes: Bytes::from(payload), kind: PayloadKind::Json };
        let publication = NewPublication::new(topics[instrument][kind as usize].clone(), payload);
        match outlet.send(publication).await {
            Ok(()) => {
                context.metrics.source_publications.add(1);
                context.feed.came(1, unix_ms);
            }
            Err(PublishError::Stopping) => return Ok(()),
            Err(error) => complaints.note(Instant::now(), error),
        }
    }
}

#[cfg(test)]
mod tests;
