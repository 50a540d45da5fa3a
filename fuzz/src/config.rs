//! The configuration: any text is an error that can be acted on, or a valid configuration that says the same however it is
//! written.

use std::path::Path;

use tidegate::config::{in_force, parse, warnings};
use tidegate::session::Rules;

/// Any bytes as a file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("gateway.toml");
    match parse(text, file) {
        Ok(config) => {
            let table: toml::Table = text.parse().expect("a valid configuration is TOML");
            let printed = table.to_string();
            assert_eq!(parse(&printed, file).as_ref(), Ok(&config), "{printed}");
            assert!(!config.listeners.is_empty(), "a gateway without a listener serves nobody");
            // What is built of it takes it as it is.
            assert_eq!(Rules::new(&config).listeners.len(), config.listeners.len());
            assert!(in_force(&config).lines().count() > config.listeners.len() + config.topics.len());
            for warning in warnings(&config) {
                assert!(warning.ends_with('.'), "a sentence: {warning}");
            }
        }
        Err(error) => {
            let said = error.to_string();
            let place = said.strip_prefix("gateway.toml, line ").unwrap_or_else(|| panic!("where? {said}"));
            let (line, rest) = place.split_once(", column ").unwrap_or_else(|| panic!("where? {said}"));
            let (column, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("where? {said}"));
            let (line, column): (usize, usize) = (line.parse().expect("a number"), column.parse().expect("a number"));
            assert!(line >= 1 && line <= text.split('\n').count(), "line {line} of {text:?}");
            // One behind the end, where something is missing.
            let line_characters = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
            assert!(column >= 1 && column <= line_characters + 1, "column {column} of line {line}: {said}");
            assert!(!rest.is_empty() && !said.chars().any(char::is_control), "one line that no terminal obeys: {said:?}");
            assert!(said.len() < 2000, "an error is never as long as the file: {} bytes", said.len());
        }
    }
}
