//! The pages' files, embedded in the binary, and the policies that they are served under: the page for clients (its client is the one of
//! docs/clients), and the operator's.
//!
//! Without: HTTP. The session answers with the one's bytes, the admin port with the other's.

/// What the page may load and talk to: its own files and its own gateway, nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the operator's page may load and talk to: its own files and the admin port.
pub const OPERATOR_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of a page.
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

const OPERATOR_ASSETS: &[Asset] = &[
    asset!("/", "operator/index.html", "text/html; charset=utf-8"),
    asset!("/page/operator.css", "operator/operator.css", "text/css; charset=utf-8"),
    asset!("/page/scale.js", "operator/scale.js", "text/javascript; charset=utf-8"),
    asset!("/page/history.js", "operator/history.js", "text/javascript; charset=utf-8"),
    asset!("/page/plot.js", "operator/plot.js", "text/javascript; charset=utf-8"),
    asset!("/page/key.js", "operator/key.js", "text/javascript; charset=utf-8"),
    asset!("/page/tables.js", "operator/tables.js", "text/javascript; charset=utf-8"),
    asset!("/page/operator.js", "operator/operator.js", "text/javascript; charset=utf-8"),
    asset!("/page/icon.svg", "icon.svg", "image/svg+xml"),
];

/// The file at a path of a clients' listener.
#[must_use]
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// The file of the operator's page at a path of the admin port.
#[must_use]
pub fn operator_asset(path: &str) -> Option<&'static Asset> {
    OPERATOR_ASSETS.iter().find(|asset| asset.path == path)
}
