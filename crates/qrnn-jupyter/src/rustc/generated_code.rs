//! The code that evcxr generates around a cell, changed line for line before rustc sees it.
//!
//! evcxr's version is pinned, so its code is known to the letter. No change adds or removes a line:
//! evcxr finds its way back from rustc's messages by line.

/// What the line of a variable that is stored at the cell's end contains.
pub const STORING: &str = "evcxr_variable_store.put_variable::<";

/// Evcxr's code for a cell, changed. The variables named in `untouched` stay in the store while the
/// cell runs: it binds them anew without reading them.
pub fn adapted(code: &str, untouched: &[&str]) -> String {
    let mut code = code.to_owned();
    report_failures(&mut code);
    report_caught_panics(&mut code);
    share_store(&mut code);
    let trial = code.split('\n').any(|line| line == TRIAL);
    let lines = code.split('\n').map(|line| match line {
        // The kernel chooses which warnings are the user's (`warnings.rs`).
        "#![allow(unused_imports, unused_mut, dead_code)]" => String::new(),
        ").evcxr_display();" if trial => ");".into(),
        ").evcxr_display();" => ").qrnn_ending().evcxr_display();".into(),
        line if is_untouched(line, untouched) => String::new(),
        line => line.replacen(
            "evcxr_send_text_plain(&format!(\"",
            "::qrnn_preload::show_ending(&format!(\"",
            usize::from(line.starts_with("evcxr_send_text_plain(")),
        ),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// In evcxr's own cell, `42`, by which it sees at its start whether cells compile. As it knows no way to
/// display a number before it has tried, that would be compiled twice.
const TRIAL: &str = "pub extern \"C\" fn run_user_code_0(";

/// What the kernel's own code for dropping a variable unread begins with.
pub const DISCARDING: &str = "evcxr_variable_store.discard(stringify!(";

/// Evcxr's code for a cell that drops variables unread, without all else: no type is named, and no
/// item of the notebook has to compile. The other variables stay in the store.
///
/// evcxr forgets a variable that cannot be found where it should be stored, and compiles again.
pub fn discarding(code: &str, names: &[&str]) -> String {
    const FUNCTION: &str = "#[unsafe(no_mangle)]";
    const STORE: &str = "let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};";
    let mut code = code.to_owned();
    share_store(&mut code);
    let lines: Vec<&str> = code.split('\n').collect();
    let start = lines.iter().rposition(|line| *line == FUNCTION).unwrap_or(0);
    let taken = lines.iter().rposition(|line| *line == STORE).unwrap_or(start);
    let end = lines.iter().rposition(|line| *line == "evcxr_variable_store").unwrap_or(lines.len());
    let stored = |line: &str| {
        let (_, named) = line.strip_suffix(");")?.rsplit_once("(stringify!(")?;
        let (_, name) = named.split_once("), ")?;
        names.contains(&name).then(|| format!("{name};"))
    };
    let kept = lines.iter().enumerate().map(|(at, &line)| match line {
        _ if at < start => {
            if line.starts_with(SHARED) {
                line.to_owned()
            } else {
                String::new()
            }
        }
        _ if at <= taken || at >= end || line.starts_with(DISCARDING) => line.to_owned(),
        line => stored(line).unwrap_or_default(),
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Says where `?` failed, and with what.
fn report_failures(code: &mut String) {
    const ERROR: &str = "struct EvcxrUserCodeError {}";
    const SIGNATURE: &str = "fn from(error: T) -> Self {";
    const PRINTED: &str = "eprintln!(\"{}\", error);";
    let Some(start) = code.find(ERROR) else { return };
    let error = code.split_off(start);
    *code += &error.replacen(SIGNATURE, &format!("#[track_caller] {SIGNATURE}"), 1).replacen(
        PRINTED,
        "::qrnn_preload::failed(&error);",
        1,
    );
}

/// A panic that was handed on (by rayon, by `resume_unwind`) passes no panic hook on its way.
fn report_caught_panics(code: &mut String) {
    const OPENING: &str = "})) { \n  Ok(_) => {}\n  Err(";
    const CAUGHT: &str = "_) => {\n";
    let Some(at) = code.rfind(&format!("{OPENING}{CAUGHT}")).map(|at| at + OPENING.len()) else {
        return;
    };
    let reporting = "payload) => { ::qrnn_preload::caught(&*payload);\n";
    code.replace_range(at..at + CAUGHT.len(), reporting);
}

const SHARED: &str = "use ::qrnn_preload::store as evcxr_internal_runtime;";

/// The store of variables, which evcxr puts into each cell's code, taken from the preloaded library
/// instead: most of a cell's compilation would be that.
fn share_store(code: &mut String) {
    const OPENING: &str = "\nmod evcxr_internal_runtime {\n";
    const CLOSING: &str = "\n}\n#[unsafe(no_mangle)]\n";
    let Some(start) = code.find(OPENING).map(|at| at + 1) else { return };
    let Some(end) = code[start..].find(CLOSING).map(|at| start + at + 2) else { return };
    let blank = "\n".repeat(code[start..end].matches('\n').count());
    let shared = format!("{SHARED}{blank}");
    code.replace_range(start..end, &shared);
}

/// Whether a line takes one of the variables out of the store, or looks at its type there.
fn is_untouched(line: &str, untouched: &[&str]) -> bool {
    let named = if let Some(rest) = line.strip_prefix("let ") {
        let rest = rest.strip_prefix("mut ").unwrap_or(rest);
        rest.split_once(" = evcxr_variable_store.take_variable::<").map(|(name, _)| name)
    } else {
        let checks = line.starts_with("vars_ok &= evcxr_variable_store.check_variable::<");
        let end = line.strip_suffix("));").filter(|_| checks);
        end.and_then(|line| line.rsplit_once("(stringify!(")).map(|(_, name)| name)
    };
    named.is_some_and(|name| untouched.contains(&name))
}

/// Whether a line opens the brackets around the cell's last expression.
pub fn opens_ending(line: &str) -> bool {
    line == "(" || line.starts_with("::qrnn_preload::show_ending(") && line.ends_with("\",&(")
}

/// Whether a line closes them.
pub fn closes_ending(line: &str) -> bool {
    line.starts_with(").qrnn_ending()") || line == ").evcxr_display();" || line == ")));"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_shared_line_for_line() {
        let code = "a\nmod evcxr_internal_runtime {\nfn x() {\n}\n\n}\n#[unsafe(no_mangle)]\nb\n";
        let shared = adapted(code, &[]);
        assert_eq!(shared.lines().count(), code.lines().count());
        assert!(shared.ends_with("\n#[unsafe(no_mangle)]\nb\n"), "{shared}");
        assert!(!shared.contains("fn x"));
    }

    #[test]
    fn a_discard_names_no_type_and_no_item() {
        let code = "struct Own(gone::Type);\nmod evcxr_internal_runtime {\nfn x() {\n}\n\n}\n\
            #[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_1(\n\
            let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};\n\
            {let mut vars_ok = true;\n\
            let p = evcxr_variable_store.take_variable::<gone::Type>(stringify!(p));\n\
            evcxr_variable_store.discard(stringify!(p));\n\
            evcxr_variable_store.put_variable::<gone::Type>(stringify!(p), p);\n\
            evcxr_variable_store.put_variable::<Own>(stringify!(q), q);\n\
            evcxr_variable_store\n}\n";
        let discarding = discarding(code, &["p"]);
        assert_eq!(discarding.lines().count(), code.lines().count());
        let kept: Vec<&str> = discarding.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            kept,
            [
                "use ::qrnn_preload::store as evcxr_internal_runtime;",
                "#[unsafe(no_mangle)]",
                "pub extern \"C\" fn run_user_code_1(",
                "let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};",
                "evcxr_variable_store.discard(stringify!(p));",
                "p;",
                "evcxr_variable_store",
                "}",
            ]
        );
    }

    #[test]
    fn evcxrs_own_cell_is_not_displayed() {
        let cell = |function: &str| {
            let code = format!("pub extern \"C\" {function}(\n(\n42\n).evcxr_display();\n");
            adapted(&code, &[]).contains("evcxr_display")
        };
        assert!(!cell("fn run_user_code_0"));
        for later in ["fn run_user_code_1", "fn run_user_code_10", "fn f() // fn run_user_code_0"] {
            assert!(cell(later), "{later}");
        }
    }

    #[test]
    fn every_line_stays_where_it_was() {
        let code = "#![allow(unused_imports, unused_mut, dead_code)]\n\
            fn user() { eprintln!(\"{}\", error); }\n\
            struct EvcxrUserCodeError {}\n\
            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {\n\
            fn from(error: T) -> Self {\n\
            eprintln!(\"{}\", error);\n\
            println!(\"{}\", evcxr_internal_runtime::USER_ERROR_OCCURRED);\n\
            EvcxrUserCodeError {}\n}\n}\n\
            vars_ok &= evcxr_variable_store.check_variable::<i32>(stringify!(kept));\n\
            vars_ok &= evcxr_variable_store.check_variable::<i32>(stringify!(anew));\n\
            let mut kept = evcxr_variable_store.take_variable::<i32>(stringify!(kept));\n\
            let anew = evcxr_variable_store.take_variable::<i32>(stringify!(anew));\n\
            (\nvalue\n).evcxr_display();\n\
            evcxr_send_text_plain(&format!(\"{:?}\",&(\nvalue\n)));\n\
            match r {\n  Ok(_) => {}\n  Err(_) => {\n  }\n}\n\
            })) { \n  Ok(_) => {}\n  Err(_) => {\n    println!(\"EVCXR_PANIC_NOTIFICATION\");\n}}\n";
        let adapted = adapted(code, &["anew"]);
        assert_eq!(adapted.lines().count(), code.lines().count());
        assert!(adapted.starts_with("\nfn user() { eprintln!(\"{}\", error); }\n"), "{adapted}");
        for part in [
            "\n#[track_caller] fn from(error: T) -> Self {\n::qrnn_preload::failed(&error);\n",
            "check_variable::<i32>(stringify!(kept))",
            "let mut kept = evcxr_variable_store.take_variable",
            "(\nvalue\n).qrnn_ending().evcxr_display();\n",
            "\n::qrnn_preload::show_ending(&format!(\"{:?}\",&(\nvalue\n)));\n",
            "match r {\n  Ok(_) => {}\n  Err(_) => {\n  }",
            "  Err(payload) => { ::qrnn_preload::caught(&*payload);\n    println!",
        ] {
            assert!(adapted.contains(part), "{part} is not in\n{adapted}");
        }
        assert!(!adapted.contains("anew"));
    }
}
