//! What a granted handshake is answered with.
//!
//! Without: whether it is granted; the door decides that.

use super::bearer;
use super::refusal::Refusal;
use crate::admission::request_id;
use crate::metrics::RefusalReason;
use crate::ws::deflate::Agreement;
use crate::ws::handshake;

/// A handshake that is granted, once its streams are subscribed to.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) accept: [u8; 28],
    /// The client offered `tidegate.v1`.
    pub(super) subprotocol: bool,
    /// A stream of the URL had an option, so a combined connection begins with the reply.
    pub(super) reply: bool,
    pub(super) deflate: Option<Agreement>,
    /// A publisher that is told how many of its messages were taken.
    pub(super) ack: bool,
}

impl Upgraded {
    /// The 101.
    pub(super) fn write_head(&self, out: &mut Vec<u8>, request_id: &str) {
        let answer = self.deflate.map(|agreed| agreed.to_string());
        let extensions = answer.iter().map(|answer| ("Sec-WebSocket-Extensions", answer.as_str()));
        let headers: Vec<_> = extensions.chain([(request_id::FIELD, request_id)]).collect();
        handshake::write_accept(out, &self.accept, self.subprotocol.then_some(SUBPROTOCOL), &headers);
    }
}

/// The subprotocol that names this dialect.
const SUBPROTOCOL: &str = "tidegate.v1";

/// A client may offer `tidegate.v1` beside `bearer.<token>`: the first is selected, a token never. A bearer alone would
/// leave a browser without a selected subprotocol, which fails its connection: refused with a sentence.
pub(super) fn subprotocol(upgrade: &handshake::Upgrade<'_>) -> Result<bool, Refusal> {
    let mut ours = false;
    let mut has_token = false;
    for protocol in upgrade.protocols() {
        ours |= protocol == SUBPROTOCOL;
        has_token |= protocol.starts_with(bearer::PROTOCOL_PREFIX);
    }
    if has_token && !ours {
        let message = "a bearer token in Sec-WebSocket-Protocol needs tidegate.v1 beside it: `tidegate.v1, bearer.<token>`";
        return Err(Refusal::new(400, RefusalReason::BadRequest, message));
    }
    Ok(ours)
}
