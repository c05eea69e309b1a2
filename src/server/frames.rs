//! The frames of HTTP/2 as they pass: who sends control frames for nothing is told apart from who makes calls.
//!
//! hyper answers PING and SETTINGS itself and shows neither. The frames' headers are read here as the bytes go by.

use std::time::Duration;

use tokio::time::Instant;

/// The bytes of a frame's header (RFC 9113, 4.1).
const HEADER: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
/// The flag of a frame that is the last of its stream.
const END_STREAM: u8 = 0x1;
/// The flag of a PING or of SETTINGS that answers one of ours.
const ACK: u8 = 0x1;
/// How many control frames may come in a second, and for how many seconds more may come.
const EACH_SECOND: f64 = 10.0;
const SECONDS: f64 = 5.0;
/// How many control frames each frame of an answer pays for: clients measure the road with a PING as they receive, and
/// open their windows.
const PAID: f64 = 4.0;
/// What a reset costs of a call that was not answered: a caller may lose its patience with many at once.
const RESET: f64 = 0.25;

/// Finds the frames in one direction of a connection.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// The bytes of the frame's content that are still to come.
    left: usize,
}

/// A frame, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    kind: u8,
    flags: u8,
}

impl Frame {
    /// Whether it belongs to an answer.
    pub(super) fn is_answer(self) -> bool {
        matches!(self.kind, DATA | HEADERS)
    }

    /// Whether it begins an answer that goes on.
    fn begins(self) -> bool {
        self.kind == HEADERS && self.flags & END_STREAM == 0
    }

    /// Whether it acknowledges a frame of this kind.
    fn acknowledges(self, kind: u8) -> bool {
        self.kind == kind && self.flags & ACK != 0
    }

    /// What it costs if it is neither a part of a call nor an answer to what was sent. Metadata that are taken fit into
    /// HEADERS: what continues them is more work than any other frame.
    fn cost(self) -> f64 {
        match self.kind {
            DATA | HEADERS => 0.0,
            RST_STREAM => RESET,
            _ => 1.0,
        }
    }
}

impl Frames {
    /// Reads on, and tells of every frame that has begun.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                self.left -= now;
                bytes = bytes.get(now..).unwrap_or_default();
                continue;
            }
            let now = bytes.len().min(HEADER - self.have);
            let (begin, rest) = bytes.split_at(now);
            if let Some(place) = self.header.get_mut(self.have..self.have + now) {
                place.copy_from_slice(begin);
            }
            self.have += now;
            bytes = rest;
            if self.have == HEADER {
                let [high, middle, low, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.left = usize::try_from(length).unwrap_or(usize::MAX);
                self.have = 0;
                seen(Frame { kind, flags });
            }
        }
    }
}

/// How many control frames have come of late that nothing paid for.
pub(super) struct Flood {
    /// How many answers that may be left, and windows that may be opened, are remembered: as many as there may be streams.
    streams: u32,
    level: f64,
    at: Instant,
    /// The answers that were begun and not reset since: whoever leaves a watch that was answered pays nothing.
    answered: u32,
    /// The calls that have come and may still open their window: some libraries do so once for each, at once.
    windows: u32,
    /// Our own PINGs and SETTINGS that are not acknowledged yet: whoever acknowledges what was never sent pays.
    pings: u32,
    settings: u32,
}

/// Takes one of what is there; says whether there was one.
fn take(credit: &mut u32) -> bool {
    let is_there = *credit > 0;
    *credit = credit.saturating_sub(1);
    is_there
}

/// Adds one, up to as many as are remembered.
fn give(credit: &mut u32, most: u32) {
    *credit = credit.saturating_add(1).min(most);
}

impl Flood {
    pub(super) fn new(streams: u32, now: Instant) -> Self {
        Self { streams, level: 0.0, at: now, answered: 0, windows: 0, pings: 0, settings: 0 }
    }

    /// Counts a frame that was received; says whether these are too many.
    pub(super) fn received(&mut self, frame: Frame, now: Instant) -> bool {
        let cost = frame.cost();
        if frame.kind == HEADERS {
            give(&mut self.windows, self.streams);
        }
        let is_free = match frame.kind {
            RST_STREAM => take(&mut self.answered),
            WINDOW_UPDATE => take(&mut self.windows),
            _ if frame.acknowledges(PING) => take(&mut self.pings),
            _ if frame.acknowledges(SETTINGS) => take(&mut self.settings),
            _ => false,
        };
        if is_free || cost == 0.0 {
            return false;
        }
        let passed: Duration = now.saturating_duration_since(self.at);
        self.level = (self.level - passed.as_secs_f64() * EACH_SECOND).max(0.0) + cost;
        self.at = now;
        self.level > EACH_SECOND * SECONDS
    }

