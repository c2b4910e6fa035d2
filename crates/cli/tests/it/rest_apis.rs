//! REST APIs as sources: pages, logins, what is new, parents, and APIs that do not behave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// What a server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: String,
    pub(crate) path: String,
    query: HashMap<String, String>,
    pub(crate) headers: HashMap<String, String>,
    body: String,
}

impl Asked {
    fn number(&self, name: &str, usual: usize) -> usize {
        self.query.get(name).map_or(usual, |text| text.parse().unwrap())
    }
}

/// Status, further headers, body.
pub(crate) type Said = (u16, String, String);

pub(crate) fn said(body: impl ToString) -> Said {
    (200, String::new(), body.to_string())
}

/// A server that answers by `handler`, and all that it was asked.
pub(crate) fn serve(
    mut handler: impl FnMut(&Asked) -> Said + Send + 'static,
) -> (u16, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let known = all.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let Some(first) = lines.first() else { continue };
            let mut words = first.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let headers: HashMap<String, String> = lines[1..]
                .iter()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let url = url::Url::parse(&format!("http://localhost{target}")).unwrap();
            let asked = Asked {
                method: method.to_owned(),
                path: url.path().to_owned(),
                query: url.query_pairs().into_owned().collect(),
                headers,
                body: String::from_utf8(body).unwrap(),
            };
            known.lock().unwrap().push(asked.clone());
            let (status, more, body) = handler(&asked);
            // A status of 0 is a reply that breaks off.
            let promised = body.len() + if status == 0 { 100 } else { 0 };
            let status = if status == 0 { 200 } else { status };
            let _ = write!(
                client,
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {promised}\r\n{more}\r\n{body}"
            );
        }
    });
    (port, all)
}

/// A project with a connection `api` (further lines of it) and a table `raw.things` by these settings.
fn project(port: u16, connection: &str, ingest: &Value) -> Sandbox {
    let sandbox = Sandbox::new(&[(
        "models/raw.yml",
        &format!(
            "sources:\n  - name: raw\n    ingest: {{connection: api}}\n    tables:\n      - name: things\n        \
             ingest: {ingest}\n"
        ),
    )]);
    sandbox.write(
        "connections.yml",
        format!(
            "connections:\n  api:\n    type: rest\n    url: http://127.0.0.1:{port}/v1\n    \
             allow_private_addresses: true\n{connection}"
        ),
    );
    sandbox
}

fn things(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|id| json!({"id": id, "name": format!("thing {id}")})).collect()
}

const ALL: usize = 25;

/// Some pages of 25 things, in the ways in which APIs give them.
fn paged(asked: &Asked) -> Said {
    let page = |from: usize, size: usize| things(from.min(ALL), (from + size).min(ALL));
    match asked.path.as_str() {
        "/v1/link" => {
            let number = asked.number("page", 1);
            assert_eq!(asked.query["kind"], "all things", "parameters are kept");
            let next = match number {
                3 => String::new(),
                _ => format!(
                    "link: <http://{}/v1/link?kind=all+things&page={}>; rel=\"next\"\r\n",
                    asked.headers["host"],
                    number + 1
                ),
            };
            (200, next, json!(page((number - 1) * 10, 10)).to_string())
        }
        "/v1/next" => {
            let from = asked.number("from", 0);
            let next = (from + 7 < ALL).then(|| format!("/v1/next?from={}", from + 7));
            said(json!({"data": page(from, 7), "links": {"next": next}}))
        }
        "/v1/page" => {
            // At most 10, whatever is asked for.
            assert_eq!(asked.query["per_page"], "100");
            said(json!({"page": page((asked.number("page", 0) - 1) * 10, 10)}))
        }
        "/v1/offset" => {
            let found = page(asked.number("offset", 99), asked.number("limit", 0));
            said(json!({"items": found, "meta": {"total": ALL}}))
        }
        "/v1/search" => {
            assert_eq!(asked.method, "POST");
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            assert_eq!(body["query"], "all");
            let from = body["page"]["after"].as_str().map_or(0, |text| text[1..].parse().unwrap());
            let next = (from + 10 < ALL).then(|| format!("m{}", from + 10));
            said(json!({"result": {"hits": page(from, 10)}, "next": next}))
        }
        "/v1/after" => {
            let from =
                asked.query.get("starting_after").map_or(0, |id| id.parse::<usize>().unwrap() + 1);
            said(json!({"data": page(from, 10), "has_more": from + 10 < ALL}))
        }
        _ => (404, String::new(), "{\"message\": \"no such thing\"}".to_owned()),
    }
}

