//! A token from a page: a browser sets no header, so it goes among the subprotocols or into the query.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::common::{Gateway, skipped};
use crate::keys::Keys;

#[test]
fn a_page_in_chromium_shows_its_token_as_a_subprotocol() {
    let promised = std::env::var_os("TIDEGATE_TEST_PARTS").map(PathBuf::from);
    let must = promised.is_some() || std::env::var_os("CI").is_some();
    let installed = promised.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"));
    let (modules, browser) = (installed.join("node/node_modules"), installed.join("chromium"));
    if !modules.join("playwright-core").exists() || !browser.exists() {
        assert!(!must, "{} lacks the browser; scripts/install-test-parts installs it", installed.display());
        return skipped(
            "a_page_in_chromium_shows_its_token_as_a_subprotocol",
            "the browser is not installed (scripts/test installs it)",
        );
    }
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("{}[page]\nenabled = true\n", keys.shared()));
    let output = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/browser.mjs"))
        .args([format!("http://{}", gateway.clients), keys.token(json!({"subscribe": "md.>"})), keys.token(json!({"exp": 1}))])
        .env("NODE_PATH", &modules)
        .env("CHROMIUM", &browser)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    gateway.stop();
}
