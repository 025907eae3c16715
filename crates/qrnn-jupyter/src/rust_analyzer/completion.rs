//! Completions at the cursor.

use ra_ap_ide::{
    CompletionConfig, CompletionFieldsToResolve, CompletionItem, CompletionItemKind, FilePosition,
    SymbolKind, TextSize,
};
use ra_ap_ide_db::imports::insert_use::{ImportGranularity, InsertUseConfig};
use ra_ap_ide_db::ra_fixture::RaFixtureConfig;

use crate::rust_analyzer::database::Database;
use crate::rust_analyzer::notebook_text;
use crate::rust_analyzer::wire::{Completions, Item};

/// Names only: no snippets, no arguments, nothing that needs an import.
fn config() -> CompletionConfig<'static> {
    CompletionConfig {
        enable_postfix_completions: false,
        enable_imports_on_the_fly: false,
        enable_self_on_the_fly: false,
        enable_auto_iter: false,
        enable_auto_await: false,
        enable_private_editable: false,
        enable_term_search: false,
        term_search_fuel: 0,
        full_function_signatures: true,
        callable: None,
        add_colons_to_module: false,
        add_semicolon_to_unit: false,
        snippet_cap: None,
        insert_use: InsertUseConfig {
            granularity: ImportGranularity::Item,
            enforce_granularity: false,
            prefix_kind: ra_ap_hir::PrefixKind::Plain,
            group: false,
            skip_glob_imports: false,
        },
        prefer_no_std: false,
        prefer_prelude: true,
        prefer_absolute: false,
        snippets: vec![],
        limit: None,
        fields_to_resolve: CompletionFieldsToResolve::empty(),
        exclude_flyimport: vec![],
        exclude_traits: &[],
        ra_fixture: RaFixtureConfig::default(),
    }
}

/// A name in place of the one that is not typed yet.
const PLACEHOLDER: &str = "a";

/// The completions at a byte of the text.
pub fn complete(database: &mut Database, offset: usize) -> Completions {
    let found = complete_text(database, offset);
    let before = database.text().get(..offset).unwrap_or_default();
    if !found.items.is_empty() || !(before.ends_with('.') || before.ends_with("::")) {
        return found;
    }
    // A macro like `vec![v.]` takes an expression, and `v.` is none without a name.
    let text = database.text().to_owned();
    let mut named = text.clone();
    named.insert_str(offset, PLACEHOLDER);
    database.set_text(named);
    let mut found = complete_text(database, offset);
    database.set_text(text);
    found.end = found.end.saturating_sub(PLACEHOLDER.len()).max(found.start);
    found
}

fn complete_text(database: &Database, offset: usize) -> Completions {
    let nothing = Completions::none(offset);
    let Ok(place) = TextSize::try_from(offset) else { return nothing };
    let position = FilePosition { file_id: database.file(), offset: place };
    let Ok(Some(mut found)) = database.analysis().completions(&config(), position, None) else {
        return nothing;
    };
    found.sort_by(|one, other| {
        let key =
            |item: &CompletionItem| (std::cmp::Reverse(item.relevance.score()), item.deprecated);
        key(one).cmp(&key(other)).then_with(|| one.lookup.cmp(&other.lookup))
    });
    let Some(range) = found.first().map(|item| item.source_range) else { return nothing };
    let (start, end) = (usize::from(range.start()), usize::from(range.end()));
    let typed = database.text().get(start..offset).unwrap_or_default();
    let mut items: Vec<Item> = vec![];
    for item in found.iter().filter(|item| item.source_range == range) {
        let Some(text) = name(item) else { continue };
        let fits = text.starts_with(typed) && !notebook_text::is_generated(&text);
        if fits && !items.iter().any(|other| other.text == text) {
            let kind = kind(item.kind).to_owned();
            let signature = item.detail.as_deref().map(|detail| signature(item.kind, detail));
            items.push(Item { text, kind, signature: signature.unwrap_or_default() });
        }
    }
    Completions { start, end, items }
}

