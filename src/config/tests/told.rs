//! What is told of a configuration: what in it is risky, and what it puts in force.

use super::*;

/// Each warning has a configuration that brings it; all that is in `text` beside a listener and what must be said.
#[test]
fn what_is_risky_is_warned_of() {
    let replay = "[admin]\n[[source]]\nkind = \"replay\"\nfile = \"a.gz\"\n";
    for (text, part) in [
        ("[[listener]]\naddress = \"0.0.0.0:80\"", "0.0.0.0:80 is reachable from other machines"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"\nhosts = [\"a\"]", "hosts of 0.0.0.0:80 are not looked at"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"\n[echo]\nenabled = true", "/echo is open"),
        ("[[listener]]\naddress = \"[::1]:9\"\ntrusted_proxies = [\"10.0.0.1\"]", "taken to be who their X-Forwarded-For says"),
        ("[[listener]]\naddress = \"[::1]:9\"\ntrusted_proxies = [\"0.0.0.0/0\"]", "hold every address"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"", "drain.window_ms is 0"),
        ("[publish]\nallow = \"loopback\"\ntopics = [\"a\"]", "A proxy on this machine"),
        ("[publish]\ntopics = [\"a\"]", "has no effect"),
        (
            "[publish]\nallow = \"loopback\"\ntopics = [\"a\"]\n[[tokens.key]]\nalgorithm = \"ES256\"\nfile = \"k\"",
            "[publish] has no effect",
        ),
        ("[anonymous]\npublish = [\"a\"]", "whoever connects may publish"),
        ("[tokens]\njwks = \"http://a.example/keys\"", "everyone on the way can make tokens"),
        ("", "There is no [admin]"),
        (
            "[admin]\naddress = \"0.0.0.0:81\"\n[[admin.key]]\nname = \"a\"\nsecret_file = \"b\"\nread = true",
            "the admin port, is reachable",
        ),
        ("[admin]\n[[admin.key]]\nname = \"a\"\nsecret_file = \"b\"", "admin.key a is good for nothing"),
        ("", "Nothing can publish"),
        ("[[source]]\nkind = \"synthetic\"", "demo.> is made up"),
        (&format!("{replay}speed = \"max\""), "speed \"max\" beside other sources"),
        (&format!("{replay}loop = true"), "begins again at its end"),
        (&format!("{replay}{}", replay.replace("[admin]\n", "")), "Source 2 is the same"),
        ("[[source]]\nkind = \"upstream\"\nurls = [\"ws://1.2.3.4\"]", "ws://1.2.3.4 speaks plain TCP"),
        ("[[source]]\nkind = \"upstream\"\nurls = [\"ws://[::1]\"]", "has no [[source.sequence]]"),
        ("[[topic]]\npattern = \"a.>\"\n[[topic]]\npattern = \"a.b\"", "a.b are never used: a.> comes first"),
        ("[[topic]]\npattern = \"a\"\nring_bytes = 2000", "smaller than the largest publication"),
        ("[limits]\npublication_bytes_max = 8_000_000", "above the default ring_bytes"),
        ("[limits]\nidle_ping_ms = 50000", "load balancers"),
        (
            "[limits]\nmemory_bytes_max = 1_000_000_000\ntopics_max = 1000\n[shards]\ncount = 4",
            "x 1000 topics (topics_max) x 4 shards are 31.2 GiB",
        ),
        (
            "[[topic]]\npattern = \"a\"\nslow_allowed = [\"close\", \"drop\"]",
            "a may be dropped from (slow_allowed), and it is of kind",
        ),
        ("[limits]\ntorn_bytes_max = 1000", "torn_bytes_max is below"),
        ("[limits]\nrequests_burst = 1", "requests_burst is below"),
        ("[shards]\ncount = 9", "With 9 shards"),
    ] {
        let config = parse_text(&format!("{LISTENER}{text}")).expect(text);
        let warnings = warnings(&config);
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{text:?} must warn of {part:?}: {warnings:#?}");
    }
    let quiet = parse_text(&format!("{LISTENER}{replay}speed = 2.0")).expect("a replay and an admin port");
    assert_eq!(warnings(&quiet), Vec::<String>::new());
}

#[test]
fn what_is_in_force_is_told() {
    let proxied = "[[listener]]\naddress = \"[::1]:9\"\npath_prefix = \"/md\"\nproxy_protocol = \"required\"\ntrusted_proxies = [\"10.0.0.5\"]\n";
    let paced = "[arrivals]\nburst = 7\n[drain]\ndelay_ms = 5\nwindow_ms = 6\n";
    let text = format!(
        "{LISTENER}{proxied}{paced}[admin]\n[[admin.key]]\nname = \"k\"\nsecret_file = \"f\"\npublish = [\"md.>\"]\nread = true\n[limits]\ntopics_max = 5\n[[topic]]\npattern = \"a\"\nring_bytes = 1536\n"
    );
    let told = in_force(&parse_text(&text).expect("valid"));
    for part in [
        "clients       127.0.0.1:8080",
        "admin         127.0.0.1:8081, by keys only: k (publish on md.>, read)",
        "feed          none",
        "topics_max = 5, others",
        "all below /md, a PROXY header each from 10.0.0.5/32",
        "arrivals      burst = 7, others",
        "drain         5 ms not ready while clients are taken, then closing them over 6 ms",
        "1.5 KiB",
    ] {
        assert!(told.contains(part), "{part:?}: {told}");
    }
}
