//! A small fake of WebHDFS, as its documentation describes it: a name node that redirects to a data node.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::proxy::Message;
use crate::sandbox::Sandbox;

const TOKEN: &str = "planted-token-of-tests";

#[derive(Default)]
struct Cluster {
    /// By path: content, and the time of the last change in milliseconds.
    files: BTreeMap<String, (Vec<u8>, u64)>,
    /// How many replies of the data node to break in the middle.
    breaks: usize,
    /// Requests of the data node.
    opened: usize,
}

fn listen(answer: impl Fn(&Message, &TcpStream) -> bool + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut requests = BufReader::new(&client);
                while let Ok(Some(request)) = Message::read(&mut requests, false) {
                    if !answer(&request, &client) {
                        let _ = client.shutdown(Shutdown::Both);
                        return;
                    }
                }
            });
        }
    });
    port
}

fn say(mut client: &TcpStream, status: &str, more: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    client.write_all(&[head.as_bytes(), body].concat()).is_ok()
}

/// The path of a request, and a value of its query.
fn asked(request: &Message) -> (String, impl Fn(&str) -> Option<String>) {
    let target = request.head[0].split(' ').nth(1).unwrap();
    let url = format!("http://x{target}");
    let (path, query) = url["http://x".len()..].split_once('?').unwrap();
    let path = path.strip_prefix("/webhdfs/v1").unwrap().replace("%20", " ");
    let query: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let value =
        move |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    (path, value)
}

fn serve(cluster: &Arc<Mutex<Cluster>>) -> u16 {
    let shared = cluster.clone();
    let data_node = listen(move |request, client| {
        let (path, value) = asked(request);
        let mut cluster = shared.lock().unwrap();
        cluster.opened += 1;
        let content = cluster.files[&path].0.clone();
        let number = |name: &str| value(name).unwrap().parse::<usize>().unwrap();
        let from = number("offset");
        let part = &content[from..(from + number("length")).min(content.len())];
        if cluster.breaks > 0 && part.len() > 1000 {
            cluster.breaks -= 1;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", part.len());
            let mut client = client;
            let _ = client.write_all(&[head.as_bytes(), &part[..part.len() / 2]].concat());
            return false;
        }
        say(client, "200 OK", "", part)
    });
    let shared = cluster.clone();
    listen(move |request, client| {
        let (path, value) = asked(request);
        if value("delegation").as_deref() != Some(TOKEN) {
            let body =
                br#"{"RemoteException":{"exception":"SecurityException","message":"no login"}}"#;
            return say(client, "401 Unauthorized", "", body);
        }
        let cluster = shared.lock().unwrap();
        let status = |suffix: &str, path: &str| {
            let file = cluster.files.get(path);
            let kind = if file.is_some() { "FILE" } else { "DIRECTORY" };
            let (length, modified) = file.map_or((0, 1), |(content, at)| (content.len(), *at));
            format!(
                r#"{{"pathSuffix":"{suffix}","type":"{kind}","length":{length},"modificationTime":{modified},"owner":"x"}}"#
            )
        };
        let folder = format!("{}/", path.trim_end_matches('/'));
        let below = || cluster.files.keys().filter_map(|file| file.strip_prefix(&folder));
        if !cluster.files.contains_key(&path) && below().next().is_none() {
            let body = br#"{"RemoteException":{"exception":"FileNotFoundException","message":"File does not exist"}}"#;
            return say(client, "404 Not Found", "", body);
        }
        match value("op").as_deref() {
            Some("GETFILESTATUS") => {
                let body = format!(r#"{{"FileStatus":{}}}"#, status("", &path));
                say(client, "200 OK", "", body.as_bytes())
            }
            Some("LISTSTATUS") => {
                let mut names: Vec<&str> =
                    below().map(|name| name.split('/').next().unwrap()).collect();
                names.dedup();
                let all: Vec<String> =
                    names.iter().map(|name| status(name, &format!("{folder}{name}"))).collect();
                let body = format!(r#"{{"FileStatuses":{{"FileStatus":[{}]}}}}"#, all.join(","));
                say(client, "200 OK", "", body.as_bytes())
            }
            Some("OPEN") => {
                let target = request.head[0].split(' ').nth(1).unwrap();
                let to = format!("location: http://127.0.0.1:{data_node}{target}\r\n");
                say(client, "307 Temporary Redirect", &to, b"")
            }
            _ => say(client, "400 Bad Request", "", b"{}"),
        }
    })
}

#[test]
fn files_of_a_hadoop_file_system() {
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    let port = serve(&cluster);
    let shop = Sandbox::new(&[(
        "models/s.yml",
        "sources:\n  - name: raw\n    ingest: {connection: hdfs}\n    tables:\n      - {name: orders, ingest: {location: 'orders/**/*.csv'}}\n",
    )]);
    let connection = |host: &str, more: &str| {
        format!(
            "connections:\n  hdfs:\n    type: webhdfs\n    url: http://{host}:{port}\n    root: /data/in\n    token: {{env: HDFS_TOKEN}}\n{more}"
        )
    };
    shop.write("connections.yml", connection("127.0.0.1", ""));
    let put = |path: &str, content: String, at: u64| {
        let path = format!("/data/in/{path}");
        cluster.lock().unwrap().files.insert(path, (content.into_bytes(), at));
    };
    let rows: String = (0..500_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    put("orders/2026/a b.csv", format!("id,amount\n{rows}"), 1_700_000_000_000);
    put("orders/b.csv", "id,amount\n-1,1000\n".to_owned(), 1_700_000_000_001);
    put("other/c.csv", "id,amount\n-2,1\n".to_owned(), 1);
    cluster.lock().unwrap().breaks = 3;
    let token = [("HDFS_TOKEN", TOKEN)];
    shop.run_with(&token, &["connection", "test"]).ok();
    shop.run_with(&token, &["ingest"]).ok();
    assert_eq!(cluster.lock().unwrap().breaks, 0);
    assert_eq!(
        shop.rows(
            "select _source_file, count(*), sum(amount) from raw.orders group by 1 order by 1"
        ),
        ["orders/2026/a b.csv,500000,1499994", "orders/b.csv,1,1000"]
    );
    let opened = cluster.lock().unwrap().opened;
    shop.run_with(&token, &["ingest"]).ok();
    assert_eq!(cluster.lock().unwrap().opened, opened);
    shop.run_with(&[("HDFS_TOKEN", "another token")], &["connection", "test"])
        .fails_with(1)
        .says("wants a login")
        .does_not_say("another token");
    shop.write("connections.yml", connection("namenode.example.org", ""));
    shop.run_with(&token, &["connection", "test"]).fails_with(1).says("allow_http: true");
}
