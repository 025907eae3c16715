//! Documentation of the name at the cursor, or of the function that is called there.

use ra_ap_ide::{
    FilePosition, FileRange, GotoDefinitionConfig, HoverConfig, HoverDocFormat, SubstTyLen,
    TextRange, TextSize,
};
use ra_ap_ide_db::ra_fixture::RaFixtureConfig;

use crate::rust_analyzer::database::Database;
use crate::rust_analyzer::wire::Inspection;

/// Lines of a definition that are shown at most.
const LINES: usize = 80;

/// What is known at a byte of the text. `detailed` adds the source of the definition.
pub fn inspect(database: &mut Database, offset: usize, detailed: bool) -> Option<Inspection> {
    let text = database.text().to_owned();
    let offset = offset.min(text.len());
    if let Some((start, end)) = name_at(&text, offset) {
        if let Some(found) = hover(database, start, detailed) {
            return Some(found);
        }
        // A macro without its exclamation mark.
        if !text[end..].starts_with('!') {
            let mut macro_call = text.clone();
            macro_call.insert_str(end, "!()");
            database.set_text(macro_call);
            let found = hover(database, start, detailed);
            database.set_text(text);
            if found.is_some() {
                return found;
            }
        }
    }
    call(database, offset).or_else(|| hover(database, offset, detailed))
}

/// The bytes of the name that is at or before a byte.
fn name_at(text: &str, offset: usize) -> Option<(usize, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..offset)?;
    let before = before.strip_suffix('!').unwrap_or(before);
    let start = before.trim_end_matches(is_name).len();
    let end = text[start..].find(|c| !is_name(c)).map_or(text.len(), |length| start + length);
    let name = &text[start..end];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((start, end))
}

fn hover(database: &Database, offset: usize, detailed: bool) -> Option<Inspection> {
    let at = TextSize::try_from(offset).ok()?;
    let range = FileRange { file_id: database.file(), range: TextRange::empty(at) };
    let shown = |format: HoverDocFormat| -> Option<String> {
        let config = HoverConfig {
            links_in_hover: true,
            memory_layout: None,
            documentation: true,
            keywords: true,
            format,
            max_trait_assoc_items_count: Some(if detailed { 100 } else { 10 }),
            max_fields_count: Some(if detailed { 100 } else { 5 }),
            max_enum_variants_count: Some(if detailed { 100 } else { 5 }),
            max_subst_ty_len: SubstTyLen::LimitTo(80),
            show_drop_glue: false,
            ra_fixture: RaFixtureConfig::default(),
        };
        let found = database.analysis().hover(&config, range).ok().flatten()?;
        let text = String::from(found.info.markup);
        (!text.trim().is_empty() && !text.contains("{unknown}")).then_some(text)
    };
    let mut inspection = Inspection {
        plain: shown(HoverDocFormat::PlainText)?,
        markdown: shown(HoverDocFormat::Markdown)?,
    };
    if let Some(source) = detailed.then(|| source(database, offset)).flatten() {
        inspection.plain += &format!("\n\n{source}\n");
        inspection.markdown += &format!("\n\n---\n\n```rust\n{source}\n```\n");
    }
    Some(inspection)
}

/// The first lines of the definition's source, without its documentation.
fn source(database: &Database, offset: usize) -> Option<String> {
    let file = database.file();
    let position = FilePosition { file_id: file, offset: TextSize::try_from(offset).ok()? };
    let config = GotoDefinitionConfig { ra_fixture: RaFixtureConfig::default() };
    let found = database.analysis().goto_definition(position, &config).ok().flatten()?;
    let target = found.info.into_iter().find(|target| target.file_id != file)?;
    let text = database.source(target.file_id)?;
    let text =
        text.get(usize::from(target.full_range.start())..usize::from(target.full_range.end()))?;
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("///"));
    let mut shown: Vec<&str> = lines.by_ref().take(LINES).collect();
    if lines.next().is_some() {
        shown.push("// ...");
    }
    Some(shown.join("\n"))
}

/// Signature and documentation of the function whose arguments the cursor is in.
fn call(database: &Database, offset: usize) -> Option<Inspection> {
    let offset = TextSize::try_from(offset).ok()?;
    let position = FilePosition { file_id: database.file(), offset };
    let help = database.analysis().signature_help(position).ok().flatten()?;
    let documentation = help.doc.as_ref().map(|doc| doc.as_str()).unwrap_or_default();
    let signature = help.signature;
    let plain = format!("{signature}\n\n{documentation}");
    let markdown = format!("```rust\n{signature}\n```\n\n{documentation}");
    Some(Inspection {
        plain: plain.trim_end().to_owned(),
        markdown: markdown.trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_in_a_name_or_after_it() {
        for (text, offset, expected) in [
            ("corpus.words()", 0, Some("corpus")),
            ("corpus.words()", 6, Some("corpus")),
            ("corpus.words()", 7, Some("words")),
            ("corpus.words()", 12, Some("words")),
            ("corpus.words()", 13, None),
            ("vec![1]", 4, Some("vec")),
            ("größe + 1", 7, Some("größe")),
            ("f(1)", 3, None),
            ("a + b", 3, None),
            ("", 0, None),
        ] {
            let found = name_at(text, offset).map(|(start, end)| &text[start..end]);
            assert_eq!(found, expected, "{text} {offset}");
        }
    }
}
