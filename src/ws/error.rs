//! Every way in which the peer can break the protocol, one variant each, in alphabetical order.

use super::CloseCode;

/// What the peer did wrong. The connection is over: it is answered with [`close_code`](Self::close_code) and read no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RFC 6455 5.5.1: a close frame's body is empty or begins with two bytes of code.
    #[error("a close frame with a body of one byte")]
    CloseBodyTruncated,
    /// RFC 6455 7.4: a code that must not stand in a close frame.
    #[error("close code {0} must not be sent")]
    CloseCodeInvalid(u16),
    /// RFC 6455 5.5.1: the reason of a close frame is UTF-8.
    #[error("a close reason that is not UTF-8")]
    CloseReasonNotUtf8,
    /// RFC 6455 5.4: a continuation frame needs a message to continue.
    #[error("a continuation frame outside of a message")]
    ContinuationUnexpected,
    /// RFC 6455 5.5: control frames must not be fragmented.
    #[error("a fragmented control frame")]
    ControlFragmented,
    /// RFC 6455 5.5: control frames carry at most 125 bytes.
    #[error("a control frame of more than 125 bytes")]
    ControlTooLong,
    /// RFC 7692 7.2.2: a compressed message is DEFLATE data.
    #[error("a compressed message that cannot be inflated")]
    DeflateBroken,
    /// The message inflates to more than `inflate_ratio_max` times its bytes.
    #[error("a compressed message that inflates beyond the limit on its ratio")]
    InflateRatio,
    /// RFC 6455 5.2: the most significant bit of a 64-bit length is 0.
    #[error("a frame length with its top bit set")]
    LengthInvalid,
    /// RFC 6455 5.2: the minimal number of bytes must be used to encode the length.
    #[error("a frame length written in more bytes than it needs")]
    LengthNotMinimal,
    /// RFC 6455 5.1: a client masks all its frames.
    #[error("a frame from a client without mask")]
    MaskMissing,
    /// RFC 6455 5.1: a server masks none of its frames.
    #[error("a masked frame from a server")]
    MaskUnexpected,
    /// RFC 6455 5.4: the fragments of one message must not be interleaved with those of another.
    #[error("a new message before the last one ended")]
    MessageInterleaved,
    /// The message is longer than `message_bytes_max`, inflated where it is compressed.
    #[error("a message longer than the limit")]
    MessageTooLong,
    /// RFC 6455 5.2: opcodes 3 to 7 and 11 to 15 are reserved.
    #[error("reserved opcode {0}")]
    OpcodeReserved(u8),
    /// RFC 6455 5.2: reserved bits are 0 unless an extension gave them a meaning. RFC 7692 6.1: RSV1 stands only on the first
    /// frame of a data message.
    #[error("a reserved bit is set")]
    ReservedBits,
    /// RFC 6455 8.1: text is UTF-8.
    #[error("a text message that is not UTF-8")]
    TextNotUtf8,
    /// The message has more than `fragments_max` fragments.
    #[error("a message of more fragments than the limit")]
    TooManyFragments,
}

impl ProtocolError {
    /// The code that answers it (RFC 6455 7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            // RFC 7692 names no code for what cannot be inflated. RFC 6455 7.4.1: 1007 is for "data within a message that was
            // not consistent with the type of the message"; the frame itself was right. Others answer so, too.
            Self::CloseReasonNotUtf8 | Self::DeflateBroken | Self::TextNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::InflateRatio | Self::MessageTooLong | Self::TooManyFragments => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }
}
