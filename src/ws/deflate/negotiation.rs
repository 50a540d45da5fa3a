//! Offers and answers (RFC 7692 5 and 7.1), for both roles.
//!
//! Without: the header's grammar, which is [`extensions`]'s.

use std::fmt;
use std::ops::RangeInclusive;

use super::WINDOW_BITS_MAX;
use crate::ws::Role;
use crate::ws::extensions::{self, Extension};

/// The extension's token.
const NAME: &str = "permessage-deflate";

/// Values of both `max_window_bits` (RFC 7692 7.1.2).
const WINDOW_BITS: RangeInclusive<u8> = 8..=WINDOW_BITS_MAX;

/// What a server grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// A compressor for each client: whatever the client asks for.
    Own,
    /// The same compressed frames for all clients: no context is taken over, in neither direction, and the window is the
    /// largest. An offer that insists on a smaller one is declined.
    Shared,
}

/// What both sides agreed on; as text, the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// The server's window is 2 to this many bytes, from 8 to 15; `None`: 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's window, in the same way.
    pub client_max_window_bits: Option<u8>,
}

impl Agreement {
    /// Whether the side of this role may refer to its earlier messages.
    #[must_use]
    pub fn takes_over(&self, sender: Role) -> bool {
        match sender {
            Role::Server => !self.server_no_context_takeover,
            Role::Client => !self.client_no_context_takeover,
        }
    }

    /// Bits of the window of the side of this role.
    #[must_use]
    pub fn window_bits(&self, sender: Role) -> u8 {
        let bits = match sender {
            Role::Server => self.server_max_window_bits,
            Role::Client => self.client_max_window_bits,
        };
        bits.unwrap_or(WINDOW_BITS_MAX)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            client_max_window_bits: self.client_max_window_bits.map(Some),
        }
        .fmt(f)
    }
}

/// The server's choice among the offers of a client, in the client's order: the first that can be granted; `None` declines
/// them all.
#[must_use]
pub fn choose(offers: &[Extension<'_>], terms: Terms) -> Option<Agreement> {
    // RFC 7692 5.1: a server MUST decline an offer with parameters that are not defined, invalid or there twice; the next
    // one may be acceptable.
    offers.iter().filter(|offer| offer.name == NAME.as_bytes()).find_map(|offer| grant(&Parameters::read(offer)?, terms))
}

fn grant(offer: &Parameters, terms: Terms) -> Option<Agreement> {
    match terms {
        // RFC 7692 7.1.1.1 and 7.1.2.1: what is asked of the server is accepted by saying it again. 7.1.1.2 and 7.1.2.2: what
        // the client says of itself is a hint; said again, it binds the client to it.
        Terms::Own => Some(Agreement {
            server_no_context_takeover: offer.server_no_context_takeover,
            client_no_context_takeover: offer.client_no_context_takeover,
            server_max_window_bits: offer.server_max_window_bits,
            client_max_window_bits: offer.client_max_window_bits.flatten(),
        }),
        Terms::Shared if offer.server_max_window_bits.is_some_and(|bits| bits < WINDOW_BITS_MAX) => None,
        // RFC 7692 7.1.1.1 and 7.1.1.2: both may be answered even if the client did not ask for them.
        Terms::Shared => Some(Agreement {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: offer.server_max_window_bits,
            client_max_window_bits: None,
        }),
    }
}

/// What a client offers; as text, the header's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The server must compress each message by itself.
    pub server_no_context_takeover: bool,
    /// The client will compress each message by itself.
    pub client_no_context_takeover: bool,
    /// The server's window must be no larger than 2 to this many bytes, from 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's window will be no larger than that, and the server may ask for a smaller one; 15 asks only for the latter.
    pub client_max_window_bits: Option<u8>,
}

/// Why a server's answer is none to our offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The header cannot be read.
    #[error(transparent)]
    Malformed(#[from] extensions::Malformed),
    /// An extension that was not offered, or one twice.
    #[error("the server chose an extension that was not offered")]
    Unexpected,
    /// Parameters that are not defined, invalid, there twice, or not what was offered.
    #[error("the server's parameters of permessage-deflate do not answer the offer")]
    Parameters,
}