#[test]
fn pages_are_followed_in_every_way() {
    let (port, asked) = serve(paged);
    for (ingest, requests) in [
        (json!({"path": "link", "params": {"kind": "all things"}}), 3),
        (json!({"path": "link", "params": {"kind": "all things"}, "paging": "link"}), 3),
        (json!({"path": "next"}), 4),
        (json!({"path": "/next", "paging": {"type": "next_url", "next": "links.next"}}), 4),
        (json!({"path": "page", "paging": {"type": "page", "size_param": "per_page"}}), 4),
        (json!({"path": "offset", "paging": {"type": "offset", "size": 10}}), 4),
        (
            json!({"path": "offset", "paging": {"type": "offset", "size": 10, "total": "meta.total"}}),
            3,
        ),
        (
            json!({"path": "search", "method": "post", "body": {"query": "all"}, "records": "result.hits",
                   "paging": {"type": "cursor", "param": "page.after", "next": "next", "in": "body"}}),
            3,
        ),
        (
            json!({"path": "after",
                   "paging": {"type": "cursor", "param": "starting_after", "record": "id", "more": "has_more"}}),
            3,
        ),
    ] {
        asked.lock().unwrap().clear();
        let sandbox = project(port, "", &ingest);
        sandbox.run(&["ingest"]).ok();
        assert_eq!(
            sandbox.rows("select count(*), count(distinct id), sum(id), max(name) from raw.things"),
            ["25,25,300,thing 9"],
            "{ingest}"
        );
        assert_eq!(asked.lock().unwrap().len(), requests, "{ingest}");
    }
    // The same rows again leave the table as it is.
    let sandbox = project(port, "", &json!({"path": "next"}));
    sandbox.run(&["ingest"]).ok();
    sandbox.run(&["ingest"]).ok().says("came out the same");
    sandbox.run(&["connection", "preview", "api", "next", "--limit", "2"]).ok().says("thing 1");
}