/// The name or keyword that the item inserts; of `Some(_)`, the name.
fn name(item: &CompletionItem) -> Option<String> {
    let mut changes = item.text_edit.iter();
    let change = changes.next()?;
    let whole = changes.next().is_none() && change.delete == item.source_range;
    let text = change.insert.trim_end();
    if whole && is_name(text) {
        return Some(text.to_owned());
    }
    let word = item.lookup().split(['(', '{', ' ']).next().unwrap_or_default();
    let begins = item.kind == CompletionItemKind::Keyword || text.starts_with(word);
    (begins && is_name(word)).then(|| word.to_owned())
}

/// `push`, `println!`, `r#type`, `'static`.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('!').unwrap_or(text);
    let name = name.strip_prefix("r#").or(name.strip_prefix('\'')).unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The kinds that Jupyter's front ends have icons for.
fn kind(kind: CompletionItemKind) -> &'static str {
    use CompletionItemKind as K;
    use SymbolKind as S;
    let K::SymbolKind(symbol) = kind else {
        return match kind {
            K::Keyword => "keyword",
            K::BuiltinType => "class",
            _ => "instance",
        };
    };
    match symbol {
        S::Function | S::Method | S::Macro | S::ProcMacro => "function",
        S::Derive | S::DeriveHelper | S::Attribute | S::BuiltinAttr => "function",
        S::Struct | S::Enum | S::Union | S::Trait => "class",
        S::TypeAlias | S::TypeParam | S::SelfType => "class",
        S::Module | S::CrateRoot | S::ToolModule => "module",
        S::Field => "property",
        _ => "instance",
    }
}

/// What follows the name in its declaration.
fn signature(kind: CompletionItemKind, detail: &str) -> String {
    use SymbolKind as S;
    let CompletionItemKind::SymbolKind(symbol) = kind else { return String::new() };
    match symbol {
        S::Function | S::Method => arguments(detail).unwrap_or_default(),
        S::Field | S::Local | S::SelfParam | S::ValueParam | S::Const | S::Static => {
            let declared = detail.split_once(": ").map_or(detail, |(_, ty)| ty);
            format!(": {}", declared.split(" = ").next().unwrap_or(declared))
        }
        _ => String::new(),
    }
}

/// `(self, f: F) -> Map<Self, F>` of `fn map<B, F>(self, f: F) -> Map<Self, F> where ..`.
fn arguments(detail: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut last = ' ';
    let start = detail.char_indices().find_map(|(at, c)| {
        match c {
            '<' => depth += 1,
            '>' if last != '-' => depth = depth.saturating_sub(1),
            '(' if depth == 0 && last != ')' => return Some(at),
            _ => {}
        }
        last = c;
        None
    })?;
    let rest = detail[start..].split_whitespace().collect::<Vec<_>>().join(" ");
    Some(rest.split(" where ").next().unwrap_or(&rest).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_offered() {
        for text in ["push", "println!", "r#type", "'static", "größe", "_x1"] {
            assert!(is_name(text), "{text}");
        }
        for text in ["", "!", "push()", "push(${1:value})$0", "a b", "std::", "&x", "if {"] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn signatures_are_what_follows_the_name() {
        let function = CompletionItemKind::SymbolKind(SymbolKind::Function);
        let local = CompletionItemKind::SymbolKind(SymbolKind::Local);
        for (kind, detail, expected) in [
            (function, "fn push(&mut self, value: T)", "(&mut self, value: T)"),
            (
                function,
                "fn map<B, F>(self, f: F) -> Map<Self, F>\nwhere\n    F: FnMut(Self::Item) -> B,",
                "(self, f: F) -> Map<Self, F>",
            ),
            (function, "fn each<F: Fn(u8) -> u8>(f: F)", "(f: F)"),
            (function, "const fn new() -> Vec<T>", "() -> Vec<T>"),
            (local, "Vec<i32>", ": Vec<i32>"),
            (CompletionItemKind::SymbolKind(SymbolKind::Const), "const MAX: u8 = 255", ": u8"),
            (CompletionItemKind::Keyword, "", ""),
        ] {
            assert_eq!(signature(kind, detail), expected, "{detail}");
        }
    }
}
