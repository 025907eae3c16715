//! Types that hide values of other types and can give them back, and items that read files.
//!
//! A `Box<dyn Any>` of the notebook's may hold a value of any of its types, under the definition that
//! the type had when it was made. The same can be had from `dyn Error`, from any trait that has one of
//! the two for a supertrait, and from types with such a box inside.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::{self, AstNode, HasTypeBounds};
use ra_ap_syntax::{SyntaxKind, SyntaxNode};

use crate::notebook::items::{self, ANYTHING, FILES};

/// In [`crate::notebook::items::Item::mentions`], before a name: what is of this name hides values, unless the
/// notebook defines it, whose definition shows then what it holds.
pub const HIDES: &str = "dyn ";
/// Before a macro's name: it may read files, unless the notebook defines it.
pub const EXPANDS: &str = "macro ";
/// Crates whose own types and traits hide nothing; no cell can have others of these names.
const TRUSTED: [&str; 3] = ["qrnn", "qrnn_preload", "tch"];
const STANDARD: [&str; 3] = ["alloc", "core", "std"];

/// Traits of the standard library's that give no value back by its type.
const HARMLESS: [&str; 42] = [
    "Add",
    "AsMut",
    "AsRef",
    "AsyncFn",
    "AsyncFnMut",
    "AsyncFnOnce",
    "Binary",
    "Borrow",
    "BorrowMut",
    "BufRead",
    "Debug",
    "Deref",
    "DerefMut",
    "Display",
    "DoubleEndedIterator",
    "Drop",
    "ExactSizeIterator",
    "Fn",
    "FnMut",
    "FnOnce",
    "FusedIterator",
    "Future",
    "Hasher",
    "Index",
    "IndexMut",
    "Into",
    "Iterator",
    "LowerExp",
    "LowerHex",
    "PartialEq",
    "PartialOrd",
    "Read",
    "RefUnwindSafe",
    "Seek",
    "Send",
    "Sync",
    "ToString",
    "Unpin",
    "UnwindSafe",
    "UpperHex",
    "Write",
    "Wake",
];
/// Modules of the standard library that have them.
const MODULES: [&str; 15] = [
    "borrow", "cmp", "convert", "fmt", "future", "hash", "io", "iter", "marker", "ops", "panic",
    "string", "task", "thread", "error",
];
/// Types that hold a box of anything, whichever crate they are of.
const HOLDERS: [&str; 8] = [
    "Any",
    "AnyMap",
    "Error",
    "Extensions",
    "JoinError",
    "JoinHandle",
    "Report",
    "ScopedJoinHandle",
];
/// Macros that read a file or a variable of the environment.
const READERS: [&str; 5] = ["env", "include", "include_bytes", "include_str", "option_env"];
/// Macros of the standard library that read nothing.
const PLAIN: [&str; 20] = [
    "addr_of",
    "assert",
    "assert_eq",
    "cfg",
    "column",
    "concat",
    "debug_assert",
    "file",
    "format",
    "format_args",
    "line",
    "matches",
    "module_path",
    "panic",
    "println",
    "stringify",
    "thread_local",
    "todo",
    "unreachable",
    "vec",
];
/// Attributes that are no macros.
const BUILT_IN: [&str; 14] = [
    "cfg",
    "cfg_attr",
    "clippy",
    "export_name",
    "global_allocator",
    "macro_export",
    "macro_use",
    "no_mangle",
    "non_exhaustive",
    "path",
    "repr",
    "rustfmt",
    "target_feature",
    "unsafe",
];

