//! The page: what the report says, and what shows it, in one file.
//!
//! Names, paths and reasons may be anybody's. They are in a block of JSON in which no character means anything to
//! a parser of HTML, and the script makes text of them, never markup. Besides, the page's policy lets nothing
//! run but the script with this page's own nonce, and nothing be loaded from anywhere.

use std::hash::{BuildHasher as _, RandomState};

use cache_core::Digest;

use super::data::Report;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

pub(super) fn of(report: &Report) -> Result<String, serde_json::Error> {
    let data = inert(&serde_json::to_string(report)?);
    // Nobody who wrote a record could know it.
    let secret = [(); 4].map(|()| RandomState::new().hash_one(&data));
    let mut nonce = Digest::of(format!("{secret:?}").as_bytes()).to_hex();
    nonce.truncate(32);
    let values = [
        ("nonce", &*nonce),
        ("style", STYLE),
        ("script", SCRIPT),
        ("data", &*data),
    ];
    Ok(filled(PAGE, &values))
}

/// The template with values in the places of `{{names}}`. What is in a value stays as it is.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut pieces = template.split("{{");
    let mut page = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        page.push_str(value.map_or("", |(_, value)| value));
        page.push_str(rest);
    }
    page
}

/// JSON in which nothing ends or begins anything of HTML's.
fn inert(json: &str) -> String {
    let mut inert = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => inert.push_str("\\u003c"),
            '>' => inert.push_str("\\u003e"),
            '&' => inert.push_str("\\u0026"),
            // A script's ends of lines.
            '\u{2028}' => inert.push_str("\\u2028"),
            '\u{2029}' => inert.push_str("\\u2029"),
            _ => inert.push(c),
        }
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let hostile = serde_json::json!([
            "</script><img src=x onerror=alert(1)>",
            "<!--",
            "&lt;",
            "\u{2028}"
        ]);
        let inert = inert(&hostile.to_string());
        assert!(!inert.contains(['<', '>', '&', '\u{2028}']), "{inert}");
        let read: serde_json::Value = serde_json::from_str(&inert).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn values_are_not_searched_for_places() {
        let values = [("a", "{{b}}"), ("b", "2")];
        assert_eq!(filled("<{{a}}|{{b}}|{{c}}>", &values), "<{{b}}|2|>");
    }

    #[test]
    fn style_and_script_end_where_they_should() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        for name in ["nonce", "style", "script", "data"] {
            assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name}");
        }
    }
}
