//! What `scripts/install` puts on a machine: complete, as the programs that read it want it, and gone when it is taken away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::programs::{TIDEGATE, checkout, program, run, said};

/// The most that `systemd-analyze security` may find, in tenths: 12 are reached, and a network and `/proc/sys` are what is left.
const EXPOSURE_MAX: &str = "13";

/// `scripts/install` into a directory of its own.
fn install(arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let clean =
        ["PREFIX", "DESTDIR", "SYSCONFDIR"].iter().fold(Command::new(checkout("scripts/install")), |mut command, name| {
            command.env_remove(name);
            command
        });
    let mut command = clean;
    said(command.args(arguments).env("BINARY", TIDEGATE).envs(environment.iter().copied()))
}

/// Every file below a directory, with its bytes; the binary's are many, so of each only a sum.
fn files(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut open = vec![directory.to_path_buf()];
    let mut found = BTreeMap::new();
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("what was installed can be listed") {
            let path = entry.expect("what was installed can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).expect("what was installed can be read");
                let sum = bytes.iter().fold(bytes.len() as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                found.insert(path.strip_prefix(directory).expect("it lies below").to_path_buf(), sum);
            }
        }
    }
    found
}

#[test]
fn an_installation_is_whole_and_a_second_one_changes_nothing() {
    let place = TempDir::new().expect("a temporary directory can be made");
    let environment = [("DESTDIR", place.path())];
    install(&[], &environment);
    let first = files(place.path());
    for file in [
        "usr/local/bin/tidegate",
        "usr/local/lib/systemd/system/tidegate.service",
        "usr/local/lib/systemd/system/tidegate.socket",
        "usr/local/lib/systemd/system/tidegate@.service",
        "usr/local/share/man/man1/tidegate.1",
        "usr/local/share/man/man1/tidegate-journal-dump.1",
        "usr/local/share/bash-completion/completions/tidegate",
        "usr/local/share/zsh/site-functions/_tidegate",
        "usr/local/share/fish/vendor_completions.d/tidegate.fish",
        "etc/tidegate/tidegate.toml",
    ] {
        assert!(first.contains_key(Path::new(file)), "{file} is not in {:?}", first.keys());
    }
    install(&[], &environment);
    assert_eq!(files(place.path()), first);
    // An operator's own configuration is never touched, nor taken away.
    let configuration = place.path().join("etc/tidegate/tidegate.toml");
    fs::write(&configuration, "[[listener]]\naddress = \"127.0.0.1:1\"\n").expect("it is ours");
    let told = install(&[], &environment);
    assert!(told.contains("stays as it is"), "{told}");
    install(&["--uninstall"], &environment);
    let left = files(place.path());
    assert_eq!(left.keys().collect::<Vec<_>>(), [Path::new("etc/tidegate/tidegate.toml")]);
    assert_eq!(fs::read_to_string(&configuration).expect("it is there"), "[[listener]]\naddress = \"127.0.0.1:1\"\n");
}

#[test]
fn what_is_installed_at_first_is_safe_and_valid() {
    let told = said(Command::new(TIDEGATE).args(["check", "--config"]).arg(checkout("scripts/install.d/tidegate.toml")));
    assert!(!told.contains("warning"), "{told}");
    let refused = run(Command::new(checkout("scripts/install")).arg("--everything"));
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let Some(analyze) = program("the systemd unit", "systemd-analyze", &[]) else { return };
    let place = TempDir::new().expect("a temporary directory can be made");
    let etc = place.path().join("etc");
    install(&[], &[("PREFIX", place.path()), ("SYSCONFDIR", &etc)]);
    let unit = etc.join("systemd/system/tidegate.service");
    // Of a template only an instance can be looked at.
    fs::copy(unit.with_file_name("tidegate@.service"), unit.with_file_name("tidegate@a.service")).expect("it was installed");
    // The unit names the manual's page, which is looked for too.
    let manual = place.path().join("share/man");
    let units = [&unit, &unit.with_extension("socket"), &unit.with_file_name("tidegate@a.service")];
    let verified = said(Command::new(&analyze).arg("verify").args(units).env("MANPATH", manual));
    assert_eq!(verified, "", "not a word is to be said of it");
    let security = ["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_MAX}")];
    said(Command::new(&analyze).args(security).arg(&unit));
}

/// A systemd of its own, in a container of this machine's files: the unit's filters and file systems are the kernel's to enforce.
#[test]
fn the_unit_serves_reloads_and_stops_under_systemd() {
    let boot = "the unit under systemd";
    let Some(nspawn) = program(boot, "systemd-nspawn", &[]) else { return };
    let place = TempDir::new().expect("a temporary directory can be made");
    let booted = run(Command::new("unshare").args(["--mount", "sh"]).arg(checkout("tests/operate/under_systemd.sh")).args([
        &nspawn,
        place.path(),
        &checkout("."),
        Path::new(TIDEGATE),
    ]));
    let Ok(said) = fs::read_to_string(place.path().join("result/said")) else {
        let why = format!("no container can be booted here: {}", String::from_utf8_lossy(&booted.stderr).trim());
        return crate::common::skipped(boot, &why);
    };
    for step in [
        "installed",
        "started",
        "by io_uring",
        "reloaded",
        "stopped with success",
        "started by its socket",
        "nobody refused over a restart",
        "nobody refused over a takeover",
        "the one before ended well",
        "taken away",
    ] {
        assert!(said.lines().any(|line| line == step), "{step:?} was not said, but\n{said}");
    }
}

#[test]
fn each_page_of_the_manual_is_sound() {
    let Some(mandoc) = program("the manual", "mandoc", &[]) else { return };
    let place = TempDir::new().expect("a temporary directory can be made");
    said(Command::new(TIDEGATE).args(["man", "--directory"]).arg(place.path()));
    let pages = files(place.path());
    assert!(pages.len() > 6, "{:?}", pages.keys());
    for page in pages.keys() {
        assert_eq!(said(Command::new(&mandoc).args(["-Tlint", "-Wwarning"]).arg(place.path().join(page))), "");
    }
    let first = fs::read_to_string(place.path().join("tidegate.1")).expect("it was just written");
    assert_eq!(said(Command::new(TIDEGATE).arg("man")), first);
    assert!(first.contains("tidegate\\-serve(1)"), "the commands' pages are named");
}

#[test]
fn a_shell_completes_commands_and_flags() {
    for (line, expected) in [("tidegate se", "serve"), ("tidegate serve --rea", "--reactor"), ("tidegate journal ve", "verify")] {
        let words = line.split(' ').collect::<Vec<_>>();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            "source <({TIDEGATE} completions bash); COMP_WORDS=({line}); COMP_CWORD={}; _tidegate tidegate {last} {before}; echo \
             ${{COMPREPLY[@]}}",
            words.len() - 1
        );
        assert_eq!(said(Command::new("bash").args(["-c", &ask])).trim(), expected, "{line}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(said(Command::new(TIDEGATE).args(["completions", shell])).contains("reactor"), "{shell}");
    }
}
