//! The body of a POST: a JSON list, which is read as a template's text in the agents' form.

use serde::de::IgnoredAny;

use crate::error::{Error, Fault, Result};

/// The name that the body has in messages.
const BODY: &str = "body";

/// The text of a list of services; what each of them is says the reader of templates.
pub(super) fn text(body: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(body).map_err(|_| wrong("must be UTF-8"))?;
    match serde_json::from_str::<Vec<IgnoredAny>>(text) {
        Ok(_) => Ok(text.to_owned()),
        // The library's own words may quote the text.
        Err(error) if error.is_data() => Err(wrong("must be a JSON list of services")),
        Err(error) => Err(wrong(format!("is no JSON: line {}, column {}", error.line(), error.column()))),
    }
}

fn wrong(description: impl Into<String>) -> Error {
    Error::fields(vec![Fault::field(BODY, description)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_and_nothing_else_is_shown() {
        assert_eq!(text(b" [{\"name\": \"a\"}]\n").unwrap(), " [{\"name\": \"a\"}]\n");
        for (body, why) in [
            (&b""[..], "is no JSON"),
            (b"canary", "is no JSON: line 1"),
            (b"[{\"canary\": }]", "is no JSON: line 1, column 13"),
            (b"[] canary", "is no JSON"),
            (b"{\"canary\": []}", "must be a JSON list"),
            (b"\"canary\"", "must be a JSON list"),
            (b"null", "must be a JSON list"),
            (b"name: canary\nimages: []", "is no JSON"),
            (b"[\"\xff\"]", "must be UTF-8"),
        ] {
            let error = text(body).unwrap_err();
            assert!(error.message().contains(why), "{why}: {}", error.message());
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}
