//! TLS from the client's side: whose certificates are believed.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// For connections to servers whose certificates the machine's authorities signed, or those in the file `authority`.
///
/// # Errors
/// In a few words why the file cannot be used.
pub fn client_config(authority: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for both versions")
        .with_root_certificates(roots(authority)?)
        .with_no_client_auth();
    Ok(config.into())
}

/// The name that a server's certificate must have; `host` is as in a URL, without its port.
///
/// # Errors
/// In a few words what is wrong with it.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let name = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(name).map_err(|error| format!("{host}: {error}"))
}

/// What went wrong in a handshake, in a few words; `remedy` is said where the certificate is not believed.
#[must_use]
pub fn explained(error: &std::io::Error, remedy: &str) -> String {
    match error.get_ref() {
        // What `openssl req -x509` makes unless it is told otherwise.
        Some(inner) if inner.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's own; make it with basicConstraints=CA:FALSE, or have one signed by it".into()
        }
        Some(inner) if inner.to_string().contains("certificate") => format!("{inner}; {remedy}"),
        _ => error.to_string(),
    }
}

fn roots(authority: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // A machine without authorities of its own, or with some that cannot be read, trusts the file's and whatever could be.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = authority {
        let unusable = |error: &dyn Display| {
            format!("the authority {} cannot be used ({error}); it must hold certificates in PEM", file.display())
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
    }
    Ok(roots)
}