impl Offer {
    /// Checks the server's answer; `None`: it declined.
    ///
    /// # Errors
    /// See [`AnswerError`]; the connection is to be failed.
    pub fn check<'v>(&self, answer: impl Iterator<Item = &'v [u8]>) -> Result<Option<Agreement>, AnswerError> {
        let chosen = extensions::parse(answer)?;
        let chosen = match &chosen[..] {
            [] => return Ok(None),
            [one] if one.name == NAME.as_bytes() => one,
            // RFC 6455 4.1: an extension that was not present in the client's handshake MUST fail the connection.
            _ => return Err(AnswerError::Unexpected),
        };
        let answered = Parameters::read(chosen).ok_or(AnswerError::Parameters)?;
        // RFC 7692 7.1.2: in an answer, both have a value; the client's must have been offered, and neither grows.
        let client_max_window_bits = match (answered.client_max_window_bits, self.client_max_window_bits) {
            (None, offered) => offered,
            (Some(Some(bits)), Some(offered)) if bits <= offered => Some(bits),
            _ => return Err(AnswerError::Parameters),
        };
        let agreed = Agreement {
            server_no_context_takeover: answered.server_no_context_takeover,
            client_no_context_takeover: answered.client_no_context_takeover || self.client_no_context_takeover,
            server_max_window_bits: answered.server_max_window_bits,
            client_max_window_bits,
        };
        // RFC 7692 7.1.1.1 and 7.1.2.1: a server accepts them by including them.
        let keeps = (answered.server_no_context_takeover || !self.server_no_context_takeover)
            && self.server_max_window_bits.is_none_or(|most| answered.server_max_window_bits.is_some_and(|bits| bits <= most));
        if keeps { Ok(Some(agreed)) } else { Err(AnswerError::Parameters) }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            client_max_window_bits: self.client_max_window_bits.map(|bits| (bits < WINDOW_BITS_MAX).then_some(bits)),
        }
        .fmt(f)
    }
}

