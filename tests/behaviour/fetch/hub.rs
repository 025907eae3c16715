//! Parquet files from Hugging Face, and its mirrors.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use qrnn::Error;
use qrnn::data::download::{Dataset, Fetch, HubAccess, HubFolder};
use qrnn::progress::Silent;

use super::server::{Request, Response, Server};
use super::{
    Messages, SPLITS, assert_complete, assert_texts, dataset, file_names, good_zip, retry_policy,
    text,
};

const FOLDER: &str = "/datasets/owner/small/resolve/main/small-v1/";

/// A table of the lines of a text, as in Hugging Face's copy of WikiText-103.
fn table(text: &[u8]) -> Vec<u8> {
    table_with_column("text", text)
}

fn table_with_column(name: &str, text: &[u8]) -> Vec<u8> {
    let schema = format!("message schema {{ optional binary {name} (string); }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(vec![], schema, properties).unwrap();
    let rows: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for rows in rows.chunks(300) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let ColumnWriter::ByteArrayColumnWriter(strings) = column.untyped() else {
            panic!("not a column of strings")
        };
        let rows: Vec<_> = rows.iter().map(|row| ByteArray::from(row.to_vec())).collect();
        strings.write_batch(&rows, Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// The names and bytes of all Parquet files: the training text is in two.
pub fn tables() -> Vec<(String, Vec<u8>)> {
    let [train, valid, test] = SPLITS.map(text);
    let half =
        train.len() / 2 + train[train.len() / 2..].iter().position(|b| *b == b'\n').unwrap() + 1;
    [
        ("train-00000-of-00002.parquet", table(&train[..half])),
        ("train-00001-of-00002.parquet", table(&train[half..])),
        ("validation-00000-of-00001.parquet", table(&valid)),
        ("test-00000-of-00001.parquet", table(&test)),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// The dataset of the other tests, with Parquet files.
fn hub_dataset(mirrors: &[String]) -> Dataset {
    let mut dataset = dataset(mirrors);
    let names: Vec<_> = tables().into_iter().map(|(name, _)| name).collect();
    for (file, names) in dataset.files.iter_mut().zip([&names[..2], &names[2..3], &names[3..]]) {
        file.parquet = names.into();
    }
    dataset.hugging_face = Some(HubFolder {
        repository: "owner/small".into(),
        revision: "main".into(),
        folder: "small-v1".into(),
        max_bytes: 200_000,
    });
    dataset
}

fn fetch(to: &Path, hub: &Server, token: Option<&str>, mirrors: &[String]) -> Fetch {
    let access = HubAccess::new(hub.url(""), token.map(Into::into));
    Fetch::new(hub_dataset(mirrors), to).retry_policy(retry_policy()).hub(access)
}

/// The bytes of the requested Parquet file.
fn requested(request: &Request) -> Option<Vec<u8>> {
    let name = request.path.strip_prefix(FOLDER)?;
    tables().into_iter().find(|(table, _)| table == name).map(|(_, bytes)| bytes)
}

/// The response of an intact server.
fn serve(request: &Request) -> Response {
    match requested(request) {
        Some(bytes) => Response::ranges(request, &bytes, "\"one\""),
        None => Response::status(404),
    }
}

/// A server of the archive.
fn zip_server() -> Server {
    Server::start(|_, request| Response::ranges(request, &good_zip(), "\"zip\""))
}

#[test]
fn hugging_face_is_the_first_mirror() {
    let hub = Server::start(|_, request| serve(request));
    let archive = zip_server();
    let folder = tempfile::tempdir().unwrap();
    // What an interrupted download of the archive has left is not needed any more.
    fs::write(folder.path().join("small-v1.zip.part"), &good_zip()[..9000]).unwrap();
    let fetch = fetch(folder.path(), &hub, None, &[archive.url("/x")]);
    let fetched = fetch.run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    assert_eq!(fetched.from, Some(hub.url(FOLDER.trim_end_matches('/'))));
    assert!(fetched.from_parquet);
    assert_eq!(
        fetched.downloaded,
        tables().iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>()
    );
    let paths: Vec<_> = hub.requests().into_iter().map(|request| request.path).collect();
    let expected = tables().into_iter().map(|(name, _)| format!("{FOLDER}{name}"));
    assert_eq!(paths, expected.collect::<Vec<_>>());
    assert!(hub.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(archive.requests().is_empty());
    // The texts are there already.
    assert_eq!(fetch.run(&mut Silent).unwrap().from, None);
}

#[test]
fn the_archive_follows() {
    let whole = tables();
    let cut: Vec<u8> = whole[1].1[..whole[1].1.len() - 9].to_vec();
    let wrong_text = table(b" a shorter text \n");
    let other_column = table_with_column("line", b" a \n");
    // The second file is replaced.
    for (case, bad, problem) in [
        ("missing", Response::status(404), "404"),
        ("page", Response::whole(b"<html>log in</html>"), "HTML page"),
        ("cut", Response::whole(&cut), "truncated"),
        ("wrong", Response::whole(&wrong_text), "is not the published wiki.train.tokens"),
        ("large", Response::whole(&vec![7; 300_000]), "another file"),
        ("column", Response::whole(&other_column), "has no column"),
    ] {
        let hub = Server::start(move |_, request| {
            if request.path.contains("train-00001") { bad.clone() } else { serve(request) }
        });
        let archive = zip_server();
        let folder = tempfile::tempdir().unwrap();
        let mut messages = Messages::default();
        let mirrors = [archive.url("/small-v1.zip")];
        let fetched = fetch(folder.path(), &hub, None, &mirrors).run(&mut messages).unwrap();
        assert!(messages.0.contains(problem), "{case}: {}", messages.0);
        assert_texts(&fetched.path);
        assert_eq!(fetched.from, Some(mirrors[0].clone()), "{case}");
        assert!(!fetched.from_parquet);
        // Files that were refused are kept for inspection, and no partial file.
        let left = file_names(folder.path());
        assert!(left.iter().all(|name| !name.ends_with(".part")), "{case}: {left:?}");
        let refused = left.iter().filter(|name| name.ends_with(".refused")).count();
        let expected = match case {
            "missing" | "large" => 0,
            "wrong" => 2,
            _ => 1,
        };
        assert_eq!(refused, expected, "{case}: {left:?}");
    }
}

#[test]
fn all_servers_are_named_if_none_is_of_use() {
    let hub = Server::start(|_, _| Response::status(404));
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(folder.path(), &hub, None, &[hub.url("/zip")]).run(&mut Silent).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains(&hub.url(FOLDER.trim_end_matches('/'))), "{error}");
    assert!(error.contains(&hub.url("/zip: 404")), "{error}");
    assert_eq!(file_names(folder.path()), [".small.lock"]);
}

#[test]
fn a_token_is_sent_to_its_host_only() {
    let other = Server::start(|_, request| serve(request));
    let port = other.url("").rsplit(':').next().unwrap().to_owned();
    // Another port of the same host, and another host.
    for target in [other.url(""), format!("http://localhost:{port}")] {
        let hub = Server::start(move |_, request| match request.path.contains("train") {
            true => Response::redirect(&format!("{target}{}", request.path)),
            false => serve(request),
        });
        let before = other.requests().len();
        let folder = tempfile::tempdir().unwrap();
        let fetched = fetch(folder.path(), &hub, Some("hf_secret"), &[]).run(&mut Silent).unwrap();
        assert_complete(folder.path(), &fetched);
        let sent = hub.requests();
        assert_eq!(sent.len(), 4);
        assert!(sent.iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
        let redirected = &other.requests()[before..];
        assert_eq!(redirected.len(), 2);
        assert!(redirected.iter().all(|request| request.header("authorization").is_none()));
    }

    // Nor to the mirrors of the archive; and no message shows it.
    let hub = Server::start(|_, _| Response::status(401));
    let archive = zip_server();
    let folder = tempfile::tempdir().unwrap();
    let mut messages = Messages::default();
    for token in ["hf_secret", "hf_sec\nret"] {
        let fetch = fetch(folder.path(), &hub, Some(token), &[archive.url("/x")]);
        fetch.run(&mut messages).unwrap();
        fs::remove_dir_all(folder.path().join("small")).unwrap();
        assert!(!format!("{fetch:?}").contains("hf_sec"));
    }
    assert!(archive.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(messages.0.contains("rejects HF_TOKEN"), "{}", messages.0);
    assert!(messages.0.contains("cannot have"), "{}", messages.0);
    assert!(!messages.0.contains("hf_sec"), "{}", messages.0);
}

#[test]
fn a_parquet_file_is_resumed() {
    let hub = Server::start(|n, request| {
        serve(request).with(|response| response.drop_after = (n == 1).then_some(20_000))
    });
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetch(folder.path(), &hub, None, &[]).run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    let requests = hub.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests[1].path == requests[2].path && requests[2].from() == Some(20_000));
    assert_eq!(requests[2].header("if-range"), Some("\"one\""));

    // By another process: the first file is complete, and not requested again.
    let hub = Server::start(|n, request| match n {
        1 => serve(request).with(|response| response.drop_after = Some(20_000)),
        2..=4 => Response::status(503),
        _ => serve(request),
    });
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &hub, None, &[]);
    fetch.run(&mut Silent).unwrap_err();
    let parts = file_names(folder.path());
    for name in
        ["small-v1-train-00000-of-00002.parquet.part", "small-v1-train-00001-of-00002.parquet.part"]
    {
        assert!(parts.contains(&name.to_owned()), "{parts:?}");
    }
    let before = hub.requests().len();
    let fetched = fetch.run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    let requests = hub.requests().split_off(before);
    assert_eq!(requests.len(), 3);
    assert!(requests[0].path.contains("train-00001") && requests[0].from() == Some(20_000));
}

#[test]
fn a_file_of_two_versions_is_downloaded_again() {
    // No tag and no size tells the versions apart; the text does.
    let hub = Server::start(|n, request| {
        let Some(mut bytes) = requested(request) else { return Response::status(404) };
        if n == 0 {
            bytes[5000] ^= 1;
        }
        Response::ranges(request, &bytes, "\"same\"")
            .with(|response| response.drop_after = (n == 0).then_some(20_000))
    });
    let folder = tempfile::tempdir().unwrap();
    let mut messages = Messages::default();
    let fetched = fetch(folder.path(), &hub, None, &[]).run(&mut messages).unwrap();
    assert_complete(folder.path(), &fetched);
    assert!(messages.0.contains("downloading again from the beginning"), "{}", messages.0);
}

#[test]
fn a_server_that_breaks_connections_and_sends_another_file_is_left() {
    let other = table(&text("valid")[..60_000]);
    let hub = Server::start(move |_, request| {
        let first = request.from().is_none();
        Response::ranges(request, &other, "\"other\"")
            .with(|response| response.drop_after = first.then_some(20_000))
    });
    let archive = zip_server();
    let folder = tempfile::tempdir().unwrap();
    let mirrors = [archive.url("/x")];
    let fetched = fetch(folder.path(), &hub, None, &mirrors).run(&mut Silent).unwrap();
    assert_eq!(fetched.from.as_ref(), Some(&mirrors[0]));
    assert_texts(&fetched.path);
}

#[test]
fn parquet_files_in_the_folder_are_restored() {
    for inner in [".", "small-v1"] {
        let hub = Server::start(|_, request| serve(request));
        let folder = tempfile::tempdir().unwrap();
        let tables_folder = folder.path().join(inner);
        fs::create_dir_all(&tables_folder).unwrap();
        for (name, bytes) in tables() {
            fs::write(tables_folder.join(name), bytes).unwrap();
        }
        let fetched = fetch(folder.path(), &hub, None, &[]).run(&mut Silent).unwrap();
        assert_texts(&fetched.path);
        assert_eq!(fetched.downloaded, 0);
        assert!(fetched.from.unwrap().contains(folder.path().to_str().unwrap()));
        assert!(hub.requests().is_empty());
        assert!(tables_folder.join("test-00000-of-00001.parquet").exists());

        // Another text is ignored with a message, and left as it is.
        fs::remove_dir_all(folder.path().join("small")).unwrap();
        let other = table(b" a \n");
        let valid = tables_folder.join("validation-00000-of-00001.parquet");
        fs::write(&valid, &other).unwrap();
        let mut messages = Messages::default();
        let fetched = fetch(folder.path(), &hub, None, &[]).run(&mut messages).unwrap();
        assert_texts(&fetched.path);
        assert!(messages.0.contains("ignoring the Parquet files in"), "{}", messages.0);
        assert_eq!((hub.requests().len(), fs::read(&valid).unwrap()), (4, other));
    }
}

#[test]
fn a_given_url_is_that_of_the_archive() {
    let hub = Server::start(|_, request| serve(request));
    let archive = zip_server();
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &hub, None, &[]);
    let fetched = fetch.clone().url(&archive.url("/x")).unwrap().run(&mut Silent).unwrap();
    assert_eq!(fetched.from, Some(archive.url("/x")));
    assert!(hub.requests().is_empty());
    let error = fetch.url(&hub.url("/a/train-00000-of-00002.parquet?download=true")).unwrap_err();
    assert!(
        matches!(error, Error::Config { .. }) && error.to_string().contains("is a Parquet file")
    );
}
