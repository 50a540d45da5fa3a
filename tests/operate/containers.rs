//! The container's image and the example for Kubernetes. No engine and no cluster: the image's file system, made by the very script that
//! makes it in the Containerfile, is a process's whole root, and the example is held to Kubernetes' own schemas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Client, Gateway, skipped};
use crate::programs::{TIDEGATE, checkout, program, run, said};

/// The user of the image.
const USER: &str = "65532";

/// What the image starts, with flags that find free ports, below its root and as its user.
fn contained(bwrap: &Path, root: &Path) -> Command {
    let mut command = Command::new(bwrap);
    command.arg("--ro-bind").args([root, Path::new("/")]).args(["--proc", "/proc", "--dev", "/dev", "--unshare-user"]);
    // The gateway is its child, and a test that ends kills the parent.
    command.arg("--die-with-parent");
    command.args(["--uid", USER, "--gid", USER, "--clearenv", "--", "/usr/bin/tidegate"]);
    command
}

#[test]
fn the_gateway_runs_in_the_images_root_as_its_user() {
    let test = "the container's root";
    let Some(bwrap) = program(test, "bwrap", &[]) else { return };
    let place = TempDir::new().expect("a temporary directory can be made");
    let root = place.path().join("root");
    said(Command::new(checkout("scripts/install.d/container-root")).arg(TIDEGATE).arg(&root));
    if !run(contained(&bwrap, &root).arg("--version")).status.success()
        && !run(Command::new(&bwrap).args(["--ro-bind", "/", "/", "true"])).status.success()
    {
        return skipped(test, "no namespaces can be made here, as within a container");
    }
    let start = ["serve", "--config", "/etc/tidegate/tidegate.toml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    // By io_uring, and as an engine's default profile has it.
    for (filter, by_epoll) in [(None, false), (Some(checkout("tests/confined/without_io_uring.py")), true)] {
        let inner = contained(&bwrap, &root);
        let mut command = match filter {
            None => Command::new(inner.get_program()),
            Some(filter) => {
                let mut command = Command::new("python3");
                command.arg(filter).arg(inner.get_program());
                command
            }
        };
        let gateway = Gateway::by(command.args(inner.get_args()).args(start));
        let mut client = Client::connect(&gateway, "/ws/md.a");
        gateway.publish("md.a", "1");
        assert_eq!(client.text(), "1");
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a running process has a status");
        assert!(status.lines().any(|line| line.starts_with("CapEff:") && line.ends_with("0000000000000000")), "{status}");
        let is_told = gateway.said().contains("serving by epoll");
        assert!(is_told == by_epoll || crate::common::is_epoll(), "{}", gateway.said());
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("what was copied can be listed");
    let paths = entries.map(|entry| entry.expect("what was copied can be listed").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// As the Containerfile has it: what it copies is all that a build needs.
#[test]
fn the_containerfile_copies_a_workspace_that_is_whole() {
    let text = fs::read_to_string(checkout("Containerfile")).expect("it is there");
    let place = TempDir::new().expect("a temporary directory can be made");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    // The last word is where to: the same place.
    for copied in copies.filter_map(|line| line.rsplit_once(' ')).flat_map(|(copied, _)| copied.split(' ')) {
        let to = place.path().join(copied);
        fs::create_dir_all(to.parent().expect("it lies below")).expect("a temporary directory is ours");
        said(Command::new("cp").arg("-r").arg(checkout(copied)).arg(&to));
    }
    let metadata = ["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"];
    let metadata: Value =
        serde_json::from_str(&said(Command::new(env!("CARGO")).args(metadata).current_dir(&place))).expect("it is JSON");
    let targets = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let built: Vec<&str> =
        targets.filter(|target| target["kind"] != "test").filter_map(|target| target["src_path"].as_str()).collect();
    assert!(built.len() > 4 && built.iter().all(|file| Path::new(file).exists()), "{built:?}");
    // Files that the code has in it, wherever they lie.
    for file in files_below(&place.path().join("src")).iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
        let text = fs::read_to_string(file).expect("it was copied");
        let lines = text.lines().filter(|line| line.contains("include_"));
        for included in lines.flat_map(|line| line.split('"')).filter(|word| word.starts_with("../")) {
            assert!(file.with_file_name(included).exists(), "{included} of {} is not copied", file.display());
        }
    }
}

#[test]
fn what_a_container_has_at_first_is_valid() {
    let told = said(Command::new(TIDEGATE).args(["check", "--config"]).arg(checkout("scripts/install.d/container.toml")));
    // It is meant to be reached; nothing else is to be said.
    let warnings: Vec<&str> = told.lines().filter(|line| line.starts_with("warning")).collect();
    assert!(warnings.iter().all(|warning| warning.contains("reachable from other machines")), "{warnings:?}");
}

/// The whole example by Kubernetes' schemas, its configuration by our own reading, and its times by addition.
#[test]
fn kubernetes_takes_the_example_and_its_times_add_up() {
    let venv = checkout("target/test-parts/venv/bin");
    let Some(validate) = program("the example for Kubernetes", "kubernetes-validate", &[venv.join("kubernetes-validate")]) else {
        return;
    };
    let example = checkout("docs/operations/kubernetes.yaml");
    said(Command::new(&validate).args(["--strict", "--quiet"]).arg(&example));
    // The judge can say no.
    let place = TempDir::new().expect("a temporary directory can be made");
    let text = fs::read_to_string(&example).expect("it is there");
    let wrong = place.path().join("wrong.yaml");
    fs::write(&wrong, text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds")).expect("it is ours");
    assert!(!run(Command::new(&validate).args(["--strict", "--quiet"]).arg(&wrong)).status.success());

    let python = validate.with_file_name("python");
    let to_json = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let documents = said(Command::new(python).args(["-c", to_json]).arg(&example));
    let documents: Vec<Value> = serde_json::from_str(&documents).expect("it was written as JSON");
    let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let file = place.path().join("tidegate.toml");
    let toml = of("ConfigMap")["data"]["tidegate.toml"].as_str().expect("the configuration is text");
    fs::write(&file, toml).expect("it is ours");
    said(Command::new(TIDEGATE).args(["check", "--config"]).arg(&file));
    let pod = &of("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let config: toml::Table = toml.parse().expect("it was just read");
    let ms = |table: &str, key: &str| config.get(table)?.get(key)?.as_integer();
    let pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().expect("there is a pause");
    let drain_ms = ms("drain", "delay_ms").zip(ms("drain", "window_ms")).map(|(delay, window)| delay + window);
    let stop_ms = ms("limits", "stop_timeout_ms").unwrap_or(5_000);
    let grace_s = pod["terminationGracePeriodSeconds"].as_i64().expect("there is a grace period");
    assert!(grace_s * 1_000 > pause_s * 1_000 + drain_ms.expect("there is a drain") + stop_ms);
    let ready = &container["readinessProbe"];
    let noticed_ms = 1_000 * ready["periodSeconds"].as_i64().unwrap_or(10) * ready["failureThreshold"].as_i64().unwrap_or(3);
    assert!(ms("drain", "delay_ms").is_some_and(|delay| delay > noticed_ms), "clients are taken until the probes have noticed");
    let labels = &of("Deployment")["spec"]["template"]["metadata"]["labels"];
    for selector in [&of("Service")["spec"]["selector"], &of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]] {
        assert_eq!(selector, labels);
    }
}
