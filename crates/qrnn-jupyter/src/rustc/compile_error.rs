//! Cells that do not compile.

use evcxr::CompilationError;

use crate::protocol::cell_error::CellError;
use crate::rustc::compiled_cell::{CompiledCell, cell_name};
use crate::rustc::diagnostic::Diagnostic;
use crate::rustc::type_probes;

pub fn from_evcxr(
    errors: &[CompilationError],
    compiled: &CompiledCell,
    explain: impl FnMut(&mut Diagnostic),
) -> CellError {
    let mut diagnostics: Vec<Diagnostic> = vec![];
    for error in errors.iter().filter(|error| error.level() != "warning") {
        let diagnostic = Diagnostic::from_evcxr(error, compiled);
        // evcxr compiles some cells twice.
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    diagnostics.iter_mut().for_each(explain);
    drawn("CompileError", &diagnostics, &compiled.cell, compiled.count)
}

/// An error with the first diagnostic as its value and all of them in its traceback.
pub fn drawn(name: &str, diagnostics: &[Diagnostic], cell: &str, count: u64) -> CellError {
    let value = match diagnostics.first() {
        Some(Diagnostic { title, code: Some(code), .. }) => format!("{title} [{code}]"),
        Some(diagnostic) => diagnostic.title.clone(),
        None => "the cell does not compile".into(),
    };
    let cell_name = cell_name(count);
    let traceback =
        diagnostics.iter().map(|diagnostic| diagnostic.render(cell, &cell_name)).collect();
    CellError { name: name.into(), value, traceback }
}

/// A variable has a type without a name, a closure for example.
pub fn nameless_type(name: &str, ty: &str, at: Option<usize>, cell: &str, count: u64) -> CellError {
    let title = format!("the variable `{name}` cannot be kept for later cells");
    let mut diagnostic = Diagnostic::at(&title, at, cell, "its type has no name");
    let ty = type_probes::without_places(ty);
    diagnostic.notes = vec![
        ("note".into(), format!("it has type `{ty}`")),
        (
            "help".into(),
            "collect or box it (`Box<dyn Fn(i32) -> i32>`), or put the code in braces".into(),
        ),
    ];
    drawn("CompileError", &[diagnostic], cell, count)
}