/// What a node that is part of a definition adds to its mentions.
pub fn marks(node: &SyntaxNode) -> Vec<String> {
    if let Some(object) = ast::DynTraitType::cast(node.clone()) {
        return object.type_bound_list().map_or_else(Vec::new, |list| of_bounds(&list));
    }
    if let Some(path) = ast::Path::cast(node.clone()) {
        return of_type(&path).into_iter().collect();
    }
    if let Some(module) = ast::Module::cast(node.clone()) {
        return module.item_list().is_none().then(|| FILES.to_owned()).into_iter().collect();
    }
    let name = if let Some(call) = ast::MacroCall::cast(node.clone()) {
        call.path()
            .map(|path| segments(&path))
            .filter(|names| !names.iter().any(|name| is_plain(name)))
    } else {
        let attribute = ast::Attr::cast(node.clone()).and_then(|attribute| attribute.path());
        let names = attribute.map(|path| segments(&path));
        names.filter(|names| !names.first().is_some_and(|n| BUILT_IN.contains(&n.as_str())))
    };
    let mark = name.and_then(|names| {
        let reads = names.last().is_some_and(|name| is_reader(name));
        if reads { Some(FILES.to_owned()) } else { Some(format!("{EXPANDS}{}", names.first()?)) }
    });
    mark.into_iter().collect()
}

fn is_plain(name: &str) -> bool {
    PLAIN.contains(&name)
}

/// Whether a macro of this name reads what is outside of the notebook.
pub fn is_reader(name: &str) -> bool {
    READERS.contains(&name)
}

/// The names that the traits among a definition lead to by their supertraits, for objects of them.
pub fn supertraits(node: &SyntaxNode) -> BTreeSet<String> {
    let traits = node.descendants().filter_map(ast::Trait::cast);
    let mut found: BTreeSet<String> = traits
        .flat_map(|item| {
            // `where Self: Any` is a bound as well.
            let clauses = item.syntax().children().filter_map(ast::WhereClause::cast);
            let clauses = clauses.flat_map(|clause| clause.predicates().collect::<Vec<_>>());
            let lists = clauses.filter_map(|predicate| predicate.type_bound_list());
            item.type_bound_list().into_iter().chain(lists).collect::<Vec<_>>()
        })
        .flat_map(|list| of_bounds(&list))
        .collect();
    retain_foreign(node, &mut found);
    found
}

/// Takes out what the definition itself defines, as a module does: it is part of what is looked at.
pub fn retain_foreign(node: &SyntaxNode, marks: &mut BTreeSet<String>) {
    if marks.iter().any(|mark| mark.starts_with(HIDES)) {
        for name in items::parameters(node) {
            marks.remove(&format!("{HIDES}{name}"));
        }
    }
}

fn of_bounds(list: &ast::TypeBoundList) -> Vec<String> {
    let types = list.bounds().filter_map(|bound| bound.ty());
    let paths = types.filter_map(|ty| match ty {
        ast::Type::PathType(ty) => ty.path(),
        ast::Type::ForType(ty) => match ty.ty()? {
            ast::Type::PathType(ty) => ty.path(),
            _ => None,
        },
        _ => None,
    });
    paths.filter_map(|path| of_trait(&segments(&path))).collect()
}

fn of_trait(names: &[String]) -> Option<String> {
    let (last, modules) = names.split_last()?;
    let standard = |name: &String| [&STANDARD[..], &MODULES[..]].concat().contains(&name.as_str());
    let harmless = HARMLESS.contains(&last.as_str()) && modules.iter().all(standard);
    if harmless { None } else { hidden(names) }
}

/// Of a type, which no bound is.
fn of_type(path: &ast::Path) -> Option<String> {
    let parent = path.syntax().parent()?;
    let is_bound = parent.kind() == SyntaxKind::PATH_TYPE
        && parent.parent().is_some_and(|above| above.kind() == SyntaxKind::TYPE_BOUND);
    let is_whole = parent.kind() != SyntaxKind::PATH;
    let names = segments(path);
    (is_whole && !is_bound && holds(&names)).then(|| hidden(&names))?
}

/// Of a name that is imported.
pub fn of_import(path: &[String]) -> Option<String> {
    // The two traits hide values behind `dyn` only.
    let is_trait = path.ends_with(&["any".into(), "Any".into()])
        || path.ends_with(&["error".into(), "Error".into()]);
    (!is_trait && path.len() > 1 && holds(path)).then(|| hidden(path))?
}

fn holds(names: &[String]) -> bool {
    let Some((last, before)) = names.split_last() else { return false };
    let before = before.last().map(String::as_str);
    // `io::Result` and the like are a `Result` with such an error.
    let result = last == "Result" && !matches!(before, None | Some("result"));
    before != Some("fmt") && (result || HOLDERS.contains(&last.as_str()))
}

