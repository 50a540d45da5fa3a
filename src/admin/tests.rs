//! The port itself, asked over loopback by hand-written requests, on the runtime that it will run on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::{Admin, Limits};
use crate::disk::{Disk, start};
use crate::hub::{Epoch, Position, TopicName};

struct Port {
    address: SocketAddr,
    context: AdminContext,
    stop: watch::Sender<bool>,
}

impl Port {
    async fn open() -> Port {
        let (stop, stopping) = watch::channel(false);
        let admin = Admin {
            enabled: true,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            hosts: vec!["admin.example".to_owned()],
            body_bytes_max: 1000,
            ..Admin::default()
        };
        let limits = Limits { publication_bytes_max: 100, send_timeout_ms: 10_000, ..Limits::default() };
        let (_, settings) = watch::channel(Arc::new(Config { admin, limits, ..Config::default() }));
        let context = AdminContext {
            broker: broker::Handle::stopped(),
            shards: Arc::new([Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())]),
            control: Arc::new(ControlMetrics::default()),
            history: Arc::new(Mutex::new(History::new(1, 2, Box::new([])))),
            settings,
            keys: watch::channel(Keys::default()).1,
            denial_told: Arc::default(),
            taken: watch::channel(false).1,
            readiness: Arc::new(Readiness::new(1)),
            listeners: Arc::new([]),
            stopping,
        };
        let listener = bind(context.config().admin.address).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be made so");
        let listener = tokio::net::TcpListener::from_std(listener).expect("this is a runtime");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve(listener, context.clone()));
        Port { address, context, stop }
    }

    /// Sends a request as it stands, closes, and reads the answer to its end.
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
        .await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The error's code and sentence; every error has them.
    #[track_caller]
    fn error(&self, status: u16) -> (u64, String) {
        assert_eq!(self.status, status, "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"));
        (body["error"]["code"].as_u64().expect("a code"), body["error"]["msg"].as_str().expect("a sentence").to_owned())
    }
}

fn on_the_control_runtime(test: impl AsyncFnOnce(Port)) {
    start(Disk::Pool, async {
        test(Port::open().await).await;
    })
    .unwrap();
}

#[test]
fn unknown_paths_are_404_and_wrong_methods_405_with_what_is_allowed() {
    on_the_control_runtime(async |port| {
        for path in ["/nowhere", "/api", "/api/topics/a/b", "/metrics/"] {
            assert!(port.get(path).await.error(404).1.contains("try / (the operator's page), /api/publish"), "{path}");
        }
        let answer = port.get("/api/publish").await;
        assert!(answer.error(405).1.contains("GET is not for \"/api/publish\""));
        assert!(answer.head.contains("\r\nallow: post"), "{}", answer.head);
        let answer = port.post("/metrics", "", "").await;
        answer.error(405);
        assert!(answer.head.contains("\r\nallow: get,head"), "{}", answer.head);
        assert_eq!(port.context.control.http_requests.get(), 6);
        assert_eq!(port.context.control.http_errors.get(), 6);
    });
}

#[test]
fn hosts_and_foreign_pages_are_judged_before_every_handler() {
    on_the_control_runtime(async |port| {
        let host = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        for path in ["/metrics", "/health/live", "/none"] {
            port.ask(&host(path, "evil.example:8081")).await.error(421);
        }
        assert_eq!(port.ask(&host("/health/live", "admin.example")).await.status, 200);
        for header in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
            let (code, _) = port.post("/api/publish", header, "{\"topic\":\"a\",\"data\":1}").await.error(403);
            assert_eq!(code, 4);
        }
    });
}

#[test]
fn health_tells_live_and_ready() {
    on_the_control_runtime(async |port| {
        assert_eq!(port.get("/health/live").await.status, 200);
        assert!(port.get("/health/ready").await.error(503).1.contains("does not serve clients yet"));
        port.context.readiness.serve(true);
        assert_eq!(port.get("/health/ready").await.status, 200);
        port.stop.send_replace(true);
        assert!(port.get("/health/ready").await.error(503).1.contains("is stopping"));
        assert_eq!(port.get("/health/live").await.status, 200);
    });
}

#[test]
fn metrics_are_text_with_a_line_for_each_shard() {
    on_the_control_runtime(async |port| {
        port.context.shards[1].deliveries.add(11);
        let answer = port.get("/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{}", answer.head);
        assert!(answer.body.contains("\ntidegate_deliveries_total{shard=\"1\"} 11\n"), "{}", answer.body);
        assert!(answer.body.contains("\ntidegate_admin_requests_total 1\n"), "{}", answer.body);
    });
}

