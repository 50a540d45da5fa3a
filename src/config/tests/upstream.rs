//! What `[[source]]` with `kind = "upstream"` takes.

use super::{check_error, check_whole};

#[test]
fn an_upstream_says_where_it_is_and_how_it_counts() {
    let upstream = "[[source]]\nkind = \"upstream\"\n";
    check_error(upstream, 1, 1, &["source.urls is missing", "one to eight addresses"]);
    check_error(&format!("{upstream}urls = [\"http://a\"]"), 3, 9, &["source.urls is \"http://a\"", "ws:// or wss://"]);
    let upstream = &format!("{upstream}urls = [\"ws://a\"]\n");
    check_error(&format!("{upstream}file = \"a\""), 4, 8, &["source.file is \"a\" in a source of kind \"upstream\""]);
    check_error(&format!("{upstream}backoff_min_ms = 40000"), 4, 18, &["source.backoff_min_ms", "above backoff_max_ms"]);
    let sequence = &format!("{upstream}[[source.sequence]]\nnumber = \"/u\"\n");
    check_error(sequence, 4, 1, &["source.sequence.rule is missing"]);
    check_whole(&format!("{sequence}rule = \"chain\""), 4, 1, &["source.sequence", "no `previous`"]);
    check_whole(&format!("{sequence}rule = \"rising\"\nprevious = \"/p\""), 4, 1, &["source.sequence", "another rule"]);
}
