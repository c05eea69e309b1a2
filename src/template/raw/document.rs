//! YAML text to a tree of texts, each with its place; budgets, and what YAML has beyond a template's needs.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::MAX_TEXT_BYTES;
use super::control::{TooMany, without_control_characters};
use super::layout;
use super::marks::{self, QUOTE, TAB};
use super::tree::{Entry, Frame, Items, Key, Node, Read, Tagged, Value, unread};
use crate::diagnostic::{Code, Diagnostic, Findings, Position};

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 16;
/// How deep what is nested too deep may be, if the rest of the text is to be read.
const MAX_SKIPPED: usize = 128;
/// How many keys, values, lists and mappings a text may hold.
const MAX_NODES: usize = 20_000;
/// After how many anchors, aliases, tags and odd keys reading stops: who uses them uses them everywhere.
const MAX_REFUSED: usize = 20;

/// Parses the text within its budgets; what was read up to then, where it cannot be read to its end.
///
/// What is refused and can be passed over leaves a node of which nothing was read. `cut` gets the places of values that
/// a comment seems to have cut off, in their order.
pub(super) fn parse(
    text: &str,
    findings: &mut Findings,
    cut: &mut Vec<Position>,
) -> Result<Node, Option<Node>> {
    if text.len() > MAX_TEXT_BYTES {
        findings.report(Code::TooLarge, "", format!("the text is larger than {MAX_TEXT_BYTES} bytes"));
        return Err(None);
    }
    match without_control_characters(text, MAX_REFUSED, findings).map_err(|TooMany| None)? {
        None => Builder::new(text, None, findings, cut).run(),
        Some((text, mark)) => Builder::new(&text, Some(mark), findings, cut).run(),
    }
}

fn fault(findings: &mut Findings, code: Code, position: Position, message: impl Into<Cow<'static, str>>) {
    findings.push(Diagnostic::new(code, "", message).at(Some(position)));
}

/// Reports a fault with what to do about it; `None`: what its code says.
fn advised(
    findings: &mut Findings,
    code: Code,
    (position, message): (Position, String),
    advice: Option<&'static str>,
) {
    let found = Diagnostic::new(code, "", message).at(Some(position));
    findings.push(match advice {
        Some(advice) => found.advising(advice),
        None => found,
    });
}

/// Makes a position of a line from 1 and a column from 0.
fn place(line: usize, column: usize) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column.saturating_add(1)) }
}

fn place_of(marker: &Marker) -> Position {
    place(marker.line(), marker.col())
}

struct Builder<'text, 'findings> {
    text: &'text str,
    /// What stands in the place of control characters.
    mark: Option<char>,
    parser: Parser<'text, StrInput<'text>>,
    findings: &'findings mut Findings,
    cut: &'findings mut Vec<Position>,
    /// The byte behind the last value, alias or tag that was read.
    behind: usize,
    /// What was read last, which an anchor belongs to.
    last: Last,
    open: Vec<Frame>,
    /// How many lists and mappings are open within one that is nested too deep, itself included, and where that is.
    skipped: usize,
    skipped_at: Option<Position>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    /// How often something was refused that YAML has and a template does not.
    refused: usize,
}

/// What was read last.
enum Last {
    Empty,
    Text,
    Collection,
}

impl<'text, 'findings> Builder<'text, 'findings> {
    fn new(
        text: &'text str,
        mark: Option<char>,
        findings: &'findings mut Findings,
        cut: &'findings mut Vec<Position>,
    ) -> Self {
        Self {
            text,
            mark,
            parser: parser(text, MAX_SKIPPED),
            findings,
            cut,
            behind: 0,
            last: Last::Empty,
            open: Vec::new(),
            skipped: 0,
            skipped_at: None,
            root: None,
            nodes: 0,
            documents: 0,
            refused: 0,
        }
    }

