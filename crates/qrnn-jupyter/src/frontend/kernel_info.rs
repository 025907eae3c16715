//! The content of a kernel_info_reply.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::toolchain::rustc;

pub fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "qrnn-jupyter",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": rust_version(),
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
            "nbconvert_exporter": "script",
        },
        "banner": "Rust with qrnn and tch preloaded: use qrnn::prelude::*;",
        "help_links": [
            { "text": "The Rust Standard Library", "url": "https://doc.rust-lang.org/std/" },
            { "text": "tch", "url": "https://docs.rs/tch/0.24.0/tch/" },
        ],
        "debugger": false,
        "supported_features": [],
    })
}

/// The version of the rustc that compiles cells, `1.95.0`.
fn rust_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let text = rustc::ask(&["--version"]);
        let word = text.ok().and_then(|text| text.split(' ').nth(1).map(str::to_owned));
        word.unwrap_or_else(|| "unknown".into())
    })
}
