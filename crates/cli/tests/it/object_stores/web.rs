//! Files of an HTTP server that wants a login, breaks connections and replaces files.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::proxy::Message;
use crate::sandbox::Sandbox;

#[derive(Default)]
struct Site {
    /// By path: the version and the content.
    files: std::collections::HashMap<String, (String, Vec<u8>)>,
    /// Ranges that were asked for, and how many replies to break in the middle.
    ranges: usize,
    breaks: usize,
    busy: usize,
    /// Whether HEAD and ranges are known.
    plain: bool,
}

fn serve(site: &Arc<Mutex<Site>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = site.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let site = site.clone();
            std::thread::spawn(move || {
                let mut requests = BufReader::new(&client);
                while let Ok(Some(request)) = Message::read(&mut requests, false) {
                    if !reply(&site, &request, &client) {
                        let _ = client.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Answers; false to end the connection.
fn reply(site: &Mutex<Site>, request: &Message, mut client: &std::net::TcpStream) -> bool {
    let mut site = site.lock().unwrap();
    let mut words = request.head[0].split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut say = |status: &str, more: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
        client.write_all(&[head.as_bytes(), body].concat()).is_ok()
    };
    if request.header("authorization") != Some("Bearer token-of-tests") {
        return say("401 Unauthorized", "", b"");
    }
    if site.busy > 0 {
        site.busy -= 1;
        return say("503 Service Unavailable", "retry-after: 1\r\n", b"");
    }
    let Some((version, content)) = site.files.get(path).cloned() else {
        return say("404 Not Found", "", b"");
    };
    if site.plain {
        return match method {
            "GET" => say("200 OK", "", &content),
            _ => say("405 Method Not Allowed", "", b""),
        };
    }
    let more = format!("etag: \"{version}\"\r\naccept-ranges: bytes\r\n");
    let range = request.header("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?.min(content.len() - 1)))
    });
    match (method, range) {
        ("HEAD", _) => {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{more}\r\n", content.len());
            client.write_all(head.as_bytes()).is_ok()
        }
        (_, Some((from, to))) => {
            site.ranges += 1;
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{to}/{}\r\n{more}\r\n",
                to + 1 - from,
                content.len()
            );
            let mut end = to + 1;
            if site.breaks > 0 && end - from > 1000 {
                site.breaks -= 1;
                end = from + (end - from) / 2;
            }
            client.write_all(&[head.as_bytes(), &content[from..end]].concat()).is_ok()
                && end == to + 1
        }
        _ => say("200 OK", &more, &content),
    }
}

fn project(port: u16, location: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[(
        "models/raw.yml",
        &format!(
            "sources:\n  - name: raw\n    ingest: {{connection: site}}\n    tables:\n      - name: rows\n        ingest: \
             {{location: {location}, on_change: reload}}\n"
        ),
    )]);
    sandbox.write(
        "connections.yml",
        format!(
            "connections:\n  site:\n    type: http\n    url: http://127.0.0.1:{port}/files\n    token: {{env: SITE_TOKEN}}\n"
        ),
    );
    sandbox
}

const TOKEN: [(&str, &str); 1] = [("SITE_TOKEN", "token-of-tests")];

#[test]
fn a_broken_read_is_taken_up_again() {
    let site = Arc::new(Mutex::new(Site::default()));
    let port = serve(&site);
    let rows: String = (0..400_000).map(|row| format!("{row},{}\n", row % 10)).collect();
    let put = |version: &str, text: String| {
        let file = (version.to_owned(), text.into_bytes());
        site.lock().unwrap().files.insert("/files/a/rows.csv".to_owned(), file);
    };
    put("1", format!("id,digit\n{rows}"));
    let sandbox = project(port, "a/rows.csv");
    {
        let mut site = site.lock().unwrap();
        (site.breaks, site.busy) = (3, 1);
    }
    sandbox.run_with(&TOKEN, &["connection", "test"]).ok().says("OK");
    sandbox.run_with(&TOKEN, &["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select count(*), sum(id), sum(digit) from raw.rows"),
        ["400000,79999800000,1800000"]
    );
    let asked = site.lock().unwrap().ranges;
    assert!(asked > 4 && site.lock().unwrap().breaks == 0, "{asked}");
    // The same version is not read again, another one is.
    sandbox.run_with(&TOKEN, &["ingest"]).ok().says("nothing to do");
    assert_eq!(site.lock().unwrap().ranges, asked);
    put("2", "id,digit\n1,2\n".to_owned());
    sandbox.run_with(&TOKEN, &["ingest"]).ok();
    assert_eq!(sandbox.rows("select id, digit, _source_file from raw.rows"), ["1,2,a/rows.csv"]);
    sandbox
        .run_with(&[("SITE_TOKEN", "another token")], &["ingest"])
        .fails_with(1)
        .says("the server wants a login")
        .does_not_say("another token");
}

#[test]
fn a_server_that_knows_get_alone() {
    let site = Arc::new(Mutex::new(Site { plain: true, ..Site::default() }));
    let port = serve(&site);
    let put = |text: &str| {
        let file = (String::new(), text.as_bytes().to_vec());
        site.lock().unwrap().files.insert("/files/rows.csv".to_owned(), file);
    };
    put("id\n1\n2\n");
    let sandbox = project(port, "rows.csv");
    sandbox.run_with(&TOKEN, &["ingest"]).ok();
    sandbox.run_with(&TOKEN, &["ingest"]).ok().says("nothing to do");
    put("id\n3\n4\n");
    sandbox.run_with(&TOKEN, &["ingest"]).ok();
    assert_eq!(sandbox.rows("select id from raw.rows order by 1"), ["3", "4"]);
    let other = project(port, "'https://other.example.org/rows.csv'");
    other.run_with(&TOKEN, &["ingest"]).fails_with(1).says("not below the connection's address");
    let all = project(port, "'*.csv'");
    all.run_with(&TOKEN, &["ingest"]).fails_with(1).says("an HTTP server cannot be listed");
}
