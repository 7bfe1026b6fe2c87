//! A line of the host's log, as `--log-format json` writes it.

use serde_json::Value;

/// The stable code between the brackets of `error[CODE]: …`, or "".
#[must_use]
pub fn code_of(sentence: &str) -> &str {
    let inside = sentence
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("", |(code, _)| code)
}

/// One line of stderr.
#[derive(Debug, Clone)]
pub struct LogLine {
    text: String,
    json: Value,
}

impl LogLine {
    /// Anything is a line; what is no JSON has neither message nor fields.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            json: serde_json::from_str(text).unwrap_or_default(),
        }
    }

    /// The line as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The message, or "".
    #[must_use]
    pub fn message(&self) -> &str {
        self.field("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What a reader sees first: the message; of a line that is no JSON, the line.
    #[must_use]
    pub fn sentence(&self) -> &str {
        if self.json.is_null() {
            &self.text
        } else {
            self.message()
        }
    }

    /// Whether it is a warning with that stable code.
    #[must_use]
    pub fn warns(&self, code: &str) -> bool {
        let sentence = self.sentence();
        sentence.starts_with("warning[") && code_of(sentence) == code
    }

    /// `ERROR`, `WARN`, `INFO`, …, or "".
    #[must_use]
    pub fn level(&self) -> &str {
        self.json["level"].as_str().unwrap_or_default()
    }

    /// A field of the event, wherever the format puts it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.json["fields"]
            .get(name)
            .or_else(|| self.json.get(name))
    }

    /// A field as text; a number as its digits.
    #[must_use]
    pub fn text_of(&self, name: &str) -> String {
        match self.field(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Whether the line is about that instance.
    #[must_use]
    pub fn is_of(&self, plugin: &str) -> bool {
        self.text_of("plugin") == plugin
    }
}