#[test]
fn rows_come_exactly_once_however_the_api_counts() {
    let events: Arc<Mutex<Vec<(i64, &str)>>> = Arc::default();
    let known = events.clone();
    let (port, asked) = serve(move |asked| {
        // Gives all of the last two hours, whatever it is asked for.
        let since = asked.query.get("since").map_or("", String::as_str);
        let all = known.lock().unwrap();
        let rows = all.iter().map(|(hour, name)| {
            json!({"at": format!("2024-01-01T{hour:02}:00:00Z"), "name": name, "n": 1.10})
        });
        let found: Vec<Value> = rows
            .filter(|row| {
                since.is_empty() || row["at"].as_str().unwrap() >= since || row["name"] == "old"
            })
            .collect();
        said(json!(found))
    });
    let ingest = json!({"mode": "append", "cursor": "at",
                        "incremental": {"param": "since", "start": "2024-01-01T00:00:00Z"}});
    let sandbox = project(port, "", &ingest);
    let load = |more: &[(i64, &'static str)], expected: &str| {
        events.lock().unwrap().extend(more);
        sandbox.run(&["ingest"]).ok();
        let rows = sandbox.rows("select string_agg(name, ' ' order by at, name) from raw.things");
        assert_eq!(rows, [expected]);
        asked.lock().unwrap().last().unwrap().query["since"].clone()
    };
    assert_eq!(load(&[(1, "old"), (2, "a")], "old a"), "2024-01-01T00:00:00Z");
    // One that shares the largest value comes, those that were read do not come again.
    assert_eq!(load(&[(2, "b"), (3, "c")], "old a b c"), "2024-01-01T02:00:00Z");
    assert_eq!(load(&[], "old a b c"), "2024-01-01T03:00:00Z");
    sandbox.run(&["ingest"]).ok().says("nothing to do");
    // Nothing at all.
    events.lock().unwrap().clear();
    assert_eq!(load(&[], "old a b c"), "2024-01-01T03:00:00Z");
    assert_eq!(load(&[(4, "d")], "old a b c d"), "2024-01-01T03:00:00Z");
    assert_eq!(sandbox.rows("select sum(n) from raw.things"), ["5.5"]);

    // A merge asks from before, and has each row once by its key.
    let ingest = json!({"mode": "merge", "primary_key": ["name"], "cursor": "at", "lookback": "2 hours",
                        "incremental": {"param": "since", "format": "%Y-%m-%dT%H:%M:%SZ", "exclusive": true}});
    let sandbox = project(port, "", &ingest);
    sandbox.run(&["ingest"]).ok();
    assert!(!asked.lock().unwrap().last().unwrap().query.contains_key("since"));
    events.lock().unwrap().extend([(2, "late"), (9, "d")]);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(asked.lock().unwrap().last().unwrap().query["since"], "2024-01-01T01:59:59Z");
    assert_eq!(
        sandbox.rows("select name, extract(hour from at) from raw.things order by 1"),
        ["d,9", "late,2"]
    );
    // A table that is replaced may have nothing any more.
    let sandbox = project(port, "", &json!({}));
    sandbox.run(&["ingest"]).ok();
    events.lock().unwrap().clear();
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select count(*) from raw.things"), ["0"]);
}

#[test]
fn children_are_asked_for_by_their_parents() {
    let (port, asked) = serve(|asked| match asked.path.as_str() {
        "/v1/shops" => said(
            json!({"data": [{"id": "a/b", "city": "Rome"}, {"id": 2, "city": "Oslo"}, {"id": 3}]}),
        ),
        "/v1/shops/a%2Fb/orders" => said(json!([
            {"order": 1, "total": 1.10, "lines": [{"item": "x", "n": 1}, {"item": "y", "n": 2}], "by": {"name": "Ann"}},
            {"order": 2, "total": 12.5, "lines": [], "by": null}])),
        "/v1/shops/2/orders" => {
            said(json!([{"order": 3, "total": 2, "lines": [{"item": "x", "n": 5}]}]))
        }
        _ => (404, String::new(), String::new()),
    });
    let parent = json!({"path": "shops"});
    let base = json!({"path": "shops/{parent.id}/orders", "parent": parent, "ignore_status": [404],
                      "include": {"shop": "parent.id", "city": "parent.city"}});
    let sandbox = project(port, "", &base);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select shop, city, \"order\", total, by['name'] from raw.things order by 3"),
        ["a/b,Rome,1,1.1,Ann", "a/b,Rome,2,12.5,", "2,Oslo,3,2.0,"]
    );
    assert_eq!(asked.lock().unwrap().len(), 4);
    let mut lines = base.clone();
    lines["expand"] = json!("lines");
    lines["include"] = json!({"shop": "parent.id", "order_id": "record.order"});
    let sandbox = project(port, "", &lines);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select shop, order_id, item, n from raw.things order by 2, 3"),
        ["a/b,1,x,1", "a/b,1,y,2", "2,3,x,5"]
    );
    let mut strict = base.clone();
    strict["ignore_status"] = json!([]);
    let sandbox = project(port, "", &strict);
    sandbox.run(&["ingest"]).fails_with(1).says("/v1/shops/3/orders").says("no such endpoint");
    let mut wrong = base;
    wrong["include"] = json!({"order": "parent.id"});
    let sandbox = project(port, "", &wrong);
    sandbox.run(&["ingest"]).fails_with(1).says("which the records have themselves");
}

