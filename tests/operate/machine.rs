//! What the machine gives, and what becomes of a gateway that comes to the end of it.

use std::process::Command;

use tempfile::TempDir;

use crate::common::{Client, Gateway, PUBLISHING, Raw};
use crate::reload::{comes_true, reloaded, status};

/// What `tidegate check` says of a configuration under a command that limits it.
fn checked(limiting: &[&str], toml: &str) -> String {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{toml}")).expect("it can be written");
    let mut command = Command::new(limiting[0]);
    let output = command.args(&limiting[1..]).args([env!("CARGO_BIN_EXE_tidegate"), "check", "--config"]).arg(&file).output();
    let output = output.expect("prlimit is there");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("what is said is UTF-8")
}

#[test]
fn what_the_machine_does_not_give_is_told_with_the_command_that_raises_it() {
    let rings = "[shards]\ncount = 2\n[[topic]]\npattern = \"a\"\nring_bytes = 1_073_741_824\n";
    let journals =
        "[journal]\ntopics_max = 5000\n[[topic]]\npattern = \"j.>\"\njournal = true\n[limits]\nconnections_max = 100\n";
    let said = checked(&["prlimit", "--nofile=300:300"], "[limits]\nconnections_max = 1000\n[shards]\ncount = 1\n");
    assert!(said.contains("It would not start here: ") && said.contains("RLIMIT_NOFILE is 300: raise it (`ulimit -n`"), "{said}");
    let said = checked(&["prlimit", "--nofile=2000:2000"], journals);
    assert!(said.contains("and RLIMIT_NOFILE is 2000: raise it (`ulimit -n 5") && !said.contains("not start"), "{said}");
    let limited = ["prlimit", "--as=3221225472"];
    let said = checked(&limited, rings);
    assert!(said.contains("to be had: raise RLIMIT_AS (`ulimit -v "), "{said}");
    let said = checked(&limited, "[limits]\nmemory_bytes_max = 4_294_967_296\n");
    assert!(said.contains("memory_bytes_max is 4.0 GiB, and 3.0 GiB are all that there is"), "{said}");
    // A start says the same, and serves.
    let gateway = Gateway::under(&limited, rings.trim_start_matches("[shards]\ncount = 2\n"));
    assert!(
        gateway.said().contains("WARN Receive buffers, idle clients and the rings of the topics that are named take 4."),
        "{}",
        gateway.said()
    );
    gateway.stop();
}

#[test]
fn what_the_kernel_caps_is_told_where_it_does() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux tells it");
    let most: u32 = most.trim().parse().expect("a number");
    let said = checked(&["env"], "[limits]\naccept_backlog = 65535\n");
    assert_eq!(said.contains("`sysctl -w net.core.somaxconn=65535`"), most < 65_535, "{said}");
    let said = checked(&["env"], "[limits]\nconnections_max = 100000\nsend_unsent_bytes_max = 1_048_576\n");
    assert!(said.contains("`sysctl -w net.ipv4.tcp_mem=\""), "a hundred thousand times a MiB is more than there is: {said}");
}

#[test]
fn above_its_memory_nobody_more_is_let_in_and_who_is_here_is_served() {
    const MIB: u64 = 1 << 20;
    let toml = |more: &str| format!("{PUBLISHING}[[topic]]\npattern = \"t\"\nring_bytes = 268_435_456\n[limits]\n{more}");
    let gateway = Gateway::configured(&toml(""));
    let resident = || -> u64 {
        let metrics = gateway.get("/metrics");
        let value = metrics.text().lines().find_map(|line| line.strip_prefix("tidegate_memory_resident_bytes "));
        value.expect("it is told").parse().expect("a number")
    };
    comes_true(|| resident() > 0, "memory is looked at");
    let mut client = Client::connect(&gateway, "/ws/other");
    reloaded(&gateway, "", &toml(&format!("memory_bytes_max = {}\n", resident() + 32 * MIB)));
    assert_eq!(gateway.get("/health/ready").status, 200);
    // The ring is allowed more than the process.
    let payload = vec![b'x'; MIB as usize - 1];
    for _ in 0..128 {
        assert_eq!(gateway.post("/api/topics/t", "application/octet-stream", &payload).status, 200);
    }
    comes_true(|| gateway.get("/health/ready").status == 503, "it is not ready");
    assert!(gateway.get("/health/ready").text().contains("memory_bytes_max"));
    let answer = Raw::open(gateway.clients).handshake("/ws/other", &[]);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    gateway.publish("other", "1");
    assert_eq!(client.text(), "1");
    assert!(gateway.said().contains("no more clients are taken"), "{}", gateway.said());
    reloaded(&gateway, "", &toml(""));
    comes_true(|| gateway.get("/health/ready").status == 200, "three quarters of the machine are more");
    comes_true(|| status(&gateway, "/ws/other", &[]) == 101, "clients come again");
    assert!(gateway.said().contains("clients are taken again"), "{}", gateway.said());
    drop(client);
    gateway.stop();
}
