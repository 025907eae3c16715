//! `qrnn-bench corpus`.

use crate::program::bench;

#[test]
fn corpus_measures_reading_and_python() {
    let scratch = tempfile::tempdir().unwrap();
    let args = ["corpus", "--bytes", "3000000", "--runs", "2", "--json", "--scratch"];
    let bench = bench(&[&args[..], &[scratch.path().to_str().unwrap()]].concat()).json();
    let measured = |what: &str| {
        let all = bench["measurements"].as_array().unwrap();
        all.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("{what}: {bench}"))
    };
    let reading = measured("text to ids");
    // Every type occurs in a text of any length.
    assert_eq!(reading["types"], 267_735);
    let (bytes, seconds) = (reading["bytes"].as_f64().unwrap(), reading["seconds"].as_f64());
    assert!(bytes >= 3e6 && seconds.unwrap() > 0.0);
    assert!(measured("two passes of Python")["ratio"].as_f64().unwrap() > 0.0);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the text was not removed");
}