/// The parameters of one offer or answer, each right in itself.
#[derive(Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// In an offer it may stand without a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// `None` where one is not defined, has a wrong value or stands there twice.
    fn read(extension: &Extension<'_>) -> Option<Parameters> {
        let mut read = Parameters::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let twice = match (*name, value) {
                (b"server_no_context_takeover", None) => std::mem::replace(&mut read.server_no_context_takeover, true),
                (b"client_no_context_takeover", None) => std::mem::replace(&mut read.client_no_context_takeover, true),
                (b"server_max_window_bits", Some(value)) => read.server_max_window_bits.replace(window_bits(value)?).is_some(),
                (b"client_max_window_bits", None) => read.client_max_window_bits.replace(None).is_some(),
                (b"client_max_window_bits", Some(value)) => {
                    read.client_max_window_bits.replace(Some(window_bits(value)?)).is_some()
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(read)
    }
}

/// RFC 7692 7.1.2: a decimal integer without leading zeroes between 8 and 15.
fn window_bits(value: &[u8]) -> Option<u8> {
    let bits = match value {
        [digit @ b'1'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'9'] => 10 + digit - b'0',
        _ => return None,
    };
    WINDOW_BITS.contains(&bits).then_some(bits)
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => write!(f, "; client_max_window_bits={bits}"),
            Some(None) => f.write_str("; client_max_window_bits"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's answer to a header, for echo and for subscribers; empty where it declines.
    fn check(header: &str, own: &str, shared: &str) {
        let offers = extensions::parse([header.as_bytes()].into_iter()).expect("the header can be read");
        let answer = |terms| choose(&offers, terms).map_or(String::new(), |agreed| agreed.to_string());
        for (terms, expected) in [(Terms::Own, own), (Terms::Shared, shared)] {
            let expected = expected.replace("p-d", "permessage-deflate").replace("none", NO_TAKEOVER);
            assert_eq!(answer(terms), expected, "{header}, {terms:?}");
        }
    }

    const NO_TAKEOVER: &str = "server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn every_parameter_is_granted_or_declined() {
        check("permessage-deflate", "p-d", "p-d; none");
        // What browsers send.
        check("permessage-deflate; client_max_window_bits", "p-d", "p-d; none");
        check("permessage-deflate; client_max_window_bits=9", "p-d; client_max_window_bits=9", "p-d; none");
        check("permessage-deflate; server_no_context_takeover", "p-d; server_no_context_takeover", "p-d; none");
        check("permessage-deflate; client_no_context_takeover", "p-d; client_no_context_takeover", "p-d; none");
        check(
            "permessage-deflate; server_max_window_bits=15",
            "p-d; server_max_window_bits=15",
            "p-d; none; server_max_window_bits=15",
        );
        for bits in 8..15 {
            let parameter = format!("; server_max_window_bits={bits}");
            check(&format!("permessage-deflate{parameter}"), &format!("p-d{parameter}"), "");
        }
        check("permessage-deflate; server_max_window_bits=\"1\\0\"", "p-d; server_max_window_bits=10", "");
        let all = "permessage-deflate; client_max_window_bits=8; server_max_window_bits=11; none";
        check(&all.replace("none", NO_TAKEOVER), "p-d; none; server_max_window_bits=11; client_max_window_bits=8", "");
    }

    #[test]
    fn an_offer_that_is_not_valid_is_declined_and_the_next_one_tried() {
        for parameter in [
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=8.0",
            "server_max_window_bits=18446744073709551624",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=0",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=10",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=true",
            "client_no_context_takeover; client_no_context_takeover",
            "Client_max_window_bits",
            "unknown",
        ] {
            check(&format!("permessage-deflate; {parameter}"), "", "");
            check(&format!("permessage-deflate; {parameter}, permessage-deflate"), "p-d", "p-d; none");
        }
        check("", "", "");
        check("x-webkit-deflate-frame, permessage-bzip2", "", "");
        check("permessage-bzip2, permessage-deflate", "p-d", "p-d; none");
        // The client's order counts; subscribers get the first that suits shared frames.
        let fallback = "permessage-deflate; server_max_window_bits=10, permessage-deflate; server_no_context_takeover";
        check(fallback, "p-d; server_max_window_bits=10", "p-d; none");
    }

    fn answer(offer: Offer, answer: &str) -> Result<Option<Agreement>, AnswerError> {
        offer.check([answer.as_bytes()].into_iter())
    }

    #[test]
    fn whatever_a_client_offers_is_what_the_server_reads() {
        let flags = [false, true];
        let bits = [None, Some(8), Some(9), Some(14), Some(15)];
        for (server_no_context_takeover, client_no_context_takeover) in flags.iter().flat_map(|a| flags.map(|b| (*a, b))) {
            for (server_max_window_bits, client_max_window_bits) in bits.iter().flat_map(|a| bits.map(|b| (*a, b))) {
                let offer = Offer {
                    server_no_context_takeover,
                    client_no_context_takeover,
                    server_max_window_bits,
                    client_max_window_bits,
                };
                let header = offer.to_string();
                let offers = extensions::parse([header.as_bytes()].into_iter()).expect("an offer can be read");
                for terms in [Terms::Own, Terms::Shared] {
                    let Some(granted) = choose(&offers, terms) else {
                        assert!(terms == Terms::Shared && server_max_window_bits.is_some_and(|bits| bits < 15), "{header}");
                        continue;
                    };
                    let agreed = answer(offer, &granted.to_string()).expect("an answer to the offer").expect("it is granted");
                    for sender in [Role::Server, Role::Client] {
                        assert_eq!(agreed.takes_over(sender), granted.takes_over(sender), "{header}: {granted}");
                    }
                    assert_eq!(agreed.window_bits(Role::Server), granted.window_bits(Role::Server), "{header}: {granted}");
                    assert!(agreed.window_bits(Role::Client) <= granted.window_bits(Role::Client), "{header}: {granted}");
                }
            }
        }
    }

    #[test]
    fn answers_that_answer_no_offer() {
        let plain = Offer::default();
        assert_eq!(answer(plain, ""), Ok(None));
        assert!(answer(plain, "permessage-deflate; server_max_window_bits=9").is_ok_and(|agreed| agreed.is_some()));
        for (offer, text, error) in [
            (plain, "permessage-deflate;", AnswerError::Malformed(extensions::Malformed)),
            (plain, "permessage-bzip2", AnswerError::Unexpected),
            (plain, "permessage-deflate, permessage-deflate", AnswerError::Unexpected),
            (plain, "permessage-deflate; client_max_window_bits=10", AnswerError::Parameters),
            (plain, "permessage-deflate; unknown", AnswerError::Parameters),
            (plain, "permessage-deflate; server_max_window_bits=7", AnswerError::Parameters),
            (Offer { server_no_context_takeover: true, ..plain }, "permessage-deflate", AnswerError::Parameters),
            (Offer { server_max_window_bits: Some(10), ..plain }, "permessage-deflate", AnswerError::Parameters),
            (
                Offer { server_max_window_bits: Some(10), ..plain },
                "permessage-deflate; server_max_window_bits=11",
                AnswerError::Parameters,
            ),
            (
                Offer { client_max_window_bits: Some(10), ..plain },
                "permessage-deflate; client_max_window_bits=11",
                AnswerError::Parameters,
            ),
            (
                Offer { client_max_window_bits: Some(15), ..plain },
                "permessage-deflate; client_max_window_bits",
                AnswerError::Parameters,
            ),
        ] {
            assert_eq!(answer(offer, text), Err(error), "{text}");
        }
    }
}
