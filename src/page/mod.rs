//! The page's files (its client is the one of docs/clients), embedded in the binary, and the policy that they are served under.
//!
//! Without: HTTP. The session answers with these bytes.

/// What the page may load and talk to: its own files and its own gateway, nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes.
    pub body: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:literal) => {
        Asset { path: $path, content_type: $content_type, body: include_bytes!($file) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "index.html", "text/html; charset=utf-8"),
    asset!("/page/style.css", "style.css", "text/css; charset=utf-8"),
    asset!("/page/stream.js", "../../docs/clients/stream.js", "text/javascript; charset=utf-8"),
    asset!("/page/events.js", "../../docs/clients/events.js", "text/javascript; charset=utf-8"),
    asset!("/page/market.js", "market.js", "text/javascript; charset=utf-8"),
    asset!("/page/chart.js", "chart.js", "text/javascript; charset=utf-8"),
    asset!("/page/page.js", "page.js", "text/javascript; charset=utf-8"),
    asset!("/page/icon.svg", "icon.svg", "image/svg+xml"),
];

/// The file at a path.
#[must_use]
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
