//! Adapts the code that evcxr generates around a cell before rustc compiles it.
//!
//! evcxr's version is pinned, so its code is known exactly. No change adds or removes a line,
//! because evcxr finds the cell's places in rustc's messages by line.

/// In the line that stores a variable at the cell's end.
pub const STORE_LINE: &str = "evcxr_variable_store.put_variable::<";

/// The start of the kernel's code that drops a variable without naming its type.
pub const DISCARD: &str = "evcxr_variable_store.discard(stringify!(";

/// In evcxr's own first cell, `42`, which tests whether cells compile. It does not have to display
/// the number, which would take evcxr a second compilation.
const FIRST_CELL: &str = "pub extern \"C\" fn run_user_code_0(";

const SHARED_STORE: &str = "use ::qrnn_preload::store as evcxr_internal_runtime;";

/// Adapts a cell. The variables in `untouched` stay in the store while it runs, because it binds
/// them again without reading them.
pub fn adapt(code: &str, untouched: &[&str]) -> String {
    let mut code = code.to_owned();
    report_errors(&mut code);
    report_caught_panics(&mut code);
    share_store(&mut code);
    let is_first = code.split('\n').any(|line| line == FIRST_CELL);
    let lines = code.split('\n').map(|line| match line {
        // `rustc::warnings` chooses the warnings.
        "#![allow(unused_imports, unused_mut, dead_code)]" => String::new(),
        ").evcxr_display();" if is_first => ");".into(),
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

/// Reduces a cell that drops variables to just that: no type is named and no item of the notebook is
/// compiled. The other variables stay in the store.
///
/// The line that would store a dropped variable only names it. It does not compile, so evcxr forgets
/// the variable and compiles again without it.
pub fn adapt_discard(code: &str, names: &[&str]) -> String {
    const FUNCTION: &str = "#[unsafe(no_mangle)]";
    const STORE: &str = "let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};";
    let mut code = code.to_owned();
    share_store(&mut code);
    let lines: Vec<&str> = code.split('\n').collect();
    let start = lines.iter().rposition(|line| *line == FUNCTION).unwrap_or(0);
    let store = lines.iter().rposition(|line| *line == STORE).unwrap_or(start);
    let end = lines.iter().rposition(|line| *line == "evcxr_variable_store").unwrap_or(lines.len());
    let stored = |line: &str| {
        let (_, named) = line.strip_suffix(");")?.rsplit_once("(stringify!(")?;
        let (_, name) = named.split_once("), ")?;
        names.contains(&name).then(|| format!("{name};"))
    };
    let adapted = lines.iter().enumerate().map(|(at, &line)| {
        let is_kept = if at < start {
            line.starts_with(SHARED_STORE)
        } else {
            at <= store || at >= end || line.starts_with(DISCARD)
        };
        let stored = || stored(line).filter(|_| at >= start).unwrap_or_default();
        if is_kept { line.to_owned() } else { stored() }
    });
    adapted.collect::<Vec<_>>().join("\n")
}

/// Reports the error that `?` returns, and its place.
fn report_errors(code: &mut String) {
    const ERROR: &str = "struct EvcxrUserCodeError {}";
    const SIGNATURE: &str = "fn from(error: T) -> Self {";
    const PRINT: &str = "eprintln!(\"{}\", error);";
    let Some(start) = code.find(ERROR) else { return };
    let error = code.split_off(start);
    *code += &error.replacen(SIGNATURE, &format!("#[track_caller] {SIGNATURE}"), 1).replacen(
        PRINT,
        "::qrnn_preload::failed(&error);",
        1,
    );
}

/// Reports panics that are resumed, by rayon for example. They do not call the panic hook.
fn report_caught_panics(code: &mut String) {
    const OPENING: &str = "})) { \n  Ok(_) => {}\n  Err(";
    const CAUGHT: &str = "_) => {\n";
    let Some(at) = code.rfind(&format!("{OPENING}{CAUGHT}")).map(|at| at + OPENING.len()) else {
        return;
    };
    let reporting = "payload) => { ::qrnn_preload::caught(&*payload);\n";
    code.replace_range(at..at + CAUGHT.len(), reporting);
}

/// Replaces evcxr's variable store, which is part of every cell, by the preloaded one. Compiling it
/// would be most of a cell's compilation.
fn share_store(code: &mut String) {
    const OPENING: &str = "\nmod evcxr_internal_runtime {\n";
    const CLOSING: &str = "\n}\n#[unsafe(no_mangle)]\n";
    let Some(start) = code.find(OPENING).map(|at| at + 1) else { return };
    let Some(end) = code[start..].find(CLOSING).map(|at| start + at + 2) else { return };
    let blank = "\n".repeat(code[start..end].matches('\n').count());
    code.replace_range(start..end, &format!("{SHARED_STORE}{blank}"));
}

/// Whether a line takes an untouched variable out of the store, or checks its type.
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

/// Whether a line opens the call that displays the cell's last expression.
pub fn opens_display(line: &str) -> bool {
    line == "(" || line.starts_with("::qrnn_preload::show_ending(") && line.ends_with("\",&(")
}

/// Whether a line closes that call.
pub fn closes_display(line: &str) -> bool {
    line.starts_with(").qrnn_ending()") || line == ").evcxr_display();" || line == ")));"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_replaced_line_for_line() {
        let code = "a\nmod evcxr_internal_runtime {\nfn x() {\n}\n\n}\n#[unsafe(no_mangle)]\nb\n";
        let shared = adapt(code, &[]);
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
        let discarding = adapt_discard(code, &["p"]);
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
    fn the_first_cell_is_not_displayed() {
        let cell = |function: &str| {
            let code = format!("pub extern \"C\" {function}(\n(\n42\n).evcxr_display();\n");
            adapt(&code, &[]).contains("evcxr_display")
        };
        assert!(!cell("fn run_user_code_0"));
        for later in ["fn run_user_code_1", "fn run_user_code_10", "fn f() // fn run_user_code_0"] {
            assert!(cell(later), "{later}");
        }
    }

    #[test]
    fn every_line_stays_in_place() {
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
        let adapted = adapt(code, &["anew"]);
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
