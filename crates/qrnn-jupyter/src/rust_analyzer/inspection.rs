//! What is known about the name at the cursor, or about the function that is being called there.

use ra_ap_ide::{
    FilePosition, FileRange, GotoDefinitionConfig, HoverConfig, HoverDocFormat, SubstTyLen,
    TextRange, TextSize,
};
use ra_ap_ide_db::ra_fixture::RaFixtureConfig;

use crate::rust_analyzer::database::Host;
use crate::rust_analyzer::wire::Inspection;

/// Lines of a definition that are shown; the beginning says most.
const LINES: usize = 80;

/// What is known at a byte of the notebook's text; with the definition's source where it is to be
/// detailed.
pub fn inspect(host: &mut Host, offset: usize, detailed: bool) -> Option<Inspection> {
    let text = host.text().to_owned();
    let offset = offset.min(text.len());
    if let Some((start, end)) = name_at(&text, offset) {
        if let Some(found) = hover(host, start, detailed) {
            return Some(found);
        }
        // A macro that is named without its exclamation mark.
        if !text[end..].starts_with('!') {
            let mut macro_call = text.clone();
            macro_call.insert_str(end, "!()");
            host.set_text(macro_call);
            let found = hover(host, start, detailed);
            host.set_text(text);
            if found.is_some() {
                return found;
            }
        }
    }
    call(host, offset).or_else(|| hover(host, offset, detailed))
}

/// Where the name begins and ends that a byte lies in or behind. A number is no name.
fn name_at(text: &str, offset: usize) -> Option<(usize, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..offset)?;
    let before = before.strip_suffix('!').unwrap_or(before);
    let start = before
        .rfind(|c| !is_name(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let end = text[start..].find(|c| !is_name(c)).map_or(text.len(), |length| start + length);
    let name = &text[start..end];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((start, end))
}

fn hover(host: &Host, offset: usize, detailed: bool) -> Option<Inspection> {
    let at = TextSize::try_from(offset).ok()?;
    let range = FileRange { file_id: host.file(), range: TextRange::empty(at) };
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
        let found = host.analysis().hover(&config, range).ok().flatten()?;
        let text = String::from(found.info.markup);
        (!text.trim().is_empty() && !text.contains("{unknown}")).then_some(text)
    };
    let mut inspection = Inspection {
        plain: shown(HoverDocFormat::PlainText)?,
        markdown: shown(HoverDocFormat::Markdown)?,
    };
    if let Some(source) = detailed.then(|| source(host, offset)).flatten() {
        inspection.plain += &format!("\n\n{source}\n");
        inspection.markdown += &format!("\n\n---\n\n```rust\n{source}\n```\n");
    }
    Some(inspection)
}

/// The beginning of the definition's source.
fn source(host: &Host, offset: usize) -> Option<String> {
    let position = FilePosition { file_id: host.file(), offset: TextSize::try_from(offset).ok()? };
    let config = GotoDefinitionConfig { ra_fixture: RaFixtureConfig::default() };
    let found = host.analysis().goto_definition(position, &config).ok().flatten()?;
    let target = found.info.into_iter().find(|target| target.file_id != host.file())?;
    let text = host.source(target.file_id)?;
    let text =
        text.get(usize::from(target.full_range.start())..usize::from(target.full_range.end()))?;
    // The documentation is shown already.
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("///"));
    let mut shown: Vec<&str> = lines.by_ref().take(LINES).collect();
    if lines.next().is_some() {
        shown.push("// ...");
    }
    Some(shown.join("\n"))
}

/// The signature and the documentation of the function whose arguments the cursor is among.
fn call(host: &Host, offset: usize) -> Option<Inspection> {
    let position = FilePosition { file_id: host.file(), offset: TextSize::try_from(offset).ok()? };
    let help = host.analysis().signature_help(position).ok().flatten()?;
    let documentation = help.doc.as_ref().map(|doc| doc.as_str()).unwrap_or_default();
    Some(Inspection {
        plain: format!("{}\n\n{documentation}", help.signature).trim_end().to_owned(),
        markdown: format!("```rust\n{}\n```\n\n{documentation}", help.signature)
            .trim_end()
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_lies_in_a_name_or_behind_it() {
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