    /// Counts a frame that was sent.
    pub(super) fn sent(&mut self, frame: Frame) {
        if frame.begins() {
            give(&mut self.answered, self.streams);
        }
        match frame.kind {
            PING if !frame.acknowledges(PING) => give(&mut self.pings, self.streams),
            SETTINGS if !frame.acknowledges(SETTINGS) => give(&mut self.settings, self.streams),
            _ => {}
        }
        if frame.is_answer() {
            self.level = (self.level - PAID).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_FRAME: [u8; 17] = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn frame(kind: u8, flags: u8) -> Frame {
        Frame { kind, flags }
    }

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let bytes =
            [&PING_FRAME[..], &[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0], &[0, 0, 1, DATA, 1, 0, 0, 0, 1, 9]];
        let bytes = bytes.concat();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                frames.read(piece, |frame| seen.push(frame));
            }
            assert_eq!(seen, [frame(PING, 0), frame(SETTINGS, ACK), frame(DATA, 1)], "{size}");
        }
    }

    #[test]
    fn ten_a_second_pass_for_ever_and_twenty_do_not() {
        for (pause, passes) in [(100, true), (50, false)] {
            let begin = Instant::now();
            let mut flood = Flood::new(1_000, begin);
            let is_flood = (0_u64..1_000)
                .any(|index| flood.received(frame(PING, 0), begin + Duration::from_millis(index * pause)));
            assert_eq!(!is_flood, passes, "one each {pause} ms");
        }
    }

    #[test]
    fn answers_pay_for_control_frames_and_acknowledgements_are_free() {
        let begin = Instant::now();
        let mut flood = Flood::new(1_000, begin);
        for _ in 0..1_000 {
            for kind in [SETTINGS, PING] {
                flood.sent(frame(kind, 0));
                assert!(!flood.received(frame(kind, ACK), begin));
            }
            for kind in [PING, 0x8, 0x8] {
                assert!(!flood.received(frame(kind, 0), begin));
            }
            flood.sent(frame(DATA, 0));
        }
        assert!((0..60).any(|_| flood.received(frame(0x2, 0), begin)), "PRIORITY for nothing");
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_are_no_better_than_others() {
        for kind in [PING, SETTINGS] {
            let begin = Instant::now();
            let mut flood = Flood::new(1_000, begin);
            assert!((0..60).any(|_| flood.received(frame(kind, ACK), begin)), "{kind}");
            // An acknowledgement of ours is none of their frames.
            let mut flood = Flood::new(1_000, begin);
            (0..60).for_each(|_| flood.sent(frame(kind, ACK)));
            assert!((0..60).any(|_| flood.received(frame(kind, ACK), begin)), "{kind}");
        }
    }

    #[test]
    fn every_call_may_open_its_window_once_and_pays_for_nothing_else() {
        let begin = Instant::now();
        let mut flood = Flood::new(1_000, begin);
        for _ in 0..1_000 {
            assert!(!flood.received(frame(HEADERS, 0), begin));
            assert!(!flood.received(frame(WINDOW_UPDATE, 0), begin));
        }
        (0..5_000).for_each(|_| assert!(!flood.received(frame(HEADERS, 0), begin)));
        assert!((0..60).any(|_| flood.received(frame(PING, 0), begin)), "PING");
        let mut flood = Flood::new(1_000, begin);
        (0..5_000).for_each(|_| assert!(!flood.received(frame(HEADERS, 0), begin)));
        assert!((0..1_100).any(|_| flood.received(frame(WINDOW_UPDATE, 0), begin)), "a thousand at the most");
    }

    #[test]
    fn answers_that_have_ended_pay_for_no_resets() {
        let begin = Instant::now();
        let mut flood = Flood::new(1_000, begin);
        (0..9_000).for_each(|_| flood.sent(frame(HEADERS, END_STREAM)));
        assert!((0..300).any(|_| flood.received(frame(RST_STREAM, 0), begin)));
        let mut flood = Flood::new(1_000, begin);
        (0..9_000).for_each(|_| flood.sent(frame(HEADERS, 0)));
        assert!((0..1_300).any(|_| flood.received(frame(RST_STREAM, 0), begin)), "no more than streams");
    }

    #[test]
    fn watches_may_be_left_all_at_once_and_calls_may_not_be_reset_for_ever() {
        let begin = Instant::now();
        let mut flood = Flood::new(1_000, begin);
        (0..900).for_each(|_| flood.sent(frame(HEADERS, 0)));
        assert!((0..900).all(|_| !flood.received(frame(RST_STREAM, 0), begin)));
        assert!((0..100).all(|_| !flood.received(frame(RST_STREAM, 0), begin)));
        assert!((0..200).any(|_| flood.received(frame(RST_STREAM, 0), begin)));
    }
}