#[test]
fn a_publish_to_a_gateway_that_is_stopping_is_503_with_retry_after() {
    on_the_control_runtime(async |port| {
        for told in [false, true] {
            port.stop.send_replace(told);
            for (path, body) in [("/api/publish", "{\"topic\":\"a\",\"data\":1}"), ("/api/topics/a", "1")] {
                let answer = port.post(path, "", body).await;
                assert!(answer.error(503).1.contains("stopping"));
                assert!(answer.head.contains("\r\nretry-after: 1"), "{}", answer.head);
            }
        }
        assert_eq!(port.context.control.http_publications.get(), 0);
        assert_eq!(port.context.control.http_publication_errors.get(), 2);
    });
}

#[test]
fn bad_bodies_are_told_with_line_and_column_and_large_ones_are_413() {
    on_the_control_runtime(async |port| {
        let (code, msg) = port.post("/api/publish", "", "{\"topic\":\"a\",\n\"data\":}").await.error(400);
        assert_eq!((code, msg.as_str()), (1, "the body is not JSON: expected value at line 2 column 8"));
        let large = format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(99));
        assert!(port.post("/api/publish", "", &large).await.error(413).1.contains("publication_bytes_max is 100"));
        assert!(port.post("/api/topics/a", "", &"x".repeat(101)).await.error(413).1.contains("publication_bytes_max is 100"));
        assert!(port.post("/api/publish", "", &"x".repeat(1001)).await.error(413).1.contains("body_bytes_max, 1000 bytes"));
        let chunked = format!(
            "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
            "x".repeat(1001)
        );
        assert!(port.ask(&chunked).await.error(413).1.contains("body_bytes_max, 1000 bytes"));
    });
}

#[test]
fn topics_of_a_broker_that_is_gone_are_503() {
    on_the_control_runtime(async |port| {
        assert!(port.get("/api/topics").await.error(503).1.contains("stopping"));
    });
}

#[test]
fn a_topic_is_listed_with_position_rate_and_subscribers() {
    let report = broker::TopicReport {
        name: TopicName::parse("md.trades.BTC-USD").unwrap(),
        position: Position { epoch: Epoch::from_number(36), offset: 7 },
        rate: 2.5,
        subscribers: 3,
    };
    let entry = serde_json::to_string(&TopicEntry::new(&report)).unwrap();
    assert_eq!(entry, r#"{"topic":"md.trades.BTC-USD","epoch":"10","offset":7,"rate":2.5,"subscribers":3}"#);
}

#[test]
fn the_history_is_told_from_where_a_page_has_it() {
    on_the_control_runtime(async |port| {
        let told = async |query: &str| {
            let answer = port.get(&format!("/api/history{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            serde_json::from_str::<serde_json::Value>(&answer.body).expect("JSON")
        };
        // The first sample is taken at once.
        let mut whole = told("").await;
        while whole["next"] == 0 {
            tokio::task::yield_now().await;
            whole = told("").await;
        }
        assert_eq!((&whole["run"], &whole["first"], &whole["connections"][0]), (&"1".into(), &0.into(), &0.into()));
        let rest = told("?run=1&since=1000000").await;
        assert_eq!((&rest["first"], rest["at_ms"].as_array().map(Vec::len)), (&rest["next"], Some(0)));
        assert_eq!(told("?run=2&since=1000000").await["first"], 0);
        for wrong in ["?since=-1", "?since=x", "?since=1&since=2", "?sinse=1"] {
            let (code, msg) = port.get(&format!("/api/history{wrong}")).await.error(400);
            assert!(code > 0 && !msg.is_empty(), "{wrong}");
        }
    });
}

#[test]
fn the_operators_page_is_there_under_a_strict_policy_and_the_guard() {
    on_the_control_runtime(async |port| {
        for (path, kind, part) in [
            ("/", "text/html", "<script type=\"module\" src=\"page/operator.js\">"),
            ("/page/operator.js", "text/javascript", "api/history"),
            ("/page/operator.css", "text/css", "prefers-color-scheme"),
            ("/page/icon.svg", "image/svg+xml", "<svg"),
        ] {
            let answer = port.get(path).await;
            assert!(answer.status == 200 && answer.body.contains(part), "{path}: {answer:?}");
            assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {answer:?}");
            for policy in
                ["default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'", "nosniff", "no-referrer"]
            {
                assert!(answer.head.contains(policy), "{path}: {policy} is not in {answer:?}");
            }
        }
        port.get("/page/market.js").await.error(404);
        let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        port.ask(foreign).await.error(421);
        let history = "GET /api/history HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        port.ask(history).await.error(421);
        port.post("/", "Origin: https://evil.example\r\n", "").await.error(403);
        port.post("/", "", "").await.error(405);
    });
}
