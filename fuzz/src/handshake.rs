//! The opening handshake: any head comes to the same answer however it is torn, an accepted one is a request for a
//! WebSocket by a naive look too, and what each side writes the other takes.

use arbitrary::{Result, Unstructured};
use tidegate::http::{HeadError, HeadReader, Progress, is_token};
use tidegate::ws::Role;
use tidegate::ws::deflate::{Offer, Terms};
use tidegate::ws::handshake::{Accept, Chosen, ClientRequest, check_request, check_response, write_accept, write_request};

use super::cuts::Cuts;

const HEAD_BYTES_MAX: u32 = 2048;
const HEADERS_MAX: u16 = 24;

/// What a client asks who asks for nothing in particular.
const ASKED: ClientRequest<'static> =
    ClientRequest { host: "a", target: "/", nonce: [7; 16], protocols: &[], headers: &[], deflate: None };

/// Which of three things, and cuts; then the bytes.
pub fn check(data: &[u8]) {
    let Some(([which, high, low], bytes)) = data.split_first_chunk() else { return };
    let cuts = Cuts::new(u16::from_be_bytes([*high, *low]).into());
    match which % 4 {
        0 | 1 => request(bytes, cuts),
        2 => response(bytes, cuts),
        // What runs out of bytes asks for nothing.
        _ => drop(both_sides(&mut Unstructured::new(bytes), cuts)),
    }
}

/// Any offer of compression.
fn offer(choices: &mut Unstructured<'_>) -> Result<Offer> {
    let mut bits = || Ok(if choices.arbitrary()? { Some(choices.int_in_range(8..=15)?) } else { None });
    let (server_max_window_bits, client_max_window_bits) = (bits()?, bits()?);
    Ok(Offer {
        server_no_context_takeover: choices.arbitrary()?,
        client_no_context_takeover: choices.arbitrary()?,
        server_max_window_bits,
        client_max_window_bits,
    })
}

/// Feeds a head; how many bytes belong to it, `None` where it is not whole.
fn feed(reader: &mut HeadReader, bytes: &[u8], mut cuts: Cuts) -> std::result::Result<Option<usize>, HeadError> {
    let mut fed = 0;
    while fed < bytes.len() {
        let piece = cuts.next(bytes.len() - fed);
        match reader.feed(&bytes[fed..fed + piece])? {
            Progress::Partial => fed += piece,
            Progress::Complete { consumed } => {
                assert!(consumed <= piece);
                return Ok(Some(fed + consumed));
            }
        }
    }
    Ok(None)
}

/// The reader when it has the same head in one piece and in several.
fn read_both_ways(bytes: &[u8], cuts: Cuts) -> Option<HeadReader> {
    let (mut whole, mut torn) = (HeadReader::new(HEAD_BYTES_MAX, HEADERS_MAX), HeadReader::new(HEAD_BYTES_MAX, HEADERS_MAX));
    let read = feed(&mut whole, bytes, Cuts::new(0));
    assert_eq!(feed(&mut torn, bytes, cuts), read, "however it is torn");
    let end = read.ok().flatten()?;
    assert!(bytes[..end].ends_with(b"\r\n") && end <= HEAD_BYTES_MAX as usize, "a head ends with a line, in its bound");
    assert_eq!(torn.feed(&bytes[end..]), Ok(Progress::Complete { consumed: 0 }), "what is behind it is not taken");
    assert_eq!(whole.request(), torn.request());
    Some(torn)
}

fn request(bytes: &[u8], cuts: Cuts) {
    let Some(reader) = read_both_ways(bytes, cuts) else { return };
    let request = match reader.request() {
        Ok(request) => request,
        Err(error) => return assert!(matches!(error.status(), 400 | 431)),
    };
    assert!(request.headers.iter().count() <= usize::from(HEADERS_MAX));
    assert!(is_token(request.method.as_bytes()));
    let _ = (request.path(), request.query(), request.host(), request.keep_alive());
    match check_request(&request) {
        Ok(upgrade) => {
            let head = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            for needed in ["get ", "upgrade", "websocket", "sec-websocket-key", "sec-websocket-version", "13", "host"] {
                assert!(needed == "host" && request.minor_version == 0 || head.contains(needed), "without {needed}: {head}");
            }
            assert!(request.minor_version == 1 && !request.has_body());
            let protocol = upgrade.protocols().next();
            assert!(upgrade.protocols().all(|protocol| is_token(protocol.as_bytes())));
            let mut answer = Vec::new();
            write_accept(&mut answer, &upgrade.accept, protocol, &[]);
            let offered: Vec<&str> = upgrade.protocols().collect();
            let chosen = answered(&answer, &upgrade.accept, &ClientRequest { protocols: &offered, ..ASKED });
            assert_eq!(chosen.map(|chosen| chosen.protocol), Ok(protocol), "what we answer opens");
            // What several clients share is the strictest.
            let shared = upgrade.deflate(Terms::Shared);
            assert!(shared.is_none_or(|agreed| agreed.server_no_context_takeover && agreed.client_no_context_takeover));
            assert!(shared.is_none() || upgrade.deflate(Terms::Own).is_some());
        }
        Err(refusal) => assert!(matches!(refusal.status, 400 | 405 | 426) && !refusal.sentence.is_empty()),
    }
}