    fn run(mut self) -> Result<Node, Option<Node>> {
        while let Some(next) = self.parser.next_event() {
            match next {
                Ok((Event::StreamEnd, _)) => break,
                Ok((event, span)) => {
                    if !self.take(event, &span) {
                        return Err(self.root);
                    }
                    if self.refused >= MAX_REFUSED {
                        let message = "reading stopped here; the rest was not checked";
                        fault(self.findings, Code::ErrorsLeftOut, place_of(&span.start), message);
                        return Err(self.root);
                    }
                }
                Err(error) => {
                    self.syntax(&error);
                    return Err(self.root);
                }
            }
            if self.documents > 1 {
                // What was sent is perhaps the second one, where the first has nothing in it.
                return self.root.filter(|root| !matches!(root.value, Value::Null)).ok_or(None);
            }
        }
        let nothing =
            Node { position: Position { line: 1, column: 1 }, value: Value::Null, read: Read::Whole };
        Ok(self.root.unwrap_or(nothing))
    }

    /// Takes one event in; `false` when reading has to stop.
    fn take(&mut self, event: Event<'text>, span: &Span) -> bool {
        let position = place_of(&span.start);
        if self.skipped > 0 {
            self.behind = self.behind.max(span.end.byte_offset().unwrap_or_default());
            return self.skip(&event, position);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of events is open")]
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    fault(self.findings, Code::MultipleDocuments, position, "a second document begins here");
                }
            }
            Event::Alias(_) => {
                let advice =
                    "write the value out here, and remove keys that only hold shared parts, as `x-…`";
                return self.alias(position, advice, span);
            }
            Event::UnresolvedAlias(_) => return self.alias(position, QUOTE, span),
            Event::Anchor(..) => {
                let advice = match self.last {
                    Last::Empty => QUOTE,
                    Last::Text => "put the value in quotes if it begins with `&`; else remove the anchor",
                    Last::Collection => {
                        "remove the anchor and write its content out at each place that uses it; then a key that only \
                         holds it, as `x-…`, can go"
                    }
                };
                self.refuse(Code::AliasForbidden, position, "a YAML anchor is used here", Some(advice));
            }
            Event::Scalar(text, style, _, tag) => {
                let tag = self.tag(tag.as_deref(), position, true);
                let plain = style == ScalarStyle::Plain && tag == Tagged::No;
                let is_marked = self.mark.is_some_and(|mark| text.contains(mark));
                let null = plain && is_null(&text);
                // An absent value is told as `~`, but takes no room.
                let empty = text.is_empty() || span.start.index() == span.end.index();
                self.last = if empty { Last::Empty } else { Last::Text };
                let end = span.end.byte_offset().unwrap_or(self.behind);
                let cut = match empty {
                    true => marks::is_swallowed(self.text, self.behind),
                    false => marks::is_cut(self.text, end),
                };
                if plain && cut {
                    self.cut.push(position);
                }
                self.behind = self.behind.max(end);
                if is_marked || tag == Tagged::Refused {
                    return self.add(unread(position));
                }
                let value = if null { Value::Null } else { Value::Scalar(text.into_owned()) };
                return self.add(Node { position, value, read: Read::Whole });
            }
            Event::SequenceStart(_, _, tag) => {
                let tag = self.tag(tag.as_deref(), position, false);
                self.open(Items::Sequence(Vec::new()), tag, position);
            }
            Event::MappingStart(_, _, tag) => {
                let tag = self.tag(tag.as_deref(), position, false);
                self.open(Items::Mapping(Vec::new(), Key::Awaited), tag, position);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(),
            _ => {}
        }
        true
    }

    /// Passes over what is nested too deep; `false` when the budget is spent.
    fn skip(&mut self, event: &Event<'_>, position: Position) -> bool {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of events is open")]
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => self.skipped += 1,
            Event::SequenceEnd | Event::MappingEnd => self.skipped -= 1,
            _ => {}
        }
        match self.skipped_at.filter(|_| self.skipped == 0) {
            Some(begin) => self.add(unread(begin)),
            None => self.count(position),
        }
    }

    /// Refuses an alias, of which nothing is known.
    fn alias(&mut self, position: Position, advice: &'static str, span: &Span) -> bool {
        self.refuse(Code::AliasForbidden, position, "a YAML alias is used here", Some(advice));
        self.behind = self.behind.max(span.end.byte_offset().unwrap_or_default());
        self.add(unread(position))
    }

    /// Refuses a tag other than `!!str` on a scalar, at its first character.
    fn tag(&mut self, tag: Option<&Tag>, position: Position, scalar: bool) -> Tagged {
        let Some(tag) = tag else { return Tagged::No };
        let start = marks::tag_behind(self.text, self.behind);
        if let Some(start) = start {
            self.behind = marks::end_of_token(self.text.as_bytes(), start);
        }
        let text = scalar && tag.is_yaml_core_schema_tag("str");
        if !text {
            let position = start.and_then(|start| marks::place_of_byte(self.text, start)).unwrap_or(position);
            let advice =
                scalar.then_some("put the value in quotes if it begins with `!`; else remove the tag");
            self.refuse(Code::TagForbidden, position, "a YAML tag is used here", advice);
        }
        if text { Tagged::Text } else { Tagged::Refused }
    }

    fn refuse(&mut self, code: Code, position: Position, message: &str, advice: Option<&'static str>) {
        self.refused += 1;
        advised(self.findings, code, (position, message.to_owned()), advice);
    }

    fn open(&mut self, items: Items, tag: Tagged, position: Position) {
        self.last = Last::Collection;
        if self.open.len() >= MAX_DEPTH {
            self.too_deep(position);
            (self.skipped, self.skipped_at) = (1, Some(position));
            return;
        }
        let read = if tag == Tagged::Refused { Read::Nothing } else { Read::Whole };
        self.open.push(Frame { position, read, items });
    }

    fn too_deep(&mut self, position: Position) {
        self.refused += 1;
        let message = format!("lists and mappings are nested deeper than {MAX_DEPTH}");
        fault(self.findings, Code::TooDeep, position, message);
    }

    fn close(&mut self) -> bool {
        let Some(Frame { position, read, items }) = self.open.pop() else { return true };
        self.add(match items {
            Items::Sequence(items) => Node { position, value: Value::Sequence(items), read },
            // Where no key was read, another form than a mapping may have been meant, as with `{{ x }}`.
            Items::Mapping(entries, _) if read == Read::Partly && entries.is_empty() => unread(position),
            Items::Mapping(entries, _) => Node { position, value: Value::Mapping(entries), read },
        })
    }

    /// Counts a value that begins here; `false` when the budget is spent.
    fn count(&mut self, position: Position) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the text has more than {MAX_NODES} values");
            fault(self.findings, Code::TooManyNodes, position, message);
        }
        self.nodes <= MAX_NODES
    }

    /// Puts a finished value into what is open, or at the root; `false` when the budget is spent.
    fn add(&mut self, node: Node) -> bool {
        if !self.count(node.position) {
            return false;
        }
        let mut awaited = None;
        match self.open.last_mut().map(|frame| &mut frame.items) {
            None => self.root = Some(node),
            Some(Items::Sequence(items)) => items.push(node),
            Some(Items::Mapping(entries, key)) => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => awaited = Some(node),
                Key::Read(name, position) => entries.push(Entry { key: name, position, value: node }),
                Key::Refused => {}
            },
        }
        if let Some(node) = awaited {
            let read = self.read_key(node);
            if let Some(Frame { read: is_read, items: Items::Mapping(_, key), .. }) = self.open.last_mut() {
                if matches!(read, Key::Refused) && *is_read == Read::Whole {
                    *is_read = Read::Partly;
                }
                *key = read;
            }
        }
        true
    }

    fn read_key(&mut self, node: Node) -> Key {
        let refused = match node.value {
            // It is refused already.
            _ if node.read == Read::Nothing => return Key::Refused,
            Value::Scalar(name) if name == "<<" => (Code::MergeKey, "the YAML merge key is used here"),
            Value::Scalar(name) => return Key::Read(name, node.position),
            Value::Null => return Key::Read(String::new(), node.position),
            Value::Sequence(_) | Value::Mapping(_) => {
                (Code::KeyNotText, "a list or mapping is used as a key")
            }
        };
        let advice = marks::advice(self.text, node.position).filter(|_| refused.0 == Code::KeyNotText);
        self.refuse(refused.0, node.position, refused.1, advice);
        Key::Refused
    }

    /// Reports what the parser refused, in words that do not quote the text.
    fn syntax(&mut self, error: &ScanError) {
        let position = place_of(error.marker());
        // What is wrong may be no more than that: a control character where a blank or nothing belongs, or the depth.
        if self.mark.is_some() || self.skipped > 0 {
            return;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of errors is open")]
        let message = match error.kind() {
            // It reads ahead, so nothing of what is nested too deep may have come yet.
            ErrorKind::RecursionLimitExceeded => {
                let mut again = parser(self.text, MAX_DEPTH);
                let error = std::iter::from_fn(|| again.next_event()).find_map(Result::err);
                return self.too_deep(error.map_or(position, |error| place_of(error.marker())));
            }
            ErrorKind::UnexpectedCharacter { .. } => "an unexpected character".to_owned(),
            ErrorKind::InputIo { .. } | ErrorKind::InputDecoding { .. } | ErrorKind::Custom(_) => {
                "the text cannot be read".to_owned()
            }
            kind => kind.to_string(),
        };
        let advice = layout::advice(self.text, position, error.kind());
        let advice = advice.or_else(|| marks::advice(self.text, position));
        match marks::tab_near(self.text, position).filter(|_| advice.is_none()) {
            Some(tab) => {
                advised(self.findings, Code::Syntax, (tab, "a tab indents the line".to_owned()), Some(TAB));
            }
            None => advised(self.findings, Code::Syntax, (position, message), advice),
        }
    }
}

