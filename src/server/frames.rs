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
/// How many control frames each frame of an answer pays for: whoever receives it may open the window of its stream and
/// that of the connection, measure the road with a PING, and say with SETTINGS what it has learnt.
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

    /// Whether it is what a client sends because it has received something.
    fn answers_an_answer(self) -> bool {
        match self.kind {
            WINDOW_UPDATE => true,
            PING | SETTINGS => self.flags & ACK == 0,
            _ => false,
        }
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
    /// The control frames that answers have paid for and that are still to come. Many answers may be sent at once, as the
    /// heartbeats of watches that were opened together are; what a client sends because of them comes afterwards.
    paid: f64,
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
        Self { streams, level: 0.0, at: now, paid: 0.0, answered: 0, windows: 0, pings: 0, settings: 0 }
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
        if frame.answers_an_answer() && self.paid >= cost {
            self.paid -= cost;
            return false;
        }
        self.pass(now);
        self.level += cost;
        self.level > EACH_SECOND * SECONDS
    }

    /// Counts a frame that was sent.
    pub(super) fn sent(&mut self, frame: Frame, now: Instant) {
        if frame.begins() {
            give(&mut self.answered, self.streams);
        }
        match frame.kind {
            PING if !frame.acknowledges(PING) => give(&mut self.pings, self.streams),
            SETTINGS if !frame.acknowledges(SETTINGS) => give(&mut self.settings, self.streams),
            _ => {}
        }
        if frame.is_answer() {
            self.pass(now);
            let owed = self.level.min(PAID);
            self.level -= owed;
            self.paid = (self.paid + PAID - owed).min(PAID * f64::from(self.streams));
        }
    }

    /// Forgets what came long ago.
    fn pass(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.level = (self.level - passed.as_secs_f64() * EACH_SECOND).max(0.0);
        self.at = now;
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
                flood.sent(frame(kind, 0), begin);
                assert!(!flood.received(frame(kind, ACK), begin));
            }
            for kind in [PING, 0x8, 0x8] {
                assert!(!flood.received(frame(kind, 0), begin));
            }
            flood.sent(frame(DATA, 0), begin);
        }
        assert!((0..60).any(|_| flood.received(frame(0x2, 0), begin)), "PRIORITY for nothing");
    }

    /// Whatever a client sends because of what it has received, and however late, is paid for: watches by the hundred whose
    /// heartbeats come in step are no flood.
    #[test]
    fn what_answers_cause_is_paid_for_however_many_come_at_once() {
        const CAUSED: [u8; 4] = [WINDOW_UPDATE, WINDOW_UPDATE, PING, SETTINGS];
        for streams in [1, 50, 1_000] {
            for late in [0, 1, 30] {
                let mut now = Instant::now();
                let mut flood = Flood::new(streams, now);
                for _ in 0..20 {
                    // What it sends for itself does not become too much by what it sends for others.
                    (0..40).for_each(|_| assert!(!flood.received(frame(0x2, 0), now), "{streams} {late}"));
                    now += Duration::from_secs(4);
                    (0..streams).for_each(|_| flood.sent(frame(DATA, 0), now));
                    now += Duration::from_secs(late);
                    let caused = (0..streams).flat_map(|_| CAUSED);
                    let mut caused = caused.map(|kind| flood.received(frame(kind, 0), now));
                    assert!(caused.all(|is_flood| !is_flood), "{streams} {late}");
                }
            }
        }
    }

    #[test]
    fn what_answers_have_paid_is_no_more_than_streams_and_for_nothing_else() {
        let begin = Instant::now();
        let paid = || {
            let mut flood = Flood::new(1_000, begin);
            (0..9_000).for_each(|_| flood.sent(frame(DATA, 0), begin));
            flood
        };
        let mut flood = paid();
        assert!((0..4_060).any(|_| flood.received(frame(PING, 0), begin)));
        for (kind, most) in [(0x2, 60), (0x9, 60), (0x7, 60), (RST_STREAM, 240)] {
            let mut flood = paid();
            assert!((0..most).any(|_| flood.received(frame(kind, 0), begin)), "{kind}");
        }
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_are_no_better_than_others() {
        for kind in [PING, SETTINGS] {
            let begin = Instant::now();
            let mut flood = Flood::new(1_000, begin);
            assert!((0..60).any(|_| flood.received(frame(kind, ACK), begin)), "{kind}");
            // Answers pay for no acknowledgements.
            let mut flood = Flood::new(1_000, begin);
            (0..60).for_each(|_| flood.sent(frame(DATA, 0), begin));
            assert!((0..60).any(|_| flood.received(frame(kind, ACK), begin)), "{kind}");
            // An acknowledgement of ours is none of their frames.
            let mut flood = Flood::new(1_000, begin);
            (0..60).for_each(|_| flood.sent(frame(kind, ACK), begin));
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
        (0..9_000).for_each(|_| flood.sent(frame(HEADERS, END_STREAM), begin));
        assert!((0..300).any(|_| flood.received(frame(RST_STREAM, 0), begin)));
        let mut flood = Flood::new(1_000, begin);
        (0..9_000).for_each(|_| flood.sent(frame(HEADERS, 0), begin));
        assert!((0..1_300).any(|_| flood.received(frame(RST_STREAM, 0), begin)), "no more than streams");
    }

    #[test]
    fn watches_may_be_left_all_at_once_and_calls_may_not_be_reset_for_ever() {
        let begin = Instant::now();
        let mut flood = Flood::new(1_000, begin);
        (0..900).for_each(|_| flood.sent(frame(HEADERS, 0), begin));
        assert!((0..900).all(|_| !flood.received(frame(RST_STREAM, 0), begin)));
        assert!((0..100).all(|_| !flood.received(frame(RST_STREAM, 0), begin)));
        assert!((0..200).any(|_| flood.received(frame(RST_STREAM, 0), begin)));
    }
}
