"""Brings the peers to target/peers, from the registries of crates, npm and Debian only. What is there already is left alone.

What cannot be had raises Missing with a sentence; the comparison goes on without it.
"""

import json
import os
import shutil
import subprocess
import tomllib

from .rows import ROOT

TARGET = ROOT / "target"
PEERS = TARGET / "peers"
SOURCES = ROOT / "loadtest/peers"


# Set where programs are taken as they are.
AS_BUILT = False


class Missing(Exception):
    """Why a peer is not measured, as a sentence."""


def gateway():
    """The gateway and the load generator, as users build them."""
    cargo(["build", "--release", "--workspace"], ROOT, TARGET)
    return version_of([TARGET / "release/tidegate", "--version"])


def crate(name):
    """A peer in Rust, by the lock file of its workspace."""
    cargo(["build", "--release", "--locked", "--package", f"peer-{name}"], SOURCES, PEERS)
    return locked(name)


def locked(name):
    packages = tomllib.loads((SOURCES / "Cargo.lock").read_text())["package"]
    return next(f"{name} {package['version']}" for package in packages if package["name"] == name)


def bun():
    npm("bun")
    return f"Bun {version_of([bun_binary(), '--version'])} (uWebSockets inside)"


def bun_binary():
    return PEERS / "bun/node_modules/@oven/bun-linux-x64/bin/bun"


def ws():
    npm("ws")
    node = version_of([need("node", "install Node.js"), "--version"])
    installed = json.loads((PEERS / "ws/node_modules/ws/package.json").read_text())
    return f"ws {installed['version']} on Node {node}"


def nchan():
    found = debian("nginx", "libnginx-mod-nchan")
    version = version_of([PEERS / "debian/usr/sbin/nginx", "-v"]).removeprefix("nginx version: ")
    return f"nchan {found['libnginx-mod-nchan']} in {version}"


def nats():
    debian("nats-server")
    return version_of([PEERS / "debian/usr/sbin/nats-server", "--version"]).replace(": v", " ")


def cargo(arguments, directory, target):
    if AS_BUILT:
        return
    need("cargo", "install Rust from rustup.rs")
    print(f"  cargo {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    if subprocess.run(["cargo", "--quiet", *arguments], cwd=directory, env=environment).returncode:
        raise Missing("cargo could not build it; its own words stand above")


def npm(name):
    """Installs what package.json names; a changed one is installed anew."""
    wanted = (SOURCES / name / "package.json").read_bytes()
    directory = PEERS / name
    if (directory / "node_modules").exists() and (directory / "package.json").read_bytes() == wanted:
        return
    need("npm", "install Node.js with npm")
    print(f"  npm install of {name}", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "package.json").write_bytes(wanted)
    result = subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=directory, capture_output=True, text=True)
    if result.returncode:
        shutil.rmtree(directory / "node_modules", ignore_errors=True)
        raise Missing(f"npm install failed in {directory}: {telling_line(result.stderr)}")


def debian(*packages):
    """Unpacks packages of this Debian (or Ubuntu) without installing them: no service starts, nothing else changes."""
    directory = PEERS / "debian"
    kept = {package: next(directory.glob(f"{package}_*.deb"), None) for package in packages}
    if not all(kept.values()):
        need("apt-get", "Debian or Ubuntu is needed for it")
        need("dpkg-deb", "Debian or Ubuntu is needed for it")
        directory.mkdir(parents=True, exist_ok=True)
        print(f"  apt-get download {' '.join(packages)}", flush=True)
        result = subprocess.run(["apt-get", "download", *packages], cwd=directory, capture_output=True, text=True)
        if result.returncode:
            raise Missing(f"apt-get download {' '.join(packages)}: {telling_line(result.stderr)} (is `apt-get update` due?)")
        kept = {package: next(directory.glob(f"{package}_*.deb")) for package in packages}
        for package in kept.values():
            subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    return {package: file.name.split("_")[1].replace("%3a", ":") for package, file in kept.items()}


def identity():
    """A certificate for the TLS rows (ECDSA P-256), made once."""
    certificate, key = PEERS / "localhost.pem", PEERS / "localhost.key"
    if not certificate.exists():
        need("openssl", "install openssl for the TLS rows")
        command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=localhost"
        command = ["openssl", *command.split(), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate]
        PEERS.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def need(program, advice):
    found = shutil.which(program)
    if not found:
        raise Missing(f"{program} is missing: {advice}")
    return found


def version_of(command):
    try:
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    except OSError as error:
        raise Missing(f"{command[0]} does not start: {error.strerror}") from None
    return (result.stdout.strip() or result.stderr.strip()).splitlines()[0]


def telling_line(text):
    """The line of a program's output that says what was wrong: the first that speaks of an error, else the last."""
    lines = text.strip().splitlines() or ["it gave no reason"]
    return next((line for line in lines if "error" in line.lower()), lines[-1]).strip()
