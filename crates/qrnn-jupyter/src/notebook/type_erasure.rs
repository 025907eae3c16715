//! Recognizes types that can hold a value of any type, and items that read files.
//!
//! A `Box<dyn Any>` may hold a value of any type of the notebook, made with an earlier definition,
//! and `downcast` gives it back. So can `dyn Error`, objects of traits with one of the two as a
//! supertrait, and types that contain such a box.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::{self, AstNode, HasTypeBounds};
use ra_ap_syntax::{SyntaxKind, SyntaxNode};

use crate::notebook::marks::{ANY_TYPE, ERASES, EXPANDS, FILES};
use crate::notebook::names::{first_name, inner_names, segments};

/// Crates without such types. No other crate can have these names in a cell.
const TRUSTED_CRATES: &str = "qrnn qrnn_preload tch";
const STANDARD_CRATES: &str = "alloc core std";

/// Traits of the standard library whose objects cannot be downcast.
const SAFE_TRAITS: &str = "Add AsMut AsRef AsyncFn AsyncFnMut AsyncFnOnce Binary Borrow BorrowMut \
    BufRead Debug Deref DerefMut Display DoubleEndedIterator Drop ExactSizeIterator Fn FnMut FnOnce \
    FusedIterator Future Hasher Index IndexMut Into Iterator LowerExp LowerHex PartialEq PartialOrd \
    Read RefUnwindSafe Seek Send Sync ToString Unpin UnwindSafe UpperHex Write Wake";
/// The modules of these traits.
const SAFE_MODULES: &str =
    "borrow cmp convert fmt future hash io iter marker ops panic string task thread error";

/// Types with a box of anything inside, in any crate.
const ERASED_TYPES: &str =
    "Any AnyMap Error Extensions JoinError JoinHandle Report ScopedJoinHandle";

/// Macros that read a file or an environment variable.
const READING_MACROS: &str = "env include include_bytes include_str option_env";
/// Macros of the standard library that do not.
const PLAIN_MACROS: &str = "addr_of assert assert_eq cfg column concat debug_assert file format \
    format_args line matches module_path panic println stringify thread_local todo unreachable vec";
/// Attributes that are not macros.
const BUILT_IN_ATTRIBUTES: &str = "cfg cfg_attr clippy export_name global_allocator macro_export \
    macro_use no_mangle non_exhaustive path repr rustfmt target_feature unsafe";

fn has(words: &str, name: &str) -> bool {
    words.split(' ').any(|word| word == name)
}

/// Whether a macro of this name reads a file or an environment variable.
pub fn reads_files(name: &str) -> bool {
    has(READING_MACROS, name)
}

/// Whether no type of this crate is erased.
pub fn is_trusted(krate: &str) -> bool {
    has(TRUSTED_CRATES, krate)
}

/// The marks for one node of a definition.
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
    let names = if let Some(call) = ast::MacroCall::cast(node.clone()) {
        let names = call.path().map(|path| segments(&path));
        names.filter(|names| !names.iter().any(|name| has(PLAIN_MACROS, name)))
    } else {
        let attribute = ast::Attr::cast(node.clone()).and_then(|attribute| attribute.path());
        let names = attribute.map(|path| segments(&path));
        names.filter(|names| !names.first().is_some_and(|name| has(BUILT_IN_ATTRIBUTES, name)))
    };
    let mark = names.and_then(|names| match names.last() {
        Some(name) if reads_files(name) => Some(FILES.to_owned()),
        _ => Some(format!("{EXPANDS}{}", names.first()?)),
    });
    mark.into_iter().collect()
}

