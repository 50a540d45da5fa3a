//! The hub against its naive twin: any sequence of operations, every client's bytes judged.

use arbitrary::{Result, Unstructured};
use tidegate::config::Slow;
use tidegate::hub::{
    Encoder, Encoding, Epoch, Fallen, Held, Hub, HubError, Marks, Pattern, Payload, PayloadKind, Position, Publication,
    RingLimits, Span, Start, Terms, TopicId, TopicName, TopicSettings, TornPlace, TornRest, Visiting,
};

#[path = "../../src/hub/tests/twin.rs"]
mod twin;

use twin::{ALL_ENCODINGS, CLIENTS, Operation, PATTERNS, Pair, TOPICS, Visit};

/// As many as a long session of the fuzzer's; more only cost time.
const OPERATIONS_MAX: usize = 200;

/// Limits, then operations.
pub fn check(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(mut pair) = pair(&mut choices) else { return };
    for _ in 0..OPERATIONS_MAX {
        // What runs out of bytes does nothing more.
        let Ok(operation) = operation(&mut choices) else { break };
        pair.apply(operation);
    }
    pair.finish();
}

fn pair(choices: &mut Unstructured<'_>) -> Result<Pair> {
    let mut limits = Vec::new();
    for _ in 0..TOPICS {
        limits.push(RingLimits { publications: choices.int_in_range(1..=8)?, bytes: choices.int_in_range(20..=700)?, age_ms: 0 });
    }
    let torn_bytes_max = if choices.arbitrary()? { choices.int_in_range(0..=300)? } else { 1 << 20 };
    Ok(Pair::new(&limits, torn_bytes_max))
}

fn operation(choices: &mut Unstructured<'_>) -> Result<Operation> {
    if choices.is_empty() {
        return Err(arbitrary::Error::NotEnoughData);
    }
    let client = |choices: &mut Unstructured<'_>| choices.int_in_range(0..=CLIENTS - 1);
    let topic = |choices: &mut Unstructured<'_>| choices.int_in_range(0..=TOPICS - 1);
    let pattern = |choices: &mut Unstructured<'_>| choices.int_in_range(0..=PATTERNS.len() - 1);
    Ok(match choices.int_in_range(0..=19)? {
        0..=4 => {
            let kind = *choices.choose(&[PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary])?;
            let short: u8 = choices.arbitrary()?;
            let size = if short == 255 { 66_000 } else { short.into() };
            Operation::Publish { topic: topic(choices)?, kind, size, begins: short % 16 == 9 }
        }
        5 | 6 => Operation::Subscribe { client: client(choices)?, topic: topic(choices)?, start: choices.int_in_range(0..=7)? },
        7 => Operation::Unsubscribe { client: client(choices)?, topic: topic(choices)? },
        8 => Operation::UnsubscribeAll { client: client(choices)? },
        9 => Operation::Leave { client: client(choices)? },
        10 => Operation::SwitchEncoding { client: client(choices)?, encoding: *choices.choose(&ALL_ENCODINGS)? },
        11 => Operation::Block { client: client(choices)?, blocked: choices.arbitrary()? },
        12 => Operation::Reopen { topic: topic(choices)? },
        13 | 14 => {
            Operation::SubscribePattern { client: client(choices)?, pattern: pattern(choices)?, last: choices.arbitrary()? }
        }
        15 => Operation::UnsubscribePattern { client: client(choices)?, pattern: pattern(choices)? },
        16 => Operation::Tour { rows_max: choices.int_in_range(1..=2)? },
        _ => {
            let mut visits = Vec::new();
            for _ in 0..choices.int_in_range(1..=CLIENTS)? {
                let bytes_max = match choices.int_in_range(0..=3)? {
                    0 => 0,
                    1 => usize::MAX,
                    _ => choices.int_in_range(1..=300)?,
                };
                let sent_permille = match choices.int_in_range(0..=7)? {
                    0 => None,
                    1 => Some(0),
                    2 | 3 => Some(1000),
                    _ => Some(choices.int_in_range(0..=1000)?),
                };
                visits.push(Visit { client: client(choices)?, bytes_max, sent_permille });
            }
            Operation::Turn { visits }
        }
    })
}
