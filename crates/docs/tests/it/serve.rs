//! The server gives the folder's files and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;

use tidemill_docs::{Folder, Reply, Server};

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("docs");
    std::fs::create_dir_all(root.join("assets")).unwrap();
    std::fs::write(root.join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(root.join("site.js"), "1").unwrap();
    std::fs::write(root.join("assets/a b.png"), "png").unwrap();
    std::fs::write(root.join(".hidden"), "secret").unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), root.join("link.txt")).unwrap();
    folder
}

fn get(folder: &Folder, target: &str) -> Reply {
    folder.reply("GET", target, "localhost:8080", "")
}

#[test]
fn files_have_their_types_and_are_guarded() {
    let place = site();
    let folder = Folder::open(&place.path().join("docs")).unwrap();
    for (target, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?x=1", "text/html; charset=utf-8"),
        ("/site.js", "text/javascript; charset=utf-8"),
        ("/assets/a%20b.png", "image/png"),
    ] {
        let reply = get(&folder, target);
        assert_eq!((reply.status, reply.header("Content-Type")), (200, Some(kind)), "{target}");
        let policy = reply.header("Content-Security-Policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
    }
}

#[test]
fn nothing_outside_of_the_folder_is_given() {
    let place = site();
    let folder = Folder::open(&place.path().join("docs")).unwrap();
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/../../secret.txt",
        "/assets%2f..%2f..%2fsecret.txt",
        "//secret.txt",
        "/.hidden",
        "/%2ehidden",
        "/link.txt",
        "/..\\secret.txt",
        "/..%5csecret.txt",
        "/C:/secret.txt",
        "/%00",
        "/%",
        "/%zz",
        "",
        "secret.txt",
        "http://x/",
        "/nothing",
        "/assets",
        "/assets/",
    ] {
        let reply = get(&folder, target);
        assert_eq!(reply.status, 404, "{target} gives {:?}", String::from_utf8_lossy(&reply.body));
        assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
    }
}

#[test]
fn what_the_reader_has_is_not_sent_again() {
    let place = site();
    let folder = Folder::open(&place.path().join("docs")).unwrap();
    let tag = get(&folder, "/site.js").header("ETag").unwrap().to_owned();
    let again = |known: &str| folder.reply("GET", "/site.js", "localhost", known);
    assert_eq!((again(&tag).status, again(&tag).body.len()), (304, 0));
    assert_eq!(again(&format!("\"x\", W/{tag}")).status, 304);
    assert_eq!(again("\"x\"").status, 200);
    std::fs::write(place.path().join("docs/site.js"), "2").unwrap();
    assert_eq!(again(&tag).status, 200);
}

#[test]
fn only_reading_and_only_under_its_own_name() {
    let place = site();
    let folder = Folder::open(&place.path().join("docs")).unwrap();
    assert_eq!(folder.reply("POST", "/", "localhost", "").status, 405);
    assert_eq!(
        folder.reply("DELETE", "/site.js", "localhost", "").header("Allow"),
        Some("GET, HEAD")
    );
    let folder = folder.only_for(["localhost", "127.0.0.1", "[::1]"]);
    for (host, status) in [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("evil.example:8080", 421),
        ("", 421),
        ("localhost.evil.example", 421),
    ] {
        assert_eq!(folder.reply("GET", "/", host, "").status, status, "{host}");
    }
}

#[test]
fn a_folder_without_a_site_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let error = Folder::open(empty.path()).unwrap_err();
    assert!(error.report().contains("tidemill docs generate"), "{}", error.report());
}

#[test]
fn it_answers_over_the_network_until_it_is_stopped() {
    let place = site();
    let folder = Folder::open(&place.path().join("docs")).unwrap();
    let server = Server::bind("127.0.0.1", 0).unwrap();
    let port = server.port();
    assert!(Server::bind("127.0.0.1", port).is_err(), "the port is taken");
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&folder));
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let found = ask("GET /site.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200") && found.ends_with("\r\n\r\n1"), "{found}");
        let head = ask("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("<!doctype"), "{head}");
        let up = ask("GET /../secret.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(up.starts_with("HTTP/1.1 404"), "{up}");
        server.stop();
        serving.join().unwrap();
    });
}
