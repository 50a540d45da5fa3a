//! Events from the gateway: JSON text without a frame, `"e"` first.
//!
//! Without: who hears them.

use crate::dialect::json;

/// This connection will be closed within `in_ms`.
pub fn server_shutdown(out: &mut Vec<u8>, unix_ms: u64, in_ms: u64) {
    out.extend_from_slice(b"{\"e\":\"serverShutdown\",\"E\":");
    json::push_number(out, unix_ms);
    out.extend_from_slice(b",\"in\":");
    json::push_number(out, in_ms);
    out.push(b'}');
}
