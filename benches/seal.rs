//! Question: what does one send to a TLS client cost beside a plain one, by record size?
//!
//! TLS 1.3, AES-256-GCM as most clients choose. The copy is the naive twin: what the bytes would cost without TLS.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rcgen::generate_simple_self_signed;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tidegate::tls::{Acceptor, Identity, Tls, sealed_bytes_max};

/// Within the validity of what rcgen makes.
const NOW_UNIX_S: u64 = 1_780_000_000;

/// A connection whose handshake is done.
fn open() -> Tls {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate can be made");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity::read(certificate.as_bytes(), key.as_bytes(), NOW_UNIX_S).expect("it is right");
    let acceptor = Acceptor::new(&[identity], None, 8192, None).expect("it is right");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).expect("it is one")).expect("it is right");
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("it can be made");
    let mut tls = acceptor.accept().expect("it can be made");
    while !tls.is_open() || client.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a vector takes it");
        tls.open(&mut bytes, &mut Vec::new()).expect("they understand each other");
        let mut pending = tls.pending().to_vec();
        tls.pending_went(pending.len());
        let mut rest = &mut pending[..];
        while !rest.is_empty() {
            let mut read = &*rest;
            let count = client.read_tls(&mut read).expect("a slice gives it");
            rest = &mut rest[count..];
            client.process_new_packets().expect("they understand each other");
        }
    }
    tls
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    let mut tls = open();
    for bytes in [150, 1_400, 16 << 10] {
        let plain = vec![b'x'; bytes];
        let mut out = vec![0; sealed_bytes_max(bytes)];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("tls", bytes), |bencher| {
            bencher.iter(|| tls.seal(black_box(&plain), &mut out).expect("it is open"));
        });
        group.bench_function(BenchmarkId::new("copy", bytes), |bencher| {
            bencher.iter(|| black_box(&mut out)[..bytes].copy_from_slice(black_box(&plain)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = seal
}
criterion_main!(benches);