#[test]
fn logins_are_made_and_never_shown() {
    let mut tokens = 0;
    let (port, asked) = serve(move |asked| {
        if asked.path == "/token" {
            let known: HashMap<String, String> =
                url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
            if known["grant_type"] != "client_credentials"
                || known["client_secret"] != "s/cret+of the client"
            {
                return (400, String::new(), json!({"error": "invalid_client"}).to_string());
            }
            tokens += 1;
            return said(
                json!({"access_token": format!("token-number-{tokens}"), "expires_in": 3600}),
            );
        }
        let by = |name: &str| asked.headers.get(name).cloned().unwrap_or_default();
        match asked.path.as_str() {
            // The first token is taken back after a page.
            "/v1/oauth" if by("authorization") == "Bearer token-number-1" => {
                match asked.number("page", 1) {
                    1 => said(json!([{"id": 1}])),
                    _ => (401, String::new(), String::new()),
                }
            }
            "/v1/oauth" if by("authorization") == "Bearer token-number-2" => {
                match asked.number("page", 1) {
                    2 => said(json!([{"id": 2}])),
                    _ => said("[]"),
                }
            }
            "/v1/key" if asked.query.get("key").is_some_and(|key| key == "the key & more") => {
                said("[{\"id\": 1}]")
            }
            "/v1/basic" if by("authorization") == "Basic dXNlcjpwYXNzd29yZC1vZi10ZXN0cw==" => {
                said("[{\"id\": 1}]")
            }
            _ => (
                401,
                String::new(),
                json!({"you sent": [by("authorization"), &asked.query]}).to_string(),
            ),
        }
    });
    let secrets = [
        ("CLIENT", "s/cret+of the client"),
        ("KEY", "the key & more"),
        ("PASSWORD", "password-of-tests"),
        ("WRONG", "another password"),
    ];
    let oauth = format!(
        "    auth: {{type: oauth2, token_url: 'http://127.0.0.1:{port}/token', client_id: us, client_secret: {{env: CLIENT}}}}\n    \
         paging: {{type: page}}\n"
    );
    let run = |connection: &str, path: &str| {
        let sandbox = project(port, connection, &json!({ "path": path }));
        let mut result = sandbox.run_with(&secrets, &["ingest"]);
        for (_, secret) in secrets {
            result = result.does_not_say(secret);
        }
        (sandbox, result)
    };
    let (sandbox, result) = run(&oauth, "oauth");
    result.ok();
    assert_eq!(sandbox.rows("select id from raw.things order by 1"), ["1", "2"]);
    let paths: Vec<String> = asked.lock().unwrap().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/token").count(), 2, "{paths:?}");
    run("    auth: {type: api_key, name: key, in: query, api_key: {env: KEY}}\n", "key").1.ok();
    run("    auth: {type: basic, user: user, password: {env: PASSWORD}}\n", "basic").1.ok();
    for (auth, path) in [
        ("{type: basic, user: user, password: {env: WRONG}}", "basic"),
        ("{type: bearer, token: {env: WRONG}}", "basic"),
        ("{type: api_key, name: key, in: query, api_key: {env: WRONG}}", "key"),
    ] {
        let (_, result) = run(&format!("    auth: {auth}\n"), path);
        result.fails_with(1).says("does not accept the login").says("/v1/");
    }
    let (_, result) = run(&oauth.replace("CLIENT", "WRONG"), "oauth");
    result.fails_with(1).says("no token was given (status 400) invalid_client");
    let (_, result) = run("    auth: {type: bearer, token: written-here}\n", "key");
    result.fails_with(2).says("secret written in the file").does_not_say("written-here");
}

#[test]
fn refresh_tokens_that_are_replaced_are_kept_in_their_file() {
    let mut number = 0;
    let (port, asked) = serve(move |asked| {
        if asked.path == "/token" {
            let known: HashMap<String, String> =
                url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
            assert_eq!(known["grant_type"], "refresh_token");
            // Each may be used once.
            if known["refresh_token"] != format!("refresh-number-{number}") {
                return (400, String::new(), json!({"error": "invalid_grant"}).to_string());
            }
            number += 1;
            let (access, refresh) =
                (format!("access-{number}"), format!("refresh-number-{number}"));
            return said(json!({"access_token": access, "refresh_token": refresh}));
        }
        let login = asked.headers.get("authorization").cloned().unwrap_or_default();
        match asked.number("page", 1) {
            1 if login == format!("Bearer access-{number}") => said(json!([{"id": number}])),
            // Another one is wanted in the middle.
            2 if number % 2 == 1 => (401, String::new(), String::new()),
            _ => said("[]"),
        }
    });
    let auth = format!(
        "    auth: {{type: oauth2, token_url: 'http://127.0.0.1:{port}/token', client_id: us, refresh_token: TOKEN}}\n    \
         paging: {{type: page}}\n"
    );
    let kept = auth.replace("TOKEN", "{file: secrets/token}");
    let sandbox = project(port, &kept, &json!({"path": "x"}));
    sandbox.write("secrets/token", "refresh-number-0\n");
    for round in 1..4 {
        sandbox.run(&["ingest"]).ok().does_not_say("refresh-number").does_not_say("WARN");
        let token = std::fs::read_to_string(sandbox.path("secrets/token")).unwrap();
        assert_eq!(token, format!("refresh-number-{}\n", 2 * round));
    }
    assert_eq!(std::fs::read_dir(sandbox.path("secrets")).unwrap().count(), 1);
    // From elsewhere it is known to one run alone.
    let elsewhere = auth.replace("TOKEN", "{env: TOKEN}");
    let sandbox = project(port, &elsewhere, &json!({"path": "x"}));
    let run = |token| sandbox.run_with(&[("TOKEN", token)], &["ingest"]);
    run("refresh-number-6").ok().says("keep the token in a file").does_not_say("refresh-number");
    run("refresh-number-6").fails_with(1).says("invalid_grant");
    assert!(asked.lock().unwrap().len() > 10);
}

