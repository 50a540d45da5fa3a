//! The fuzzer's corpus, replayed: every input that was kept goes through the same `check` as under `scripts/fuzz`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "public for the fuzzer's own crate")]
mod fuzz;

/// Each target's own inputs.
macro_rules! targets {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), fuzz::$target::check);
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let here = [$(stringify!($target)),*];
            let mut fuzzed: Vec<String> = fs::read_dir(root().join("fuzz_targets"))
                .expect("the targets lie there")
                .map(|entry| entry.expect("it can be read").path().file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            fuzzed.sort();
            assert_eq!(fuzzed, here, "in the order of the alphabet");
        }
    };
}

targets!(config, connection, deflate, dialect, frame, handshake, hub, journal, message, session, unmask, utf8);

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = root().join("corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
        let path = entry.expect("a directory entry can be read").path();
        let input = fs::read(&path).expect("an input can be read");
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            panic!("{} fails; `scripts/fuzz` shows how to look closer", path.display());
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", corpus.display());
}
