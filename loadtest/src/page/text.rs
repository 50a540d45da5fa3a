//! Numbers and foreign text as they stand on the page.

use serde_json::Value;

/// Text that is safe between tags and within quotes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // What HTML does not allow even escaped, and what would turn the direction of what follows.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}

/// `1,234,567`; below ten with the digits that say something.
pub(super) fn count(number: f64) -> String {
    if !number.is_finite() {
        return String::from("–");
    }
    if number != 0.0 && number.abs() < 10.0 && number.fract() != 0.0 {
        return significant(number);
    }
    let digits = format!("{:.0}", number.abs());
    let mut grouped = String::from(if number <= -0.5 { "−" } else { "" });
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds in the unit that suits.
pub(super) fn time_us(us: f64) -> String {
    match us {
        _ if !us.is_finite() => String::from("–"),
        0.0 => String::from("0"),
        _ if us < 1.0 => format!("{} ns", significant(us * 1000.0)),
        _ if us < 1_000.0 => format!("{} µs", significant(us)),
        _ if us < 1_000_000.0 => format!("{} ms", significant(us / 1_000.0)),
        _ => format!("{} s", significant(us / 1_000_000.0)),
    }
}

/// The same for the marks of an axis, which are round.
pub(super) fn time_mark(us: f64) -> String {
    let text = time_us(us);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.')),
        _ => text,
    }
}

/// Nanoseconds as such: what is compared keeps its unit.
pub(super) fn ns(ns: f64) -> String {
    format!("{} ns", count(ns))
}

/// Bytes in the unit that suits.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        _ if !bytes.is_finite() => String::from("–"),
        _ if bytes < 1024.0 => format!("{} B", count(bytes)),
        _ if bytes < 1024.0 * 1024.0 => format!("{} KiB", significant(bytes / 1024.0)),
        _ if bytes < 1024.0 * 1024.0 * 1024.0 => format!("{} MiB", significant(bytes / 1024.0 / 1024.0)),
        _ => format!("{} GiB", significant(bytes / 1024.0 / 1024.0 / 1024.0)),
    }
}

/// `0.97`: a share of a core, or a ratio.
pub(super) fn share(share: f64) -> String {
    if share.is_finite() { format!("{share:.2}") } else { String::from("–") }
}

/// For the marks of an axis: `250 k`, `1.5 M`.
pub(super) fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        size if size >= 1e9 => (number / 1e9, " G"),
        size if size >= 1e6 => (number / 1e6, " M"),
        size if size >= 1e3 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    // Marks are round numbers; what arithmetic adds behind them is not theirs.
    format!("{}{unit}", (number * 1e6).round() / 1e6)
}

/// A parameter or a scenario's own figure.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), count),
        Value::String(text) => text.clone(),
        Value::Null => String::from("–"),
        Value::Bool(is_so) => String::from(if *is_so { "yes" } else { "no" }),
        other => other.to_string(),
    }
}

/// `in_flight` as words.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Three digits that say something.
fn significant(number: f64) -> String {
    let whole_digits = number.abs().max(1e-9).log10().floor() as i32 + 1;
    let decimals = usize::try_from(3 - whole_digits).unwrap_or(0).min(6);
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_ends_a_tag_or_an_attribute() {
        assert_eq!(escape(r#"<b a="1" c='2'>&"#), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        assert_eq!(escape("a\u{202e}b\u{0}"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn numbers_are_grouped_and_have_units() {
        assert_eq!([0.0, 7.0, 999.0, 1000.0, 3_025_393.4, -1234.0].map(count), ["0", "7", "999", "1,000", "3,025,393", "−1,234"]);
        assert_eq!(count(0.125), "0.125");
        assert_eq!([count, time_us, bytes, share].map(|text| text(f64::NAN)), ["–"; 4]);
        assert_eq!([0.0, 0.5, 182.4, 4_657.0, 1_200_000.0].map(time_us), ["0", "500 ns", "182 µs", "4.66 ms", "1.20 s"]);
        assert_eq!([0.0, 0.5, 200.0, 5_000.0, 2_500_000.0].map(time_mark), ["0", "500 ns", "200 µs", "5 ms", "2.5 s"]);
        assert_eq!([12.0, 1536.0, 14_365_491.2].map(bytes), ["12 B", "1.50 KiB", "13.7 MiB"]);
        assert_eq!([0.0, 0.2, 50.0, 250_000.0, 1_500_000.0].map(short), ["0", "0.2", "50", "250 k", "1.5 M"]);
    }
}
