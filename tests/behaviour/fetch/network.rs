//! Server and network errors.

use std::time::{Duration, Instant};

use md5::Md5;
use qrnn::progress::Silent;

use super::server::{Response, Server};
use super::{
    Messages, assert_complete, assert_refused, assert_succeeds, assert_texts, checksum, fetch,
    file_names, good_zip,
};

#[test]
fn a_browser_user_agent_is_sent() {
    let archive = good_zip();
    assert_succeeds(move |_, request| match request.header("user-agent") {
        Some(agent) if agent.starts_with("Mozilla/5.0 (") => Response::whole(&archive),
        _ => Response::status(403),
    });
}

#[test]
fn a_dropped_connection_is_resumed() {
    let archive = good_zip();
    let size = archive.len();
    let (fetched, requests, _) = assert_succeeds(move |n, request| {
        let drop_after = (n < 6).then_some(size / 8);
        Response::ranges(request, &archive, "\"one\"")
            .with(|response| response.drop_after = drop_after)
    });
    let from: Vec<_> = requests.iter().map(|request| request.from().unwrap_or(0)).collect();
    assert_eq!(from, [0, 1, 2, 3, 4, 5, 6].map(|n| n * (size / 8)));
    assert!(requests[1..].iter().all(|request| request.header("if-range") == Some("\"one\"")));
    assert_eq!(fetched.downloaded, size as u64);
}

#[test]
fn a_server_without_ranges_restarts_the_file() {
    let archive = good_zip();
    let size = archive.len() as u64;
    let (fetched, _, messages) = assert_succeeds(move |n, _| {
        Response::whole(&archive).with(|response| response.drop_after = (n < 2).then_some(20_000))
    });
    assert_eq!(fetched.downloaded, size + 40_000);
    assert!(messages.contains("sends the file from the beginning"), "{messages}");
}

#[test]
fn a_file_that_changes_during_the_download_is_downloaded_again() {
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    // The first response is from an older file. With If-Range, the server then sends the whole new one.
    assert_succeeds(move |n, request| match n {
        0 => Response::ranges(request, &other, "\"old\"")
            .with(|response| response.drop_after = Some(30_000)),
        _ => Response::ranges(request, &archive, "\"new\""),
    });
    // If the server ignores If-Range, the tag or the size reveals the change,
    for same_size in [true, false] {
        let (archive, mut other) = (good_zip(), vec![7; good_zip().len()]);
        other.truncate(if same_size { other.len() } else { 60_000 });
        let tag = move |n| match (same_size, n) {
            (false, _) => "W/\"weak\"",
            (true, 0) => "\"old\"",
            (true, _) => "\"new\"",
        };
        assert_succeeds(move |n, request| {
            let mut request = request.clone();
            request.remove("if-range");
            let body = if n == 0 { &other } else { &archive };
            Response::ranges(&request, body, tag(n))
                .with(|response| response.drop_after = (n == 0).then_some(30_000))
        });
    }
    // and otherwise the checksum.
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    let (_, _, messages) = assert_succeeds(move |n, request| {
        let body = if n == 0 { &other } else { &archive };
        Response::ranges(request, body, "W/\"weak\"")
            .with(|response| response.drop_after = (n == 0).then_some(30_000))
            .with(|response| response.headers.retain(|(name, _)| *name != "ETag"))
    });
    assert!(messages.contains("downloading again from the beginning"), "{messages}");
}