#[test]
fn an_api_that_is_busy_or_breaks_off_is_asked_again() {
    let mut asked_before = 0;
    let (port, asked) = serve(move |_| {
        asked_before += 1;
        match asked_before {
            1 => (429, "retry-after: 1\r\n".to_owned(), String::new()),
            2 => (503, String::new(), String::new()),
            // It breaks off.
            3 => (0, String::new(), "[{\"id\": ".to_owned()),
            4 => (302, "location: /v1/elsewhere\r\n".to_owned(), String::new()),
            _ => said("[{\"id\": 1}]"),
        }
    });
    let sandbox = project(port, "    max_requests_per_second: 50\n", &json!({"path": "busy"}));
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id from raw.things"), ["1"]);
    let paths: Vec<String> = asked.lock().unwrap().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths[3..], ["/v1/busy", "/v1/elsewhere"]);

    let (port, _) = serve(|_| (429, "retry-after: 3600\r\n".to_owned(), String::new()));
    let sandbox = project(port, "", &json!({"path": "busy"}));
    sandbox.run(&["ingest"]).fails_with(1).says("wants no request for 3600 s").says("`max_wait`");
}

#[test]
fn an_api_that_misbehaves_is_named_and_changes_nothing() {
    let (port, _) = serve(|asked| match asked.path.as_str() {
        "/v1/same" => said(json!([{"id": 1}])),
        "/v1/mark" => said(json!({"data": [{"id": 1}], "next": "m"})),
        "/v1/html" => said("<html>Welcome</html>"),
        "/v1/error" => said(json!({"error": "quota"})),
        "/v1/more" => said(json!({"data": [{"id": 1}], "has_more": true})),
        "/v1/away" => said(
            json!({"data": [{"id": 1}], "next": "https://elsewhere.example.org/v1/away?page=2"}),
        ),
        "/v1/sent" => {
            (302, "location: https://elsewhere.example.org/login\r\n".to_owned(), String::new())
        }
        "/v1/half" if asked.query.contains_key("page") => {
            (400, String::new(), "{\"message\": \"page too deep\"}".to_owned())
        }
        "/v1/half" => said(json!({"data": [{"id": 7}], "next": "/v1/half?page=2"})),
        _ => said(json!([{"id": 5}])),
    });
    let fails = |ingest: Value, code: i32, message: &str| {
        let sandbox = project(port, "", &json!({"path": "fine"}));
        sandbox.run(&["ingest"]).ok();
        let other = project(port, "", &ingest);
        other.run(&["ingest"]).fails_with(code).says(message);
        // What was there stays, and nothing of the load is seen.
        sandbox.write(
            "models/raw.yml",
            std::fs::read_to_string(other.path("models/raw.yml")).unwrap(),
        );
        sandbox.run(&["ingest"]).fails_with(code).says(message);
        assert_eq!(sandbox.rows("select id from raw.things"), ["5"]);
    };
    fails(json!({"path": "same", "paging": {"type": "page"}}), 1, "the same page again and again");
    let cursor = json!({"type": "cursor", "param": "after", "next": "next"});
    fails(json!({"path": "mark", "paging": cursor}), 1, "the same mark again and again");
    fails(json!({"path": "html"}), 1, "the reply is not JSON");
    fails(
        json!({"path": "error"}),
        1,
        "it is not clear where the records are; the reply has: error",
    );
    fails(json!({"path": "error", "records": "data.items"}), 1, "the reply has no `data`");
    fails(json!({"path": "more"}), 1, "says by `has_more` that there is more");
    fails(json!({"path": "away"}), 1, "another host");
    fails(json!({"path": "sent"}), 1, "another host");
    fails(json!({"path": "half"}), 1, "page too deep");
    fails(json!({"path": "fine", "mode": "append"}), 1, "needs a `cursor`");
    fails(json!({"path": "fine", "sort": "id"}), 2, "`sort`");
    // Private networks are reached only where that was said.
    let sandbox = project(port, "", &json!({"path": "fine"}));
    let written = std::fs::read_to_string(sandbox.path("connections.yml")).unwrap();
    sandbox.write("connections.yml", written.replace("    allow_private_addresses: true\n", ""));
    sandbox.run(&["ingest"]).fails_with(1).says("allow_private_addresses: true");
    sandbox.write(
        "connections.yml",
        written
            .replace("    allow_private_addresses: true\n", "")
            .replace("127.0.0.1", "localhost"),
    );
    sandbox.run(&["connection", "test"]).fails_with(1).says("private network");
    sandbox.run(&["connection", "discover", "api"]).fails_with(1).says("write a source table");
}
