//! One topic, looked at closely.

use serde_json::json;
use tempfile::TempDir;

use crate::common::{Client, Gateway, PUBLISHING};
use crate::{asked, refused};

#[test]
fn a_topic_tells_who_hears_it_and_what_it_takes() {
    let journal = TempDir::new().expect("a temporary directory can be made");
    let gateway = Gateway::configured(&format!(
        "{PUBLISHING}[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\n\
         [[topic]]\npattern = \"k.>\"\nkind = \"state\"\nkey = \"/id\"\n\
         [[topic]]\npattern = \"md.>\"\nkind = \"state\"\nrates_ms = [100, 1000]\n",
        journal.path()
    ));
    assert_eq!(refused(&gateway, "/api/topics/md.a"), 404);
    assert_eq!(refused(&gateway, "/api/topics/md..a"), 400);
    let streams = ["md.a", "md.a", "md.a;rate=100ms", "md.%3E", "md.*;rate=1000ms"];
    let clients: Vec<Client> = streams.map(|stream| Client::connect(&gateway, &format!("/stream?streams={stream}"))).into();
    let (epoch, _) = gateway.publish("md.a", "[1]");
    gateway.publish("md.a", "[2]");
    let topic = asked(&gateway, "/api/topics/md.a");
    assert_eq!((&topic["epoch"], &topic["offset"]), (&json!(epoch), &json!(2)));
    let by_rate = json!([{"rate_ms": 100, "count": 1}]);
    assert_eq!(topic["subscribers"], json!({"total": 5, "by_name": 2, "by_rate": by_rate, "by_pattern": 2}));
    assert_eq!((&topic["keys"], &topic["journal"], &topic["stale_since_ms"]), (&json!(null), &json!(null), &json!(null)));
    let home = topic["home"].as_str().expect("a place");
    assert!(home.starts_with("shard "), "{topic}");
    let rings = topic["rings"].as_array().expect("a list");
    let log = rings.iter().find(|ring| ring["place"] == home && ring["encoding"] == "raw" && ring["rate_ms"].is_null());
    let log = log.expect("the log is at home");
    // Two frames of `[1]` with their headers.
    assert_eq!((&log["publications"], &log["bytes"]), (&json!(2), &json!(10)), "{topic}");
    assert!(rings.iter().any(|ring| ring["encoding"] == "combined"), "{topic}");
    drop(clients);

    for key in ["a", "b", "a"] {
        gateway.publish("k.a", &format!("{{\"id\":\"{key}\"}}"));
    }
    assert_eq!(asked(&gateway, "/api/topics/k.a")["keys"], 2);
    gateway.publish("j.a", "1");
    let journaled = asked(&gateway, "/api/topics/j.a");
    assert_eq!((&journaled["home"], &journaled["offset"]), (&json!("control"), &json!(1)));
    assert_eq!(journaled["journal"], json!({"state": "written", "waiting": 0}));
    gateway.stop();
}