#[test]
fn a_wrong_byte_range_is_rejected() {
    let archive = good_zip();
    assert_succeeds(move |n, request| match n {
        0 => Response::ranges(request, &archive, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        1 => Response::ranges(request, &archive, "\"a\"").with(|response| {
            response.headers = vec![("Content-Range", "bytes 5-9/10".into())];
        }),
        _ => Response::whole(&archive),
    });
}

#[test]
fn a_wrong_content_length_is_ignored_if_the_checksum_is_right() {
    for ranges in [true, false] {
        let archive = good_zip();
        assert_succeeds(move |_, request| {
            let whole = Response::whole(&archive)
                .with(|response| response.length = Some(Some(archive.len() + 1000)));
            match request.from() {
                Some(_) if ranges => Response::ranges(request, &archive, "\"a\""),
                _ => whole,
            }
        });
    }
    let archive = good_zip();
    assert_succeeds(move |_, _| {
        Response::whole(&archive).with(|response| response.length = Some(None))
    });
}

#[test]
fn a_silent_server_times_out() {
    let archive = good_zip();
    let started = Instant::now();
    assert_succeeds(move |n, request| {
        Response::ranges(request, &archive, "\"a\"")
            .with(|response| response.silent_after = (n < 2).then_some(20_000 * (1 - n)))
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn server_errors_are_retried() {
    let archive = good_zip();
    let (_, requests, messages) = assert_succeeds(move |n, _| match n {
        0 => Response::status(500),
        1 => Response::status(503)
            .with(|response| response.headers = vec![("Retry-After", "0".into())]),
        2 => Response::status(429),
        _ => Response::whole(&archive),
    });
    assert_eq!(requests.len(), 4);
    assert!(messages.contains("500"), "{messages}");
    let (message, left) = assert_refused(|_, _| Response::status(502));
    assert!(message.contains("502") && message.contains("4 attempts"), "{message}");
    assert_eq!(left, [".small.lock"]);
}

#[test]
fn redirects_are_followed_up_to_a_limit() {
    let archive = good_zip();
    let (_, requests, _) = assert_succeeds(move |_, request| match request.path.as_str() {
        "/small-v1.zip" => Response::redirect("/a"),
        "/a" => Response::redirect("b"),
        _ => Response::whole(&archive),
    });
    assert_eq!(requests.len(), 3);
    let (message, _) = assert_refused(|_, _| Response::redirect("/small-v1.zip"));
    assert!(message.contains("too many redirects"), "{message}");
    let (message, _) = assert_refused(|_, _| Response::redirect("ftp://localhost/x"));
    assert!(message.contains("127.0.0.1"), "{message}");
}

#[test]
fn the_next_mirror_is_tried_and_all_errors_are_reported() {
    let archive = good_zip();
    let size = archive.len();
    let mut flipped = archive.clone();
    flipped[size / 2] ^= 1;
    let actual = checksum::<Md5>(&flipped);
    let bad = Server::start(move |_, request| match request.path.as_str() {
        "/forbidden" => Response::status(403),
        "/gone" => Response::status(404),
        "/page" => Response::whole(b"<html>log in</html>")
            .with(|response| response.headers = vec![("Content-Type", "text/html".into())]),
        "/huge" => {
            Response::whole(b"x").with(|response| response.length = Some(Some(50_000_000_000)))
        }
        "/endless" => {
            Response::whole(&vec![7; 3 * size]).with(|response| response.length = Some(None))
        }
        _ => Response::whole(&flipped),
    });
    let paths = ["/forbidden", "/gone", "/page", "/huge", "/endless", "/flipped"];
    let mut mirrors = paths.map(|path| bad.url(path)).to_vec();

    let folder = tempfile::tempdir().unwrap();
    let mut messages = Messages::default();
    let error = fetch(folder.path(), &mirrors).run(&mut messages).unwrap_err().to_string();
    for path in paths {
        assert!(error.contains(&bad.url(path)), "{error}");
    }
    // The error follows the last mirror at once.
    assert!(messages.0.contains("another file") && !messages.0.contains("md5"), "{}", messages.0);
    let expected = checksum::<Md5>(&archive);
    for part in
        ["403", "404", "web page", "50000.0 MB", "another file", "is damaged", &expected, &actual]
    {
        assert!(error.contains(part), "no {part}: {error}");
    }
    // A refused archive is kept for inspection.
    assert_eq!(file_names(folder.path()), [".small.lock", "small-v1.zip.refused"]);

    let good = Server::start(move |_, _| Response::whole(&archive));
    mirrors.push(good.url("/small-v1.zip"));
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetch(folder.path(), &mirrors).run(&mut Silent).unwrap();
    assert_eq!(fetched.from, Some(good.url("/small-v1.zip")));
    assert_texts(&fetched.path);
}

#[test]
fn a_download_is_resumed_from_another_mirror() {
    let archive = good_zip();
    let body = archive.clone();
    let first = Server::start(move |n, request| match n {
        0 => Response::ranges(request, &body, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        _ => Response::status(404),
    });
    let second = Server::start(move |_, request| Response::ranges(request, &archive, "\"b\""));
    let folder = tempfile::tempdir().unwrap();
    let mirrors = [first.url("/a"), second.url("/b")];
    let fetched = fetch(folder.path(), &mirrors).run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    assert_eq!(second.requests()[0].from(), Some(30_000));
    // A tag is not sent to another server.
    assert_eq!(second.requests()[0].header("if-range"), None);
}
