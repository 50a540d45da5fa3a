//! The house rules as a test: floors, pure floors, sizes, names, reachable files. One function per rule; each is shown
//! to fail on a made-up offender, because a rule that cannot fail holds nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A module imports from floors below its own, and on its own floor only from what stands left of it.
const FLOORS: &[&[&str]] = &[
    &["config", "lines", "metrics", "http", "page", "slots", "reactor"],
    &["ws", "hub", "tls", "admission"],
    &["dialect", "session"],
    &["shard"],
    &["disk", "journal", "takeover", "broker", "source", "admin"],
    &["gateway", "command", "main", "lib"],
];

/// No socket, clock, thread, runtime or source of randomness: time and randomness are arguments here.
const PURE: &[&str] = &["config", "http", "page", "slots", "ws", "hub", "tls", "admission", "dialect", "session"];

/// Whatever brings one of those in. Addresses (`std::net::SocketAddr` and its kin) are values and welcome.
const IMPURE_NAMES: &[&str] = &[
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "async",
    "getrandom",
    "io_uring",
    "mio",
    "socket2",
    "thread",
    "thread_rng",
    "tokio",
    "tokio_uring",
];

/// Rooms in which `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["src/reactor/", "src/ws/mask/"];
const UNSAFE_FREE: &str = "src/reactor/sim";

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers", "misc"];

