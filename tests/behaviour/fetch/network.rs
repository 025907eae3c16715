//! Servers and networks.

use std::time::{Duration, Instant};

use md5::Md5;
use qrnn::progress::Silent;

use super::server::{Answer, Server};
use super::{comes_through, fetch, good_zip, holds_texts, is_refused, is_whole, names, sum};

#[test]
fn a_host_that_wants_a_browser_gets_one() {
    let archive = good_zip();
    comes_through(move |_, request| match request.header("user-agent") {
        Some(agent) if agent.starts_with("Mozilla/5.0 (") => Answer::whole(&archive),
        _ => Answer::status(403),
    });
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_broke() {
    let archive = good_zip();
    let size = archive.len();
    let (fetched, requests, _) = comes_through(move |n, request| {
        let drop_after = (n < 6).then_some(size / 8);
        Answer::ranges(request, &archive, "\"one\"").with(|answer| answer.drop_after = drop_after)
    });
    let from: Vec<_> = requests.iter().map(|request| request.from().unwrap_or(0)).collect();
    assert_eq!(from, [0, 1, 2, 3, 4, 5, 6].map(|n| n * (size / 8)));
    assert!(requests[1..].iter().all(|request| request.header("if-range") == Some("\"one\"")));
    assert_eq!(fetched.downloaded, size as u64);
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let archive = good_zip();
    let size = archive.len() as u64;
    let (fetched, _, notes) = comes_through(move |n, _| {
        Answer::whole(&archive).with(|answer| answer.drop_after = (n < 2).then_some(20_000))
    });
    assert_eq!(fetched.downloaded, size + 40_000);
    assert!(notes.contains("from its beginning"), "{notes}");
}

#[test]
fn a_file_that_changes_meanwhile_is_fetched_anew() {
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    // The first answer is of an older file; with If-Range the server sends the new one whole.
    comes_through(move |n, request| match n {
        0 => Answer::ranges(request, &other, "\"old\"")
            .with(|answer| answer.drop_after = Some(30_000)),
        _ => Answer::ranges(request, &archive, "\"new\""),
    });
    // A server that ignores If-Range tells by its tag or by the size,
    for same_size in [true, false] {
        let (archive, mut other) = (good_zip(), vec![7; good_zip().len()]);
        other.truncate(if same_size { other.len() } else { 60_000 });
        let tag = move |n| match (same_size, n) {
            (false, _) => "W/\"weak\"",
            (true, 0) => "\"old\"",
            (true, _) => "\"new\"",
        };
        comes_through(move |n, request| {
            let mut request = request.clone();
            request.forget("if-range");
            let body = if n == 0 { &other } else { &archive };
            Answer::ranges(&request, body, tag(n))
                .with(|answer| answer.drop_after = (n == 0).then_some(30_000))
        });
    }
    // and if by nothing, then the sum does.
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    let (_, _, notes) = comes_through(move |n, request| {
        let body = if n == 0 { &other } else { &archive };
        Answer::ranges(request, body, "W/\"weak\"")
            .with(|answer| answer.drop_after = (n == 0).then_some(30_000))
            .with(|answer| answer.headers.retain(|(name, _)| *name != "ETag"))
    });
    assert!(notes.contains("once more, from the beginning"), "{notes}");
}

#[test]
fn other_bytes_than_asked_for_are_not_taken() {
    let archive = good_zip();
    comes_through(move |n, request| match n {
        0 => Answer::ranges(request, &archive, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        1 => Answer::ranges(request, &archive, "\"a\"").with(|answer| {
            answer.headers = vec![("Content-Range", "bytes 5-9/10".into())];
        }),
        _ => Answer::whole(&archive),
    });
}

#[test]
fn a_wrong_length_does_not_matter_where_the_sum_is_right() {
    for ranges in [true, false] {
        let archive = good_zip();
        comes_through(move |_, request| {
            let whole = Answer::whole(&archive)
                .with(|answer| answer.length = Some(Some(archive.len() + 1000)));
            match request.from() {
                Some(_) if ranges => Answer::ranges(request, &archive, "\"a\""),
                _ => whole,
            }
        });
    }
    let archive = good_zip();
    comes_through(move |_, _| Answer::whole(&archive).with(|answer| answer.length = Some(None)));
}

#[test]
fn silence_is_not_waited_out() {
    let archive = good_zip();
    let started = Instant::now();
    comes_through(move |n, request| {
        Answer::ranges(request, &archive, "\"a\"")
            .with(|answer| answer.silent_after = (n < 2).then_some(20_000 * (1 - n)))
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let archive = good_zip();
    let (_, requests, notes) = comes_through(move |n, _| match n {
        0 => Answer::status(500),
        1 => Answer::status(503).with(|answer| answer.headers = vec![("Retry-After", "0".into())]),
        2 => Answer::status(429),
        _ => Answer::whole(&archive),
    });
    assert_eq!(requests.len(), 4);
    assert!(notes.contains("500"), "{notes}");
    let (message, _) = is_refused(|_, _| Answer::status(502));
    assert!(message.contains("502") && message.contains("4 attempts"), "{message}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let archive = good_zip();
    let (_, requests, _) = comes_through(move |_, request| match request.path.as_str() {
        "/small-v1.zip" => Answer::redirect("/a"),
        "/a" => Answer::redirect("b"),
        _ => Answer::whole(&archive),
    });
    assert_eq!(requests.len(), 3);
    let (message, _) = is_refused(|_, _| Answer::redirect("/small-v1.zip"));
    assert!(message.contains("redirected more than 4 times"), "{message}");
    let (message, _) = is_refused(|_, _| Answer::redirect("ftp://localhost/x"));
    assert!(message.contains("127.0.0.1"), "{message}");
}

#[test]
fn the_next_mirror_is_asked_and_all_are_told_of() {
    let archive = good_zip();
    let size = archive.len();
    let mut flipped = archive.clone();
    flipped[size / 2] ^= 1;
    let got = sum::<Md5>(&flipped);
    let bad = Server::start(move |_, request| match request.path.as_str() {
        "/forbidden" => Answer::status(403),
        "/gone" => Answer::status(404),
        "/page" => Answer::whole(b"<html>log in</html>")
            .with(|answer| answer.headers = vec![("Content-Type", "text/html".into())]),
        "/huge" => Answer::whole(b"x").with(|answer| answer.length = Some(Some(50_000_000_000))),
        "/endless" => Answer::whole(&vec![7; 3 * size]).with(|answer| answer.length = Some(None)),
        _ => Answer::whole(&flipped),
    });
    let paths = ["/forbidden", "/gone", "/page", "/huge", "/endless", "/flipped"];
    let mut mirrors = paths.map(|path| bad.url(path)).to_vec();

    let folder = tempfile::tempdir().unwrap();
    let error = fetch(folder.path(), &mirrors).run(&mut Silent).unwrap_err().to_string();
    for path in paths {
        assert!(error.contains(&bad.url(path)), "{error}");
    }
    let expected = sum::<Md5>(&archive);
    for said in ["403", "404", "web page", "50000.0 MB", "another file", &expected, &got] {
        assert!(error.contains(said), "no {said}: {error}");
    }
    // What was refused can be looked at.
    assert_eq!(names(folder.path()), [".small.lock", "small-v1.zip.refused"]);

    let good = Server::start(move |_, _| Answer::whole(&archive));
    mirrors.push(good.url("/small-v1.zip"));
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetch(folder.path(), &mirrors).run(&mut Silent).unwrap();
    assert_eq!(fetched.from, Some(good.url("/small-v1.zip")));
    holds_texts(&fetched.path);
}

#[test]
fn a_mirror_goes_on_where_another_broke_off() {
    let archive = good_zip();
    let body = archive.clone();
    let first = Server::start(move |n, request| match n {
        0 => Answer::ranges(request, &body, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        _ => Answer::status(404),
    });
    let second = Server::start(move |_, request| Answer::ranges(request, &archive, "\"b\""));
    let folder = tempfile::tempdir().unwrap();
    let mirrors = [first.url("/a"), second.url("/b")];
    let fetched = fetch(folder.path(), &mirrors).run(&mut Silent).unwrap();
    is_whole(folder.path(), &fetched);
    assert_eq!(second.requests()[0].from(), Some(30_000));
    // The tag of one server means nothing to the other.
    assert_eq!(second.requests()[0].header("if-range"), None);
}