/// A parser that refuses what is nested deeper.
fn parser(text: &str, depth: usize) -> Parser<'_, StrInput<'_>> {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: depth,
        block_nesting_limit: depth,
    };
    Parser::new_from_str_with_options(text, options)
}

/// The plain spellings of null in YAML 1.1 and 1.2.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one finding of a text, as code, line and column.
    fn fault_of(text: &str) -> (Code, u32, u32) {
        let mut findings = Findings::default();
        let root = parse(text, &mut findings, &mut Vec::new());
        let found = findings.into_vec();
        assert_eq!(found.len(), 1, "{found:?} {root:?}");
        let at = found[0].position.unwrap_or(Position { line: 0, column: 0 });
        (found[0].code, at.line, at.column)
    }

    fn accepted(text: &str) -> Node {
        let mut findings = Findings::default();
        let root = parse(text, &mut findings, &mut Vec::new());
        assert_eq!(findings.into_vec(), []);
        root.unwrap()
    }

    /// The texts of a mapping's values; null shows as `None`.
    fn values(text: &str) -> Vec<Option<String>> {
        let Value::Mapping(entries) = accepted(text).value else { panic!("no mapping") };
        let scalar = |node: Node| match node.value {
            Value::Scalar(text) => Some(text),
            Value::Null => None,
            Value::Sequence(_) | Value::Mapping(_) => panic!("no scalar"),
        };
        entries.into_iter().map(|entry| scalar(entry.value)).collect()
    }

    #[test]
    fn anchors_and_aliases_are_refused_one_by_one() {
        assert_eq!(fault_of("a: &x 1"), (Code::AliasForbidden, 1, 4));
        assert_eq!(fault_of("a: *nowhere"), (Code::AliasForbidden, 1, 4));
        let mut findings = Findings::default();
        let _ = parse("a: &a [*a]\nb: *a\nc: &c\n  d: 1\n", &mut findings, &mut Vec::new());
        assert_eq!(findings.into_vec().len(), 4);
    }

    #[test]
    fn a_flood_of_what_is_refused_ends_the_reading() {
        let mut findings = Findings::default();
        assert!(
            parse(&format!("a: &a 1\nb: [{}]\n", "*a, ".repeat(49_000)), &mut findings, &mut Vec::new())
                .is_err()
        );
        let found = findings.into_vec();
        assert_eq!(found.len(), MAX_REFUSED + 1);
        assert_eq!(found.last().unwrap().code, Code::ErrorsLeftOut);
    }

    #[test]
    fn laughs_stay_small() {
        let mut text = "a: &a [x]\n".to_owned();
        for letter in 'b'..='k' {
            let before = char::from(letter as u8 - 1);
            text.push_str(&format!("{letter}: &{letter} [{}]\n", vec![format!("*{before}"); 10].join(", ")));
        }
        let mut findings = Findings::default();
        assert!(parse(&text, &mut findings, &mut Vec::new()).is_err());
        let mut found = findings.into_vec();
        assert_eq!(found.pop().unwrap().code, Code::ErrorsLeftOut);
        assert!(found.iter().all(|found| found.code == Code::AliasForbidden));
    }

    #[test]
    fn depth_is_bounded_in_every_style() {
        for text in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            "[".repeat(17) + &"]".repeat(17),
            "{a: ".repeat(5_000),
        ] {
            assert_eq!(fault_of(&text).0, Code::TooDeep);
        }
        let block: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert_eq!(fault_of(&block).0, Code::TooDeep);
        accepted(&("[".repeat(16) + &"]".repeat(16)));
    }

    #[test]
    fn size_and_number_are_bounded() {
        assert_eq!(fault_of(&"# comment\n".repeat(27_000)).0, Code::TooLarge);
        let keys: String = (0..20_000).map(|key| format!("k{key}: 1\n")).collect();
        assert_eq!(fault_of(&keys).0, Code::TooManyNodes);
        accepted(&format!("- {}\n", "x".repeat(MAX_TEXT_BYTES - 10)));
        accepted(&"# comment\n".repeat(26_000));
    }

    #[test]
    fn one_document_and_no_more() {
        assert_eq!(fault_of("a: 1\n---\nb: 2\n"), (Code::MultipleDocuments, 2, 1));
        assert_eq!(fault_of(&"---\n".repeat(60_000)).0, Code::MultipleDocuments);
        accepted("---\na: 1\n...\n");
    }

    #[test]
    fn tags_and_merge_keys_are_refused() {
        assert_eq!(fault_of("a: !!binary eA==").0, Code::TagForbidden);
        assert_eq!(fault_of("a: !include /etc/passwd").0, Code::TagForbidden);
        assert_eq!(fault_of("!ruby/object:X\na: 1").0, Code::TagForbidden);
        assert_eq!(fault_of("a: !!python/object/apply:os.system [x]").0, Code::TagForbidden);
        assert_eq!(fault_of("<<: {a: 1}").0, Code::MergeKey);
        assert_eq!(fault_of("? [a]\n: 1\n").0, Code::KeyNotText);
        assert_eq!(values("a: !!str 5"), [Some("5".into())]);
        assert_eq!(values("a: !!str"), [Some(String::new())]);
    }

    #[test]
    fn control_characters_are_refused_where_they_stand() {
        assert_eq!(fault_of("a: 1\nb: x\0y"), (Code::ControlCharacter, 2, 5));
        assert_eq!(fault_of("a: \u{1b}[2J").0, Code::ControlCharacter);
        assert_eq!(fault_of("a: \u{7}").0, Code::ControlCharacter);
        assert_eq!(fault_of("a: \"\\uD800\"").0, Code::Syntax);
        assert_eq!(fault_of("a:\n\tb: 1\n").0, Code::Syntax);
    }

    #[test]
    fn scalars_stay_as_written() {
        for text in [
            "no",
            "on",
            "true",
            "0123",
            "1.10",
            "1_000",
            "0x1F",
            "12:30:45",
            "2001-12-14",
            "3.10",
            "=",
            "é",
            ".inf",
        ] {
            assert_eq!(values(&format!("a: {text}\n")), [Some(text.to_owned())]);
        }
        assert_eq!(
            values("a: ~\nb:\nc: null\nd: 'null'\ne: ''\nf: \"~\""),
            [None, None, None, Some("null".into()), Some(String::new()), Some("~".into())]
        );
        assert_eq!(
            values("a: |+\n  x\n  y\n\nb: >-\n  x\n  y\n"),
            [Some("x\ny\n\n".into()), Some("x y".into())]
        );
    }

    #[test]
    fn byte_order_mark_carriage_returns_and_json_are_fine() {
        assert_eq!(values("\u{feff}a: 1\r\nb: 2\r\n"), [Some("1".into()), Some("2".into())]);
        assert_eq!(values("{\"a\": \"\\ud834\\udd1e\", \"b\": 2}"), [Some("𝄞".into()), Some("2".into())]);
        for empty in ["", "~", "# nothing\n", "---\n"] {
            assert!(matches!(accepted(empty).value, Value::Null), "{empty:?}");
        }
    }

    #[test]
    fn faults_never_show_the_text() {
        for text in
            ["p: canary\nq: \"canary\nr: [", "canary: *canary", "a: `canary`", "a: @canary", "a: !canary! x"]
        {
            let mut findings = Findings::default();
            let _ = parse(text, &mut findings, &mut Vec::new());
            let found = findings.into_vec();
            assert!(!found.is_empty() && !format!("{found:?}").contains("canary"), "{found:?}");
        }
    }
}