/// Where our own Rust files lie.
const OURS: &[&str] = &[
    "src",
    "tests",
    "benches",
    "loadtest/src",
    "loadtest/tests",
    "loadtest/peers/audience/src",
    "loadtest/peers/fastwebsockets/src",
    "loadtest/peers/parts/src",
    "loadtest/peers/sockudo-ws/src",
    "loadtest/peers/tokio-uring/src",
    "loadtest/peers/tokio-websockets/src",
    "fuzz/src",
    "fuzz/fuzz_targets",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn a_module_imports_only_from_floors_below() {
    check(&["src"], imports_upward);
    let upward = "use crate::{config, shard::{self, Shard}};";
    assert_eq!(imports_upward(&SourceFile::new("src/ws/frame.rs", upward)).len(), 1);
    assert_eq!(imports_upward(&SourceFile::new("src/ws/mod.rs", "fn f() { super::hub::topic(); }")).len(), 1);
    assert_eq!(
        imports_upward(&SourceFile::new(
            "src/ws/frame.rs",
            "// crate::shard\nuse super::mask; mod t { use super::super::close; }"
        )),
        NONE
    );
}

#[test]
fn pure_floors_know_no_socket_clock_thread_or_runtime() {
    check(&["src"], impurities);
    let clock = "use std::time::{Duration, Instant};";
    assert_eq!(impurities(&SourceFile::new("src/hub/ring.rs", clock)).len(), 1);
    assert_eq!(impurities(&SourceFile::new("src/shard/mod.rs", clock)), NONE);
    assert_eq!(impurities(&SourceFile::new("src/http.rs", "use std::net::{IpAddr, SocketAddr}; let say = \"thread\";")), NONE);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    check(OURS, unsafe_outside);
    let block = "fn f() { unsafe { g() } }";
    assert_eq!(unsafe_outside(&SourceFile::new("src/shard/mod.rs", block)).len(), 1);
    assert_eq!(unsafe_outside(&SourceFile::new("src/reactor/sim.rs", block)).len(), 1);
    assert_eq!(unsafe_outside(&SourceFile::new("src/reactor/uring.rs", block)), NONE);
}

#[test]
fn files_and_functions_stay_short() {
    check(OURS, too_long);
    let body = format!("fn f() {{\n{}}}", "g();\n".repeat(FUNCTION_LINES_MAX + 1));
    assert_eq!(too_long(&SourceFile::new("src/a.rs", &body)).len(), 1);
    assert_eq!(too_long(&SourceFile::new("src/a.rs", &"//\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
}

#[test]
fn nothing_is_left_for_later_and_names_say_something() {
    check(OURS, left_over);
    let later = concat!("// TO", "DO: more");
    assert_eq!(left_over(&SourceFile::new("src/a.rs", later)).len(), 1);
    assert_eq!(left_over(&SourceFile::new("src/a.rs", "#[ignore] fn f() { struct SlotManager; }")).len(), 2);
    assert_eq!(left_over(&SourceFile::new("src/ws/utils.rs", "")).len(), 1);
    assert_eq!(left_over(&SourceFile::new("src/a.rs", "#[ignore = \"needs a second machine\"] fn f() {}")), NONE);
}

#[test]
fn every_module_opens_with_what_it_is() {
    check(OURS, unopened);
    assert_eq!(unopened(&SourceFile::new("src/a.rs", "use std::fmt;")).len(), 1);
}

#[test]
fn every_file_is_compiled() {
    for (root, entries) in [("src", &["lib", "main"][..]), ("loadtest/src", &["main"]), ("fuzz/src", &["lib"])] {
        let files = sources(&[root]);
        let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
        let mut open: Vec<PathBuf> = entries.iter().map(|entry| PathBuf::from(format!("{root}/{entry}.rs"))).collect();
        while let Some(path) = open.pop() {
            let Some(file) = files.iter().find(|file| file.path == path) else { continue };
            if reached.insert(path.clone()) {
                open.extend(declared_modules(file));
            }
        }
        let dead: Vec<_> = files.iter().filter(|file| !reached.contains(&file.path)).map(|file| &file.path).collect();
        assert!(dead.is_empty(), "files that no `mod` names: {dead:?}");
    }
}

const NONE: [String; 0] = [];

/// Holds one rule over all Rust files of some directories.
fn check(directories: &[&str], rule: fn(&SourceFile) -> Vec<String>) {
    let files = sources(directories);
    assert!(!files.is_empty(), "no source under {directories:?}");
    let offences: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

fn imports_upward(file: &SourceFile) -> Vec<String> {
    let Some(own) = file.place() else { return vec![format!("{}: stands on no floor", file.path.display())] };
    if own.0 == FLOORS.len() - 1 {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (line, module) in file.imports() {
        if place_of(&module).is_some_and(|place| place.0 > own.0 || place.0 == own.0 && place.1 > own.1) {
            offences.push(file.offence(line, &format!("`{module}` is not below")));
        }
    }
    offences
}

fn impurities(file: &SourceFile) -> Vec<String> {
    if !PURE.contains(&file.module_path().first().map_or("", String::as_str)) {
        return Vec::new();
    }
    let names = file.tokens.iter().filter(|token| IMPURE_NAMES.contains(&token.text.as_str()));
    names.map(|token| file.offence(token.line, &format!("`{}` in a pure floor", token.text))).collect()
}

fn unsafe_outside(file: &SourceFile) -> Vec<String> {
    let path = file.path.to_string_lossy();
    if UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) && !path.starts_with(UNSAFE_FREE) {
        return Vec::new();
    }
    let blocks = file.tokens.iter().filter(|token| token.text == "unsafe");
    blocks.map(|token| file.offence(token.line, "`unsafe` outside its rooms")).collect()
}

fn too_long(file: &SourceFile) -> Vec<String> {
    let mut offences = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        offences.push(file.offence(lines, &format!("a file of {lines} lines")));
    }
    for (index, token) in file.tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        let lines = file.body_lines(index);
        if lines > FUNCTION_LINES_MAX {
            let name = &file.tokens[index + 1].text;
            offences.push(file.offence(token.line, &format!("`{name}` has {lines} lines")));
        }
    }
    offences
}

fn left_over(file: &SourceFile) -> Vec<String> {
    let mut offences = Vec::new();
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimple", "mented!(")] {
        let lines = file.text.lines().enumerate().filter(|(_, line)| line.contains(word));
        offences.extend(lines.map(|(index, _)| file.offence(index + 1, &format!("`{word}`"))));
    }
    for window in
        file.tokens.windows(3).filter(|window| window[0].text == "[" && window[1].text == "ignore" && window[2].text == "]")
    {
        offences.push(file.offence(window[0].line, "`#[ignore]` without a reason"));
    }
    for component in file.path.with_extension("").iter().filter(|component| is_empty_name(&component.to_string_lossy())) {
        offences.push(file.offence(1, &format!("`{}` says nothing", component.to_string_lossy())));
    }
    for window in file.tokens.windows(2).filter(|window| ["mod", "struct", "enum", "trait"].contains(&window[0].text.as_str())) {
        if is_empty_name(&window[1].text) {
            offences.push(file.offence(window[1].line, &format!("`{}` says nothing", window[1].text)));
        }
    }
    offences
}

fn unopened(file: &SourceFile) -> Vec<String> {
    // Unit tests in a file of their own belong to the module beside them, which says what they are of.
    if file.text.starts_with("//! ") || file.path.ends_with("tests.rs") {
        Vec::new()
    } else {
        vec![file.offence(1, "does not open with `//!`")]
    }
}

fn is_empty_name(name: &str) -> bool {
    let mut words = String::new();
    for character in name.chars() {
        if character.is_uppercase() {
            words.push('_');
        }
        words.extend(character.to_lowercase());
    }
    words.split('_').any(|word| EMPTY_NAMES.contains(&word))
}

fn place_of(module: &str) -> Option<(usize, usize)> {
    let find = |floor: &&[&str]| floor.iter().position(|name| *name == module);
    FLOORS.iter().enumerate().find_map(|(height, floor)| Some((height, find(floor)?)))
}

/// Where the modules that a file declares (`mod x;`) may lie.
fn declared_modules(file: &SourceFile) -> Vec<PathBuf> {
    let stem = file.path.file_stem().expect("a source file has a name");
    let beside = ["lib", "main", "mod"].iter().any(|entry| stem == *entry);
    let directory = if beside { file.path.parent().expect("it lies in src").to_path_buf() } else { file.path.with_extension("") };
    let declared = file.tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declared
        .flat_map(|window| [format!("{}.rs", window[1].text), format!("{}/mod.rs", window[1].text)])
        .map(|name| directory.join(name))
        .collect()
}

fn sources(directories: &[&str]) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = directories.iter().map(|directory| root.join(directory)).filter(|path| path.exists()).collect();
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the checkout can be read") {
            let path = entry.expect("a directory entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                files.push(SourceFile::new(path.strip_prefix(root).expect("it lies below the root"), &text));
            }
        }
    }
    files
}

