//! The body of a POST: a JSON list, which is read as a template's text in the agents' form.

use serde::de::IgnoredAny;

use crate::error::{Error, Fault, Result};

/// The name that the body has in messages.
const BODY: &str = "body";

/// The text of a list of services; what each of them is says the reader of templates.
pub(super) fn text(body: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(body).map_err(|_| wrong("must be UTF-8"))?;
    match serde_json::from_str::<Vec<IgnoredAny>>(text) {
        Ok(_) => match texts(text).find(|(_, one)| serde_json::from_str::<String>(one).is_err()) {
            None => Ok(text.to_owned()),
            Some((before, _)) => {
                let (line, begin) = (before.matches('\n').count() + 1, before.rsplit('\n').next());
                let column = begin.unwrap_or_default().chars().count() + 1;
                Err(wrong(format!("has a text that is no Unicode: line {line}, column {column}")))
            }
        },
        // The library's own words may quote the text.
        Err(error) if error.is_data() => Err(wrong("must be a JSON list of services")),
        Err(error) => Err(wrong(format!("is no JSON: line {}, column {}", error.line(), error.column()))),
    }
}

/// The texts of JSON as they are written, each behind all that stands before it.
fn texts(json: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = from + json.get(from..)?.find('"')?;
        let mut is_escaped = false;
        let ends = |letter: char| {
            let is_end = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end
        };
        from = begin + 1 + json.get(begin + 1..)?.find(ends)? + 1;
        json.get(..begin).zip(json.get(begin..from))
    })
}

/// The list with its services in the order of `wanted`, each as it was written; `names` are those of the services as they
/// are listed.
pub(super) fn in_order<N: PartialEq>(text: &str, names: &[N], wanted: &[N]) -> String {
    let mut services: Vec<_> = names.iter().zip(elements(text)).collect();
    services.sort_by_key(|(name, _)| wanted.iter().position(|wanted| wanted == *name));
    let services: Vec<&str> = services.into_iter().map(|(_, service)| service).collect();
    format!("[{}]", services.join(","))
}

/// The elements of a JSON list, as they are written.
fn elements(list: &str) -> Vec<&str> {
    let inner = list.trim().trim_start_matches('[').trim_end_matches(']');
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let ends_one = |letter: char| {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_text = !is_text,
            '[' | '{' if !is_text => depth += 1,
            ']' | '}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0 && !is_text
    };
    inner.split(ends_one).collect()
}

fn wrong(description: impl Into<String>) -> Error {
    Error::fields(vec![Fault::field(BODY, description)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_change_their_order_and_stay_as_they_are_written() {
        let b = r#"{"name": "b", "x": "],[{\\\"", "y": [1.10, {}]}"#;
        let (a, c) = (r#" {"name":"a"}"#, "{\n\"name\": \"c,\"\n}");
        let ordered = format!("[{a},{b},{c}]");
        assert_eq!(in_order(&format!(" [{c},{a},{b}]\n"), &["c", "a", "b"], &["a", "b", "c"]), ordered);
        assert_eq!(in_order(&ordered, &["a", "b", "c"], &["a", "b", "c"]), ordered);
    }

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
            (
                b"[{\"a\\\"\": 1e400,\n \"n\": \"canary\\ud800\"}]",
                "has a text that is no Unicode: line 2, column 7",
            ),
        ] {
            let error = text(body).unwrap_err();
            assert!(error.message().contains(why), "{why}: {}", error.message());
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}
