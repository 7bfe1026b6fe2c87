//! How a stranger's text is quoted in a problem: short, and never able to move the reader's cursor.

use toml::de::DeValue;

/// What of a value is shown at most. Enough to recognise it, too little to flood a log.
const ECHO_BYTES_MAX: usize = 64;

/// The first bytes of `text`, controls and invisible characters escaped.
pub(super) fn echo(text: &str) -> String {
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = String::with_capacity(end);
    for character in text[..end].chars() {
        // A quote is no danger, and doubled backslashes only make a path harder to recognise.
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if end < text.len() {
        shown.push('…');
    }
    shown
}

/// A value as `found:` shows it.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", echo(text)),
        DeValue::Integer(number) => echo(&number.to_string()),
        DeValue::Float(number) => echo(number.as_str()),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => kind(value).to_owned(),
    }
}

/// What sort of value it is, in an operator's words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
