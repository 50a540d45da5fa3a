//! npm `ws` and Python's `websockets` with compression, which both offer by themselves.

use std::path::Path;

use crate::clients::{Program, node, parts, python};
use crate::common::{Client, Gateway};

fn payload(number: usize) -> String {
    let trades: Vec<String> = (0..number * 3 % 40).map(|trade| format!("{{\"p\":\"6123{trade}.10\",\"é\":{number}}}")).collect();
    format!("[{}]", trades.join(","))
}

#[test]
fn foreign_subscribers_read_compressed_frames() {
    let Some(parts) = parts("foreign_subscribers_read_compressed_frames") else { return };
    const COUNT: usize = 60;
    let gateway = Gateway::deflating("");
    for program in [node, python] {
        let before = gateway.counter("compressions");
        let mut command = program(&parts);
        command.arg(format!("ws://{}/ws", gateway.clients)).arg((COUNT + 1).to_string());
        command.arg("{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":1}").env("DEFLATE", "agreed");
        let mut program = Program::start(&mut command);
        assert_eq!(program.line(), "{\"result\":null,\"id\":1}");
        let mut publisher = Client::connect(&gateway, "/publish/md.a");
        for number in 0..COUNT {
            publisher.send(&payload(number));
            assert_eq!(program.line(), payload(number));
        }
        assert_eq!(program.line(), "pong are you there");
        assert_eq!(program.line(), "closed 1000");
        assert!(gateway.counter("compressions") > before + COUNT as u64 / 2);
    }
    gateway.stop();
}

/// Each client echoes with parameters of its own; `agreed` says whether the gateway grants them there.
fn check_echo(program: fn(&Path) -> std::process::Command, path: &str, parameters: &str, agreed: bool) {
    let Some(parts) = parts("foreign_clients_are_echoed") else { return };
    let gateway = Gateway::deflating("");
    let messages: Vec<String> = (1..20).map(payload).collect();
    let mut command = program(&parts);
    command.arg(format!("ws://{}{path}", gateway.clients)).arg(messages.len().to_string()).args(&messages);
    command.env("DEFLATE", if agreed { "agreed" } else { "declined" }).env("DEFLATE_PARAMETERS", parameters);
    let mut program = Program::start(&mut command);
    for message in &messages {
        assert_eq!(&program.line(), message, "{parameters}");
    }
    assert_eq!(program.line(), "pong are you there");
    assert_eq!(program.line(), "closed 1000");
    gateway.stop();
}

#[test]
fn foreign_clients_are_echoed_with_every_parameter() {
    for parameters in [
        "{}",
        "{\"serverNoContextTakeover\":true}",
        "{\"clientNoContextTakeover\":true}",
        "{\"serverMaxWindowBits\":10}",
        "{\"serverMaxWindowBits\":9,\"clientMaxWindowBits\":9,\"serverNoContextTakeover\":true}",
    ] {
        check_echo(node, "/echo", parameters, true);
    }
    for parameters in [
        "{}",
        "{\"server_no_context_takeover\":true}",
        "{\"client_no_context_takeover\":true}",
        "{\"server_max_window_bits\":10}",
        "{\"server_max_window_bits\":9,\"client_max_window_bits\":9,\"server_no_context_takeover\":true}",
    ] {
        check_echo(python, "/echo", parameters, true);
    }
}

#[test]
fn a_small_window_is_declined_to_foreign_subscribers() {
    let Some(parts) = parts("a_small_window_is_declined_to_foreign_subscribers") else { return };
    let gateway = Gateway::deflating("");
    for (program, parameters) in [
        (node as fn(&Path) -> std::process::Command, "{\"serverMaxWindowBits\":10}"),
        (python, "{\"server_max_window_bits\":10}"),
    ] {
        let mut command = program(&parts);
        command
            .arg(format!("ws://{}/ws", gateway.clients))
            .arg("2")
            .arg("{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":1}");
        command.env("DEFLATE", "declined").env("DEFLATE_PARAMETERS", parameters);
        let mut program = Program::start(&mut command);
        assert_eq!(program.line(), "{\"result\":null,\"id\":1}");
        gateway.publish("md.a", &payload(13));
        assert_eq!(program.line(), payload(13));
    }
    assert_eq!(gateway.counter("compressions"), 0);
    gateway.stop();
}