/// A file as its words: comments, strings and lifetimes left out.
struct SourceFile {
    path: PathBuf,
    text: String,
    tokens: Vec<Token>,
}

/// An identifier, a number or one character of punctuation.
struct Token {
    line: usize,
    text: String,
}

impl SourceFile {
    fn new(path: impl AsRef<Path>, text: &str) -> SourceFile {
        SourceFile { path: path.as_ref().to_path_buf(), text: text.to_owned(), tokens: tokens(text) }
    }

    fn offence(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }

    /// `src/ws/mask/mod.rs` is `["ws", "mask"]`, `src/lib.rs` is `[]`.
    fn module_path(&self) -> Vec<String> {
        let without = self.path.with_extension("");
        let mut path: Vec<String> = without.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            path.pop();
        }
        path
    }

    fn place(&self) -> Option<(usize, usize)> {
        place_of(self.module_path().first().map_or("lib", String::as_str))
    }

    /// The module below the crate's root that each path beginning with `crate` or `super` leads to.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut inline: Vec<usize> = Vec::new();
        let mut depth = 0;
        let text = |index: usize| self.tokens.get(index).map_or("", |token| token.text.as_str());
        let mut index = 0;
        while index < self.tokens.len() {
            match text(index) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inline.retain(|opened| *opened <= depth);
                }
                "mod" if text(index + 2) == "{" => inline.push(depth + 1),
                "crate" | "super" if text(index + 1) == ":" && text(index.wrapping_sub(1)) != ":" => {
                    let mut path = self.module_path();
                    path.extend(inline.iter().map(|_| String::from("mod")));
                    while ["crate", "super"].contains(&text(index)) {
                        path.truncate(if text(index) == "crate" { 0 } else { path.len().saturating_sub(1) });
                        index += 3;
                    }
                    match path.first() {
                        Some(first) => found.push((self.tokens[index].line, first.clone())),
                        None => found.extend(self.first_segments(index)),
                    }
                    continue;
                }
                _ => {}
            }
            index += 1;
        }
        found
    }

    /// `a::b` gives `a`; `{a::b, c::{d, e}}` gives `a` and `c`.
    fn first_segments(&self, start: usize) -> Vec<(usize, String)> {
        let mut segments = Vec::new();
        let mut depth = 0;
        let mut first = true;
        for token in &self.tokens[start..] {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => first = true,
                _ if first => {
                    segments.push((token.line, token.text.clone()));
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        segments
    }

    /// Lines with code between the braces of the function whose `fn` stands at `index`; 0 where it has no body.
    fn body_lines(&self, index: usize) -> usize {
        let mut depth = 0;
        let mut brackets = 0;
        let mut lines = BTreeSet::new();
        for token in &self.tokens[index..] {
            match token.text.as_str() {
                "(" | "[" if depth == 0 => brackets += 1,
                ")" | "]" if depth == 0 => brackets -= 1,
                ";" if depth == 0 && brackets == 0 => return 0,
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                _ => {}
            }
            if depth > 0 {
                lines.insert(token.line);
            }
        }
        lines.len()
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < bytes.len() {
        let end = at + length_of_next(&text[at..]);
        let piece = &text[at..end];
        if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || (piece.len() == 1 && bytes[at].is_ascii_punctuation()) {
            tokens.push(Token { line, text: piece.to_owned() });
        }
        line += piece.matches('\n').count();
        at = end;
    }
    tokens
}

/// The length of the comment, string, character, word or single character that `rest` begins with.
fn length_of_next(rest: &str) -> usize {
    let after = |pattern: &str, from: usize| rest[from..].find(pattern).map_or(rest.len(), |found| from + found + pattern.len());
    let word = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let marked = matches!(&rest[..word], "" | "b" | "c" | "r" | "br" | "cr");
    let hashes = rest[word..].bytes().take_while(|byte| *byte == b'#').count();
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        after("*/", 2)
    } else if marked && rest[..word].ends_with('r') && rest[word + hashes..].starts_with('"') {
        after(&format!("\"{}", "#".repeat(hashes)), word + hashes + 1)
    } else if marked && rest[word..].starts_with('"') {
        quoted(rest, word, b'"')
    } else if word == 0 && rest.starts_with('\'') {
        let mut characters = rest[1..].chars();
        let first = characters.next();
        if first == Some('\\') || characters.next() == Some('\'') { quoted(rest, 0, b'\'') } else { 1 + lifetime(rest) }
    } else if word > 0 {
        word
    } else {
        rest.chars().next().map_or(0, char::len_utf8)
    }
}

fn lifetime(rest: &str) -> usize {
    rest[1..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

fn quoted(rest: &str, open: usize, quote: u8) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate().skip(open + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}