fn hidden(names: &[String]) -> Option<String> {
    let own = |name: &&String| !matches!(name.as_str(), "crate" | "self" | "super" | "Self");
    let first = names.iter().find(own)?;
    if names.len() > 1 && STANDARD.contains(&first.as_str()) {
        return Some(ANYTHING.to_owned());
    }
    (!is_trusted(first)).then(|| format!("{HIDES}{first}"))
}

/// Whether nothing of this crate hides values.
pub fn is_trusted(krate: &str) -> bool {
    TRUSTED.contains(&krate)
}

fn segments(path: &ast::Path) -> Vec<String> {
    let names = path.segments().filter_map(|segment| segment.name_ref());
    names.map(|name| name.text().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;

    fn marked(code: &str) -> Vec<String> {
        let items = items::of(&statements::of(code));
        let mentions = items.into_iter().flat_map(|item| item.mentions);
        mentions.filter(|name| name.contains(' ')).collect()
    }

    #[test]
    fn what_hides_values_is_known() {
        for code in [
            "struct S(Box<dyn std::any::Any>);",
            "struct S(std::io::Error);",
            "struct S(Option<std::thread::JoinHandle<()>>);",
            "struct S(std::io::Result<u8>);",
            "use std::io::Error as Trouble;",
        ] {
            assert_eq!(marked(code), [ANYTHING], "{code}");
        }
        for (code, name) in [
            ("struct S(Box<dyn Shape>);", "dyn Shape"),
            ("struct S(Box<dyn for<'a> Shape<'a> + Send>);", "dyn Shape"),
            ("struct S(Box<dyn other::Shape>);", "dyn other"),
            ("struct S(Error);", "dyn Error"),
            ("struct S(anyhow::Error);", "dyn anyhow"),
            ("use anyhow::Result;", "dyn anyhow"),
        ] {
            assert_eq!(marked(code), [name], "{code}");
        }
        for code in [
            "struct S(Box<dyn Fn(u8) -> u8 + Send + 'static>, Box<dyn std::fmt::Display>);",
            "struct S(Box<dyn io::Read>, Result<u8, fmt::Error>, std::fmt::Result);",
            "struct S<E: std::error::Error>(E, Box<dyn tch::nn::Module>, qrnn::Error);",
            "enum Kind { Error, Any }",
            "use std::error::Error; use std::any::Any; use std::fmt::Result;",
            "mod m { pub trait Shape {} pub struct S(Box<dyn Shape>); }",
        ] {
            assert!(marked(code).is_empty(), "{code}: {:?}", marked(code));
        }
    }

    #[test]
    fn supertraits_are_for_objects() {
        let of = |code: &str| {
            let item = items::of(&statements::of(code)).pop().unwrap();
            item.supertraits.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of("trait Shape: std::any::Any + Send {}"), [ANYTHING]);
        assert_eq!(of("trait Shape: 'static where Self: Base {}"), ["dyn Base"]);
        assert!(of("trait Shape: std::fmt::Debug + Send {}").is_empty());
        assert_eq!(of("mod m { trait Base: Any {} trait Shape: Base {} }"), ["dyn Any"]);
        assert!(marked("trait Shape: std::any::Any {}").is_empty());
    }

    #[test]
    fn what_reads_files_is_known() {
        for code in [
            "mod m;",
            "mod m { #[path = \"x.rs\"] mod inner; }",
            "struct S([u8; include!(\"n\")]);",
            "const N: usize = include_str!(\"n\").len();",
            "macro_rules! n { () => { std::env!(\"N\") } }",
        ] {
            assert!(marked(code).contains(&FILES.to_owned()), "{code}");
        }
        assert_eq!(marked("struct S(own!(u8));"), ["macro own"]);
        assert_eq!(marked("#[wrapped(2)] struct S;"), ["macro wrapped"]);
        for code in ["mod m {}", "#[repr(C)] struct S(u8);", "fn f() { include!(\"x\") }"] {
            assert!(marked(code).is_empty(), "{code}: {:?}", marked(code));
        }
    }
}