/// The marks for objects of the traits in a definition, because of their supertraits.
pub fn supertraits(node: &SyntaxNode) -> BTreeSet<String> {
    let traits = node.descendants().filter_map(ast::Trait::cast);
    let bounds = traits.flat_map(|item| {
        // `where Self: Any` is a bound too.
        let clauses = item.syntax().children().filter_map(ast::WhereClause::cast);
        let clauses = clauses.flat_map(|clause| clause.predicates().collect::<Vec<_>>());
        let lists = clauses.filter_map(|predicate| predicate.type_bound_list());
        item.type_bound_list().into_iter().chain(lists).collect::<Vec<_>>()
    });
    let mut found = bounds.flat_map(|list| of_bounds(&list)).collect();
    retain_foreign(node, &mut found);
    found
}

/// Removes marks for names that the definition itself defines, as a module does.
pub fn retain_foreign(node: &SyntaxNode, marks: &mut BTreeSet<String>) {
    if marks.iter().any(|mark| mark.starts_with(ERASES)) {
        for name in inner_names(node) {
            marks.remove(&format!("{ERASES}{name}"));
        }
    }
}

fn of_bounds(list: &ast::TypeBoundList) -> Vec<String> {
    let paths = list.bounds().filter_map(|bound| match bound.ty()? {
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
    let standard = |name: &String| has(STANDARD_CRATES, name) || has(SAFE_MODULES, name);
    let safe = has(SAFE_TRAITS, last) && modules.iter().all(standard);
    if safe { None } else { mark(names) }
}

fn of_type(path: &ast::Path) -> Option<String> {
    let parent = path.syntax().parent()?;
    let is_bound = parent.kind() == SyntaxKind::PATH_TYPE
        && parent.parent().is_some_and(|above| above.kind() == SyntaxKind::TYPE_BOUND);
    let is_whole = parent.kind() != SyntaxKind::PATH;
    let names = segments(path);
    (is_whole && !is_bound && is_erased(&names)).then(|| mark(&names))?
}

/// The mark for an imported name.
pub fn of_import(path: &[String]) -> Option<String> {
    // `Any` and `Error` as traits hold nothing; `dyn` types do.
    let is_trait = path.ends_with(&["any".into(), "Any".into()])
        || path.ends_with(&["error".into(), "Error".into()]);
    (!is_trait && path.len() > 1 && is_erased(path)).then(|| mark(path))?
}

fn is_erased(names: &[String]) -> bool {
    let Some((last, before)) = names.split_last() else { return false };
    let before = before.last().map(String::as_str);
    // `io::Result` and the like contain an erased error.
    let result = last == "Result" && !matches!(before, None | Some("result"));
    before != Some("fmt") && (result || has(ERASED_TYPES, last))
}

fn mark(names: &[String]) -> Option<String> {
    let first = first_name(names)?;
    if names.len() > 1 && has(STANDARD_CRATES, first) {
        return Some(ANY_TYPE.to_owned());
    }
    (!is_trusted(first)).then(|| format!("{ERASES}{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::statements;
    use crate::notebook::items;

    fn marked(code: &str) -> Vec<String> {
        let items = items::of(&statements::of(code));
        let mentions = items.into_iter().flat_map(|item| item.mentions);
        mentions.filter(|name| name.contains(' ')).collect()
    }

    #[test]
    fn erased_types_are_recognized() {
        for code in [
            "struct S(Box<dyn std::any::Any>);",
            "struct S(std::io::Error);",
            "struct S(Option<std::thread::JoinHandle<()>>);",
            "struct S(std::io::Result<u8>);",
            "use std::io::Error as Trouble;",
        ] {
            assert_eq!(marked(code), [ANY_TYPE], "{code}");
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
        assert_eq!(of("trait Shape: std::any::Any + Send {}"), [ANY_TYPE]);
        assert_eq!(of("trait Shape: 'static where Self: Base {}"), ["dyn Base"]);
        assert!(of("trait Shape: std::fmt::Debug + Send {}").is_empty());
        assert_eq!(of("mod m { trait Base: Any {} trait Shape: Base {} }"), ["dyn Any"]);
        assert!(marked("trait Shape: std::any::Any {}").is_empty());
    }

    #[test]
    fn items_that_read_files_are_recognized() {
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
