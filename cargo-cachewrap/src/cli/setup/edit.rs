//! Setting and unsetting `build.rustc-wrapper` in a TOML document, leaving all else.
//!
//! What undoing needs to know stands in a comment on the same line:
//!
//! ```text
//! rustc-wrapper = "cachewrap" # cargo cachewrap setup
//! rustc-wrapper = "cachewrap" # cargo cachewrap setup, new table
//! rustc-wrapper = "cachewrap" # cargo cachewrap setup, was "sccache" # the user's comment
//! ```
//! An inline table (`build = { … }`) cannot hold comments; there nothing is remembered,
//! and a foreign wrapper is not replaced.

use toml_edit::{DocumentMut, Item, Table, Value};

use super::super::rustc_wrapper::{is_ours, value_in};

const KEY: &str = "rustc-wrapper";
const MARK: &str = " # cargo cachewrap setup";
const NEW_TABLE: &str = ", new table";
const WAS: &str = ", was ";

/// Whether there was anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edited {
    Changed,
    Already,
}

/// Why the document stays as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    #[error("`build.rustc-wrapper` is already \"{0}\"; --force replaces it")]
    Foreign(String),
    #[error("`build.rustc-wrapper` is \"{0}\", which is not what setup sets; it stays")]
    NotOurs(String),
    #[error("`build` is an inline table that sets \"{0}\"; edit it by hand")]
    ForeignInline(String),
    #[error("`build` is not a table")]
    NotATable,
}

/// Sets the wrapper.
pub(super) fn set(
    document: &mut DocumentMut,
    wrapper: &str,
    force: bool,
) -> Result<Edited, EditError> {
    let old = value_in(document).map(str::to_owned);
    let mut value = Value::from(wrapper);
    let Some(build) = document.get_mut("build") else {
        comment(&mut value, NEW_TABLE);
        let mut table = Table::new();
        table.insert(KEY, Item::Value(value));
        if document.iter().next().is_some() {
            table.decor_mut().set_prefix("\n");
        }
        document.insert("build", Item::Table(table));
        return Ok(Edited::Changed);
    };
    match old {
        Some(old) if old == wrapper => return Ok(Edited::Already),
        // Another path of the same wrapper: what the mark remembers stays.
        Some(old) if is_ours(&old) => {
            if let Some(existing) = value_mut(build) {
                *value.decor_mut() = existing.decor().clone();
                *existing = value;
            }
            return Ok(Edited::Changed);
        }
        Some(old) if build.is_inline_table() => return Err(EditError::ForeignInline(old)),
        Some(old) if !force => return Err(EditError::Foreign(old)),
        Some(_) => {
            if let Some(existing) = value_mut(build) {
                comment(&mut value, &format!("{WAS}{}", existing.to_string().trim()));
                *existing = value;
            }
            return Ok(Edited::Changed);
        }
        None => {}
    }
    let inline = build.is_inline_table();
    let table = build.as_table_like_mut().ok_or(EditError::NotATable)?;
    if !inline {
        comment(&mut value, "");
    }
    table.insert(KEY, Item::Value(value));
    Ok(Edited::Changed)
}

/// Takes the wrapper out again, and puts back what [`set`] replaced.
pub(super) fn unset(document: &mut DocumentMut) -> Result<Edited, EditError> {
    let Some(old) = value_in(document).map(str::to_owned) else {
        return Ok(Edited::Already);
    };
    if !is_ours(&old) {
        return Err(EditError::NotOurs(old));
    }
    let build = document.get_mut("build").ok_or(EditError::NotATable)?;
    let existing = value_mut(build).ok_or(EditError::NotATable)?;
    let suffix = existing.decor().suffix().and_then(|suffix| suffix.as_str());
    let note = suffix.and_then(|suffix| suffix.strip_prefix(MARK));
    let note = note.unwrap_or_default().trim_end().to_owned();
    if let Some(before) = note.strip_prefix(WAS).and_then(parse_value) {
        *existing = before;
        return Ok(Edited::Changed);
    }
    let table = build.as_table_like_mut().ok_or(EditError::NotATable)?;
    table.remove(KEY);
    if table.is_empty() && note == NEW_TABLE {
        document.remove("build");
    }
    Ok(Edited::Changed)
}

