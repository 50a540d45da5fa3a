//! `tidegate publish` and `tail` at a gateway that takes tokens: from a file or the environment, and what they say without.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Gateway, PATIENCE};
use crate::keys::Keys;

const VARIABLE: &str = "TIDEGATE_TOKEN";

/// Runs to its end: whether it went well, and what it said.
fn run(arguments: &[&str], environment: Option<&str>, input: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove(VARIABLE).envs(environment.map(|token| (VARIABLE, token)));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built with its tests");
    // One that is refused does not read.
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it is text"))
}

#[test]
fn publish_and_tail_show_a_token_and_say_what_to_do_where_it_is_refused() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let url = format!("ws://{}", gateway.clients);
    let (says, hears) = (keys.token(json!({"publish": "md.>"})), keys.token(json!({"subscribe": "md.>"})));
    let over = keys.token(json!({"publish": "md.>", "exp": 1}));
    for (name, token) in [("says", &says), ("hears", &hears), ("over", &over)] {
        std::fs::write(keys.path(name), format!("{token}\n")).expect("it can be written");
    }
    let (says_file, hears_file, over_file, missing) =
        (keys.path("says"), keys.path("hears"), keys.path("over"), keys.path("none"));
    let publish = ["publish", "md.a", "--url", &url];
    let elsewhere = ["publish", "other", "--url", &url];
    let tail = ["tail", "--count", "1", &url, "md.a;last"];
    for (arguments, file, environment, is_well, said) in [
        (
            &publish[..],
            None,
            None,
            false,
            "(401): md.a: a token is needed here; show one with --token-file FILE, or by TIDEGATE_TOKEN",
        ),
        (&publish, Some(&says_file), None, true, "2 publications on md.a"),
        (&publish, None, Some(&*says), true, "2 publications on md.a"),
        (&publish, Some(&says_file), Some("a.b.c"), true, "2 publications on md.a"),
        (&publish, Some(&over_file), None, false, "(401): the token is not accepted; the gateway's log says what is wrong"),
        (&elsewhere, Some(&says_file), None, false, "(403): other: not allowed; the token does not grant it: see its claims"),
        (&publish, Some(&hears_file), None, false, "(403): md.a: not allowed"),
        (&publish, Some(&missing), None, false, "cannot be read"),
        (&publish, None, Some("two words"), false, "TIDEGATE_TOKEN holds no token"),
        (&tail, Some(&hears_file), None, true, "md.a {\"n\":2}"),
        (&tail, None, Some(&*hears), true, "md.a {\"n\":2}"),
        (&tail, None, None, false, "(401): md.a: a token is needed here"),
        (&tail, Some(&says_file), None, false, "(403): md.a: not allowed"),
    ] {
        let file = file.iter().flat_map(|file| ["--token-file", file.as_str()]);
        let arguments: Vec<&str> = arguments.iter().copied().chain(file).collect();
        let (went_well, output) = run(&arguments, environment, "{\"n\":1}\n{\"n\":2}\n");
        assert!(went_well == is_well && output.contains(said), "{arguments:?} {environment:?}: {output}");
        assert!(![&says, &hears, &over].iter().any(|token| output.contains(token.as_str())), "{output}");
    }
    gateway.stop();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Whoever issues short tokens writes them into the file.
#[test]
fn tail_reads_its_token_anew_for_each_connection() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let write = |sub: &str| {
        let token = keys.token(json!({"sub": sub, "subscribe": ">"}));
        std::fs::write(keys.path("token"), token).expect("it can be written");
    };
    let id_of = |sub: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = gateway.get(&format!("/api/connections?sub={sub}&role=subscriber"));
            let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
            if let Some(id) = answer["connections"][0]["id"].as_str() {
                return id.to_owned();
            }
            assert!(Instant::now() < deadline, "nobody is {sub}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    write("alice");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["tail", "--token-file", &keys.path("token"), &format!("ws://{}", gateway.clients), "md.>"]);
    let _tail = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary was built with its tests"));
    let id = id_of("alice");
    write("bob");
    let ended = gateway.post(&format!("/api/connections/{id}/disconnect"), "application/json", "{\"code\":1001}");
    assert_eq!(ended.status, 200, "{ended:?}");
    id_of("bob");
    gateway.stop();
}
