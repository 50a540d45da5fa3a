//! Keys and tokens: made by `openssl`, signed by PyJWT, or with a shared secret in the test itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Gateway, PATIENCE, skipped};

/// A directory with keys.
pub(crate) struct Keys {
    directory: TempDir,
    secret: Vec<u8>,
}

impl Keys {
    /// With a shared secret that `openssl` made.
    pub(crate) fn new() -> Keys {
        let keys = Keys { directory: TempDir::new().expect("a temporary directory can be made"), secret: Vec::new() };
        openssl(&["rand", "-base64", "-out", &keys.path("secret"), "48"]);
        let secret = std::fs::read(keys.path("secret")).expect("it was written");
        Keys { secret: secret.trim_ascii_end().to_vec(), ..keys }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// A key pair of this algorithm, `<name>.pem` and `<name>.pub`.
    pub(crate) fn make(&self, algorithm: &str, name: &str) {
        let (private, public) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.pub")));
        let kind: &[&str] = match algorithm {
            "RS256" => &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ES256" => &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            _ => &["ED25519"],
        };
        openssl(&[&["genpkey", "-out", &private, "-algorithm"], kind].concat());
        openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    }

    /// A `[[tokens.key]]` of this file.
    pub(crate) fn key(&self, algorithm: &str, file: &str) -> String {
        format!("[[tokens.key]]\nalgorithm = {algorithm:?}\nfile = {:?}\n", self.path(file))
    }

    /// The shared secret as a key.
    pub(crate) fn shared(&self) -> String {
        self.key("HS256", "secret")
    }

    /// A token that the shared secret signs, good for a minute unless it says otherwise.
    pub(crate) fn token(&self, claims: Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &dated(claims), &EncodingKey::from_secret(&self.secret))
            .expect("it signs")
    }

    /// A public key as PyJWT writes it into a set, named by its file.
    pub(crate) fn jwk(&self, test: &str, algorithm: &str, name: &str) -> Option<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/jwk.py");
        let writing =
            Command::new(python(test)?).arg(script).args([algorithm, &self.path(&format!("{name}.pub")), name]).output();
        let output = writing.expect("python starts");
        assert!(output.status.success(), "PyJWT writes {algorithm}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).expect("a key is text").trim().to_owned())
    }

    /// A token that PyJWT signs; none where that is not installed and nobody promised it.
    pub(crate) fn sign(&self, test: &str, algorithm: &str, file: &str, kid: Option<&str>, claims: Value) -> Option<String> {
        let python = python(test)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/sign.py");
        let mut signing = Command::new(python);
        signing.arg(script).args([algorithm, &self.path(file)]).args(kid).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut signing = signing.spawn().expect("python starts");
        writeln!(signing.stdin.take().expect("stdin is piped"), "{}", dated(claims)).expect("it reads");
        let output = signing.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success(), "PyJWT signs with {algorithm}");
        Some(String::from_utf8(output.stdout).expect("a token is text").trim().to_owned())
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

fn dated(mut claims: Value) -> Value {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now_s() + 60);
    }
    claims
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn python(test: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("TIDEGATE_TEST_PARTS").map(PathBuf::from);
    let must = promised.is_some() || std::env::var_os("CI").is_some();
    let installed = promised.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"));
    let python = installed.join("venv/bin/python");
    let has_jwt = Command::new(&python).args(["-c", "import jwt, cryptography"]).stderr(Stdio::null()).status();
    if has_jwt.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(!must, "{} lacks PyJWT; scripts/install-test-parts installs it", installed.display());
    skipped(test, "PyJWT is not installed (scripts/test installs it)");
    None
}

/// Waits for a line of the log that has all of these in it.
#[track_caller]
pub(crate) fn logged(gateway: &Gateway, parts: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while !gateway.said().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(Instant::now() < deadline, "no line has all of {parts:?}:\n{}", gateway.said());
        std::thread::sleep(Duration::from_millis(5));
    }
}