fn value_mut(build: &mut Item) -> Option<&mut Value> {
    build.as_table_like_mut()?.get_mut(KEY)?.as_value_mut()
}

fn comment(value: &mut Value, note: &str) {
    value.decor_mut().set_prefix(" ");
    value.decor_mut().set_suffix(format!("{MARK}{note}"));
}

/// A value with the comment that followed it.
fn parse_value(text: &str) -> Option<Value> {
    let document: DocumentMut = format!("value = {text}\n").parse().ok()?;
    document.get("value")?.as_value().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_in(text: &str, force: bool) -> Result<String, EditError> {
        let mut document: DocumentMut = text.parse().unwrap();
        set(&mut document, "cachewrap", force)?;
        Ok(document.to_string())
    }

    fn unset_in(text: &str) -> Result<String, EditError> {
        let mut document: DocumentMut = text.parse().unwrap();
        unset(&mut document)?;
        Ok(document.to_string())
    }

    #[test]
    fn setting_and_undoing_leaves_every_byte() {
        let files = [
            "",
            "# only a comment\n",
            "[build]\n",
            "[build] # mine\njobs = 4 # four\n\n[net]\nretry = 3\n",
            "build.jobs = 4\n\n[net]\nretry = 3\n",
            "build = { jobs = 4 }\n",
            "[net]\nretry = 3 # thrice\n\n# the end\n",
            "[target.'cfg(unix)']\nlinker = \"cc\"\n\n[alias]\nb = \"build\"\n",
        ];
        for file in files {
            let set = set_in(file, false).unwrap();
            let document: DocumentMut = set.parse().unwrap();
            assert_eq!(value_in(&document), Some("cachewrap"), "{set}");
            assert_eq!(unset_in(&set).unwrap(), file, "{set}");
        }
    }

    #[test]
    fn a_foreign_wrapper_is_replaced_only_by_force_and_comes_back() {
        let file = "[build]\nrustc-wrapper = \"sccache\" # by me\njobs = 4\n";
        assert_eq!(
            set_in(file, false),
            Err(EditError::Foreign("sccache".into()))
        );
        let set = set_in(file, true).unwrap();
        assert_eq!(
            set,
            "[build]\nrustc-wrapper = \"cachewrap\" # cargo cachewrap setup, was \"sccache\" # by me\njobs = 4\n"
        );
        assert_eq!(unset_in(&set).unwrap(), file);
    }

    #[test]
    fn a_foreign_wrapper_is_not_undone() {
        let file = "[build]\nrustc-wrapper = \"sccache\"\n";
        assert_eq!(unset_in(file), Err(EditError::NotOurs("sccache".into())));
        let inline = "build = { rustc-wrapper = \"sccache\" }\n";
        assert_eq!(
            set_in(inline, true),
            Err(EditError::ForeignInline("sccache".into()))
        );
    }

    #[test]
    fn setting_twice_and_undoing_twice_change_nothing() {
        let once = set_in("", false).unwrap();
        let mut document: DocumentMut = once.parse().unwrap();
        assert_eq!(set(&mut document, "cachewrap", false), Ok(Edited::Already));
        let mut document = DocumentMut::new();
        assert_eq!(unset(&mut document), Ok(Edited::Already));
    }

    #[test]
    fn another_path_of_the_wrapper_is_updated_and_still_undone() {
        let once = set_in("[net]\nretry = 3\n", false).unwrap();
        let mut document: DocumentMut = once.parse().unwrap();
        let path = "/opt/bin/cachewrap";
        assert_eq!(set(&mut document, path, false), Ok(Edited::Changed));
        assert_eq!(value_in(&document), Some(path));
        assert_eq!(
            unset_in(&document.to_string()).unwrap(),
            "[net]\nretry = 3\n"
        );
    }

    #[test]
    fn what_was_written_by_hand_is_undone_too() {
        let file = "[build]\nrustc-wrapper = \"/usr/bin/cachewrap\"\n";
        assert_eq!(unset_in(file).unwrap(), "[build]\n");
    }

    #[test]
    fn a_build_that_is_no_table_is_refused() {
        assert_eq!(set_in("build = 1\n", false), Err(EditError::NotATable));
    }
}