fn response(bytes: &[u8], cuts: Cuts) {
    let Some(reader) = read_both_ways(bytes, cuts) else { return };
    let Ok(response) = reader.response() else { return };
    let mut request = Vec::new();
    let asked = ClientRequest { protocols: &["one", "two"], deflate: Some(Offer::default()), ..ASKED };
    let accept = write_request(&mut request, &asked);
    if let Ok(Chosen { protocol, .. }) = check_response(&response, &accept, &asked) {
        assert!(bytes.windows(accept.len()).any(|window| window == accept), "nobody opens without the answer to our key");
        assert_eq!(response.status, 101);
        assert!(protocol.is_none_or(|protocol| asked.protocols.contains(&protocol)));
    }
}

fn answered<'p>(head: &[u8], accept: &Accept, asked: &ClientRequest<'p>) -> std::result::Result<Chosen<'p>, String> {
    let mut reader = HeadReader::new(HEAD_BYTES_MAX * 2, HEADERS_MAX);
    assert_eq!(reader.feed(head), Ok(Progress::Complete { consumed: head.len() }));
    let response = reader.response().map_err(|error| error.to_string())?;
    check_response(&response, accept, asked).map_err(|error| error.to_string())
}

/// A client's request as we write it, read as we read it, and answered.
fn both_sides(choices: &mut Unstructured<'_>, cuts: Cuts) -> Result<()> {
    let mut word = |allowed: fn(&char) -> bool, longest: usize| -> Result<String> {
        Ok(choices.arbitrary::<&str>()?.chars().filter(allowed).take(longest).collect())
    };
    let host = word(|character| character.is_ascii_alphanumeric() || ".-:[]".contains(*character), 100)?;
    // A fragment is no part of a request, and is refused.
    let target = format!("/{}", word(|character| character.is_ascii_graphic() && *character != '#', 300)?);
    let mut protocols = Vec::new();
    for _ in 0..3 {
        protocols.push(word(|character| is_token(character.to_string().as_bytes()), 40)?);
    }
    let protocols: Vec<&str> = protocols.iter().map(String::as_str).filter(|protocol| !protocol.is_empty()).collect();
    let value = word(|character| character.is_ascii_graphic() || *character == ' ', 200)?;
    let nonce = choices.arbitrary()?;
    let headers = [("X-Value", value.as_str())];
    let deflate = if choices.arbitrary()? { Some(offer(choices)?) } else { None };
    let terms = if choices.arbitrary()? { Terms::Own } else { Terms::Shared };
    let mut bytes = Vec::new();
    let asked = ClientRequest { host: &host, target: &target, nonce, protocols: &protocols, headers: &headers, deflate };
    let accept = write_request(&mut bytes, &asked);
    let end = bytes.len();
    bytes.extend_from_slice(b"\x81\x80frames behind it");
    let reader = read_both_ways(&bytes, cuts).expect("what we write is a head");
    let request = reader.request().expect("what we write is a request");
    assert_eq!((request.target, request.header("x-value")), (&target[..], Some(value.trim().as_bytes())));
    let upgrade = check_request(&request).expect("what we write asks for a WebSocket");
    assert_eq!(upgrade.accept, accept, "both sides know the same answer");
    assert!(upgrade.protocols().eq(protocols.iter().copied()));
    let mut answer = Vec::new();
    let agreed = upgrade.deflate(terms);
    let insists = deflate.is_some_and(|offer| offer.server_max_window_bits.is_some_and(|bits| bits < 15));
    assert_eq!(agreed.is_some(), deflate.is_some() && (terms == Terms::Own || !insists));
    let extension = agreed.map(|agreed| agreed.to_string());
    let mut fields = headers.to_vec();
    fields.extend(extension.iter().map(|agreed| ("Sec-WebSocket-Extensions", agreed.as_str())));
    let protocol = protocols.last().copied();
    write_accept(&mut answer, &upgrade.accept, protocol, &fields);
    let chosen = answered(&answer, &accept, &asked).expect("what we answer opens");
    assert_eq!(chosen.protocol, protocol);
    assert_eq!(chosen.deflate.is_some(), agreed.is_some());
    for (theirs, ours) in chosen.deflate.iter().zip(&agreed) {
        for side in [Role::Server, Role::Client] {
            assert_eq!(theirs.takes_over(side), ours.takes_over(side));
        }
        assert_eq!(theirs.window_bits(Role::Server), ours.window_bits(Role::Server));
        assert!(theirs.window_bits(Role::Client) <= ours.window_bits(Role::Client), "we can read what the client may refer to");
    }
    assert!(bytes[end..].starts_with(b"\x81"), "the head's end is the head's");
    Ok(())
}
