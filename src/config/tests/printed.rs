//! The printed default configuration and docs/configuration.md, held against the keys that there are.

use super::*;

#[test]
fn the_printed_default_is_the_default() {
    assert_eq!(parse_text(&default_text()), Ok(Config::default()));
}

#[test]
fn the_printed_default_is_valid_with_everything_switched_on() {
    let on: Vec<_> = default_text().lines().map(switched_on).collect();
    let config = parse_text(&on.join("\n")).expect("what is commented out is valid");
    assert!(config.admin.enabled && config.echo.enabled && config.page.enabled);
    assert_eq!((config.sources.len(), config.topics.len(), config.shards.count), (3, 1, Some(2)));
    assert_eq!(config.sources[0], Source::Synthetic(Synthetic::default()));
    assert_eq!(config.sources[1], Source::Replay(Replay::of("recording.gz".into(), None, None)));
    assert_eq!(config.publish.allow, PublishAllow::Loopback);
    assert_eq!((config.limits, config.shards.pin), (Limits::default(), true));
}

fn switched_on(line: &str) -> String {
    match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.into(),
        _ => line.into(),
    }
}

#[test]
fn every_key_is_printed_once_for_each_table_that_has_it() {
    let mut printed = BTreeSet::new();
    let mut table = String::new();
    for line in default_text().lines().map(switched_on) {
        if let Some(heading) = line.strip_prefix('[') {
            table = heading.trim_matches(['[', ']']).into();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            printed.insert(format!("{table}.{key}"));
        }
    }
    let known: BTreeSet<_> = keys::all().map(|key| format!("{}.{}", key.table, key.name)).collect();
    assert_eq!(printed, known);
}

/// serde lists the members of a shape when it meets one that is none of them.
#[test]
fn the_keys_are_those_that_the_file_is_read_into() {
    for (table, error) in [
        ("anonymous", toml::from_str::<Anonymous>("zzz = 1").expect_err("no such key")),
        ("listener.arrivals", toml::from_str::<arrival::OwnArrivals>("zzz = 1").map(drop).expect_err("no such key")),
        ("journal", toml::from_str::<Journal>("zzz = 1").expect_err("no such key")),
        ("limits", toml::from_str::<Limits>("zzz = 1").expect_err("no such key")),
        ("shards", toml::from_str::<Shards>("zzz = 1").expect_err("no such key")),
    ] {
        let listed: BTreeSet<_> = error.message().split('`').skip(3).step_by(2).collect();
        let known: BTreeSet<_> = keys::of(table).map(|key| key.name).collect();
        assert_eq!(listed, known, "[{table}]");
    }
}

/// What passes the check must fit into its field, or serde would speak instead of us.
/// The tables of docs/configuration.md between their marks. `UPDATE_DOCS=1 cargo test --lib config` writes them anew.
#[test]
fn the_documentation_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let mut document = std::fs::read_to_string(&path).expect("docs/configuration.md is part of the repository");
    let written = document.clone();
    for table in TABLES {
        let (begin, end) = (format!("<!-- keys of {} -->\n", table.name), "<!-- end of keys -->");
        let from = document.find(&begin).unwrap_or_else(|| panic!("docs/configuration.md has no line {begin:?}")) + begin.len();
        let to = from + document[from..].find(end).unwrap_or_else(|| panic!("docs/configuration.md does not end {begin:?}"));
        let rows: String = keys::of(table.name).map(row).collect();
        let section =
            format!("{}\n\n| key | takes | default | meaning and reason |\n| --- | --- | --- | --- |\n{rows}", table.meaning);
        document.replace_range(from..to, &section);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &document).expect("docs/configuration.md can be written");
    } else if document != written {
        let line = document.lines().zip(written.lines()).find(|(now, then)| now != then);
        panic!("docs/configuration.md is not what the keys say; UPDATE_DOCS=1 cargo test --lib config writes it: {line:#?}");
    }
}

fn row(key: &Key) -> String {
    let default = match print::default_value(key) {
        Some(value) => format!("`{value}`"),
        None if key.required => "none, required".into(),
        None => "none".into(),
    };
    let plain = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    format!("| `{}` | {} | {default} | {} |\n", key.name, plain(&key.form.expected()), plain(key.meaning))
}
