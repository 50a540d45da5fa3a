//! A recorded feed to many subscribers: its messages as they stand, on one topic, at the moments at which they came or at a
//! multiple of that pace. The latency counts from the scheduled moment, over all deliveries.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::audience::Audience;
use crate::dialect;
use crate::figures::Figures;
use crate::options::{self, Options};
use crate::payload::Payloads;
use crate::publisher::Pace;
use crate::recording::Recording;
use crate::run::{self, Team};
use crate::scene::{Scene, Wanted};
use crate::url::Url;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// The recording: lines of a time and a JSON message, gzip or plain; it begins with the warm-up
    #[arg(long, value_name = "FILE")]
    feed: PathBuf,
    /// How many times as fast as it was recorded
    #[arg(long, default_value_t = 1.0, value_parser = options::positive)]
    pace: f64,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Where the publisher connects [default: as the dialect has it, for auto the URL with /publish for /ws]
    #[arg(long)]
    publish_url: Option<Url>,
    /// How the server is spoken to
    #[arg(long, value_enum, default_value_t = dialect::Name::Auto)]
    dialect: dialect::Name,
}

/// Connects, warms up, measures: to the time's end or the recording's.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    let recording = Arc::new(Recording::read(&arguments.feed)?);
    let moments = (0..recording.len()).map(|index| (recording.offset_ns(index) as f64 / arguments.pace) as u64).collect();
    let payloads = Payloads::Recorded(recording.clone());
    let mut plan = options.plan(u64::from(arguments.clients) + 1, payloads.size_max() as u64)?;
    // With the last message in it.
    let lasts = Duration::from_nanos((recording.duration_ns() as f64 / arguments.pace) as u64) + Duration::from_millis(1);
    plan.measured = plan.measured.min(lasts.checked_sub(plan.warm_up).filter(|rest| !rest.is_zero()).ok_or_else(|| {
        let (lasts_s, warm_up_s) = (lasts.as_secs_f64(), plan.warm_up.as_secs_f64());
        io::Error::other(format!(
            "the recording lasts {lasts_s:.3} s at that pace and the warm-up {warm_up_s} s; lower --warm-up"
        ))
    })?);
    let team = Team::new(&plan);
    let wanted = Wanted {
        subscribers: arguments.clients,
        topics: 1,
        topics_per_subscriber: 1,
        payloads,
        pace: Pace::Schedule(Arc::new(moments)),
        dialect: arguments.dialect.dialect(),
        publish_url: arguments.publish_url.clone(),
    };
    let scene = Scene::new(wanted, options, plan.workers)?;
    let (figures, _) = run::run(&plan, &team, |worker| Ok(Audience::new(&team, &scene, worker)))?;
    let mut figures = options
        .describe("replay", figures)
        .with_dialect(arguments.dialect.text())
        .with_parameter("clients", arguments.clients)
        .with_parameter("feed", arguments.feed.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned()))
        .with_parameter("pace", arguments.pace);
    figures.extra.insert(String::from("publications"), scene.course.done().into());
    Ok(figures)
}
