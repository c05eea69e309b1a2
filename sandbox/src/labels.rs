//! Reads a label selector as the API server does, and says which labels it selects.
use serde_json::Value;
use std::collections::BTreeSet;

/// What a selector demands of one label.
pub struct Requirement {
    key: String,
    rule: Rule,
}

enum Rule {
    Exists,
    Absent,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
}

/// The signs, longer ones before those that they begin with.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// Reads a selector; `None` if the API server refuses it.
pub fn parse(text: &str) -> Option<Vec<Requirement>> {
    let mut tokens = Tokens { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    if tokens.peek().is_none() {
        return Some(requirements);
    }
    loop {
        requirements.push(requirement(&mut tokens)?);
        match tokens.take() {
            None => return Some(requirements),
            Some(Token::Sign(",")) => {}
            Some(_) => return None,
        }
    }
}

impl Requirement {
    /// Whether the labels of an object are as demanded.
    pub fn matches(&self, labels: &Value) -> bool {
        let value = labels[&self.key].as_str();
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.rule {
            Rule::Exists => value.is_some(),
            Rule::Absent => value.is_none(),
            Rule::In(values) => value.is_some_and(|value| values.contains(value)),
            Rule::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Rule::Above(bound) => number().is_some_and(|number| number > *bound),
            Rule::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return tokens;
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let is_end = |letter: char| " \t\r\n=!(),><".contains(letter);
            let end = rest.find(is_end).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// Whether what comes next ends a requirement.
    fn ends(&self) -> bool {
        matches!(self.peek(), None | Some(Token::Sign(",")))
    }

    fn word(&mut self) -> Option<String> {
        match self.take()? {
            Token::Word(word) => Some(word),
            Token::Sign(_) => None,
        }
    }
}

fn requirement(tokens: &mut Tokens) -> Option<Requirement> {
    if tokens.peek() == Some(&Token::Sign("!")) {
        tokens.take();
        let key = tokens.word().filter(|key| is_key(key))?;
        return Some(Requirement { key, rule: Rule::Absent });
    }
    let key = tokens.word().filter(|key| is_key(key))?;
    if tokens.ends() {
        return Some(Requirement { key, rule: Rule::Exists });
    }
    let rule = match tokens.take()? {
        Token::Sign("=" | "==") => Rule::In(BTreeSet::from([exact(tokens)?])),
        Token::Sign("!=") => Rule::NotIn(BTreeSet::from([exact(tokens)?])),
        Token::Sign(">") => Rule::Above(exact(tokens)?.parse().ok()?),
        Token::Sign("<") => Rule::Below(exact(tokens)?.parse().ok()?),
        Token::Word(word) if word == "in" => Rule::In(values(tokens)?),
        Token::Word(word) if word == "notin" => Rule::NotIn(values(tokens)?),
        Token::Word(_) | Token::Sign(_) => return None,
    };
    Some(Requirement { key, rule })
}

/// The one value behind a sign; it may be empty.
fn exact(tokens: &mut Tokens) -> Option<String> {
    let value = if tokens.ends() { String::new() } else { tokens.word()? };
    is_value(&value).then_some(value)
}

/// The values in parentheses; those that are left empty are the empty value.
fn values(tokens: &mut Tokens) -> Option<BTreeSet<String>> {
    if tokens.take()? != Token::Sign("(") {
        return None;
    }
    let mut values = BTreeSet::new();
    let mut is_open = true;
    loop {
        match tokens.take()? {
            Token::Word(word) if is_open && is_value(&word) => {
                values.insert(word);
                is_open = false;
            }
            Token::Sign(mark @ ("," | ")")) => {
                if is_open {
                    values.insert(String::new());
                }
                if mark == ")" {
                    return Some(values);
                }
                is_open = true;
            }
            Token::Word(_) | Token::Sign(_) => return None,
        }
    }
}

fn is_value(text: &str) -> bool {
    let is_end = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().last())
        && text.chars().all(is_part)
}

/// A name, or a DNS name, a slash and a name.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_label = |label: &str| {
        let is_end = |letter: Option<char>| {
            letter.is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        };
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        is_end(label.chars().next()) && is_end(label.chars().last()) && label.chars().all(is_part)
    };
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_label);
    prefix.is_none_or(is_prefix) && !name.is_empty() && is_value(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_requirement_selects() {
        let labels = json!({ "app": "web", "tier": "front", "n": "5", "empty": "", "in": "x" });
        for (text, expected) in [
            ("", true),
            (" ", true),
            ("app", true),
            ("gone", false),
            ("!gone", true),
            ("! app", false),
            ("app!=db,gone!=x", true),
            ("app != web", false),
            ("app in (web, db),tier=front", true),
            ("app in(db)", false),
            ("app notin (db),gone notin (x)", true),
            ("app notin (web)", false),
            ("empty in ()", true),
            ("empty in (a,)", true),
            ("empty=", true),
            ("gone=", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
            ("in in (x)", true),
            ("in", true),
        ] {
            let requirements = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(requirements.iter().all(|one| one.matches(&labels)), expected, "{text}");
        }
        for text in [
            "app in",
            "app=web,",
            ",",
            "!",
            "!app=x",
            "app x",
            "a=b=c",
            "n>x",
            "a in (b c)",
            "=b",
            "a/b/c",
            "a=-b",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
