//! Datagrams that are still to be sent, and those that may have to be sent again.

use super::Framing;
use std::collections::VecDeque;
use std::time::Instant;

/// How much is kept of what another host may still refuse, in bytes.
const MOST_UNCONFIRMED: usize = 1 << 20;

/// The smallest limit that a refusal for length leads to, in bytes.
const SMALLEST_LIMIT: usize = 512;

/// Datagrams in their order.
pub(super) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first one a stream has taken.
    taken: usize,
    /// Those that were taken whole but may not have arrived, and when that was.
    unconfirmed: VecDeque<(Instant, Vec<u8>)>,
    unconfirmed_bytes: usize,
    limit: usize,
    framing: Framing,
}

impl Outbox {
    /// An empty one, for datagrams of at most `limit` bytes, which are told apart like this.
    pub(super) fn new(limit: usize, framing: Framing) -> Outbox {
        Outbox {
            waiting: VecDeque::new(),
            taken: 0,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            limit,
            framing,
        }
    }

    /// How long a datagram may be, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    pub(super) fn push(&mut self, datagram: Vec<u8>) {
        self.waiting.push_back(datagram);
    }

    /// What is to be sent next.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.waiting.front().map(|first| &first[self.taken..])
    }

    /// As many bytes of it were taken. Returns the length of the whole datagram, if that was the rest of it.
    pub(super) fn taken(&mut self, count: usize, now: Instant) -> Option<usize> {
        self.taken += count;
        if self.waiting.front()?.len() > self.taken {
            return None;
        }
        self.taken = 0;
        let datagram = self.waiting.pop_front()?;
        let length = datagram.len();
        self.unconfirmed_bytes += length;
        self.unconfirmed.push_back((now, datagram));
        while self.unconfirmed_bytes > MOST_UNCONFIRMED {
            self.unconfirmed_bytes -= self.unconfirmed.pop_front()?.1.len();
        }
        Some(length)
    }

    /// Everything that was taken has arrived.
    pub(super) fn confirm(&mut self) {
        self.unconfirmed.clear();
        self.unconfirmed_bytes = 0;
    }

    /// Whether everything that was taken is known to have arrived.
    pub(super) fn is_confirmed(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// Everything that was taken until then has arrived. False if there was nothing.
    pub(super) fn confirm_until(&mut self, then: Option<Instant>) -> bool {
        let before = self.unconfirmed.len();
        while let Some((at, first)) = self.unconfirmed.front() {
            if then.is_none_or(|then| *at > then) {
                break;
            }
            self.unconfirmed_bytes -= first.len();
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.len() < before
    }

    /// Everything that was taken until then has arrived, but for the last bytes of all. False if there was nothing.
    pub(super) fn confirm_but(&mut self, unacknowledged: usize, then: Instant) -> bool {
        // What was taken of the next one is in that number, too.
        let open = unacknowledged.saturating_sub(self.taken);
        let before = self.unconfirmed.len();
        while let Some((at, first)) = self.unconfirmed.front() {
            if self.unconfirmed_bytes - first.len() < open || *at > then {
                break;
            }
            self.unconfirmed_bytes -= first.len();
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.len() < before
    }

    /// What was taken and not confirmed and is longer than that waits again, before the rest; that is all that was lost.
    /// False if there is no such datagram.
    pub(super) fn send_longer_again(&mut self, longest: usize) -> bool {
        let unconfirmed = std::mem::take(&mut self.unconfirmed);
        self.unconfirmed_bytes = 0;
        let mut any = false;
        let datagrams = unconfirmed.into_iter().rev().map(|(_, datagram)| datagram);
        for datagram in datagrams.filter(|datagram| datagram.len() > longest) {
            self.waiting.push_front(datagram);
            any = true;
        }
        if any {
            self.limit = self.limit.min(longest.max(SMALLEST_LIMIT));
        }
        any
    }

    /// What was taken and not confirmed waits again, before the rest. What a stream had taken of the rest is after that,
    /// so it waits again, too.
    pub(super) fn send_again(&mut self) {
        self.unconfirmed_bytes = 0;
        if !self.unconfirmed.is_empty() {
            self.taken = 0;
        }
        while let Some((_, datagram)) = self.unconfirmed.pop_back() {
            self.waiting.push_front(datagram);
        }
    }

    /// The stream is gone. What it has taken of the first datagram, in whole lines, is sent; the rest is for the next one. A
    /// packet of which a part is missing is nothing to its reader, so the next one gets all of it.
    pub(super) fn cut(&mut self) {
        if let Some(first) = self.waiting.front_mut().filter(|_| self.framing == Framing::Stream) {
            let whole = (0..self.taken).rfind(|at| may_part(first, *at));
            first.drain(..whole.map_or(0, |at| at + 1));
        }
        self.taken = 0;
    }

    /// The first datagram is longer than the socket takes: makes it two shorter ones. If it is but one line it goes, and
    /// its name is returned. A line with a number below zero stays with the one before it.
    pub(super) fn split(&mut self) -> Option<Vec<u8>> {
        let datagram = self.waiting.pop_front()?;
        let breaks = (0..datagram.len()).filter(|at| may_part(&datagram, *at));
        let Some(at) = breaks.min_by_key(|at| at.abs_diff(datagram.len() / 2)) else {
            return datagram.split(|byte| *byte == b':').next().map(<[u8]>::to_owned);
        };
        let longer = at.max(datagram.len() - at);
        self.limit = self.limit.min(longer.max(SMALLEST_LIMIT));
        self.waiting.push_front(datagram[at + 1..].to_vec());
        self.waiting.push_front(datagram[..at].to_vec());
        None
    }
}

/// Whether a line ends there and the next one doesn't belong to it: a number below zero is a gauge's, which the line before
/// sets to zero.
fn may_part(datagram: &[u8], at: usize) -> bool {
    let next = &datagram[at + 1..];
    let value = next.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    datagram[at] == b'\n' && next.get(value) != Some(&b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limit: usize) -> Outbox {
        Outbox::new(limit, Framing::Stream)
    }

    fn rest(outbox: &Outbox) -> Vec<&str> {
        let text = |datagram| std::str::from_utf8(datagram).unwrap();
        outbox.waiting.iter().map(Vec::as_slice).map(text).collect()
    }

    #[test]
    fn what_may_not_have_arrived_is_sent_again_in_its_order() {
        let mut outbox = outbox(100);
        for datagram in ["a", "b", "c"] {
            outbox.push(datagram.into());
        }
        assert_eq!(outbox.taken(1, Instant::now()), Some(1));
        outbox.confirm();
        assert_eq!(outbox.taken(1, Instant::now()), Some(1));
        outbox.send_again();
        assert_eq!(rest(&outbox), ["b", "c"]);
    }

    #[test]
    fn what_may_not_have_arrived_is_bounded() {
        let mut outbox = outbox(65_507);
        for _ in 0..100 {
            outbox.push(vec![b'x'; 65_507]);
            assert_eq!(outbox.taken(65_507, Instant::now()), Some(65_507));
        }
        outbox.send_again();
        assert!(outbox.waiting_bytes() <= MOST_UNCONFIRMED);
        assert!(outbox.waiting_bytes() > MOST_UNCONFIRMED - 65_507);
    }

    #[test]
    fn what_was_sent_long_ago_is_not_sent_again() {
        let mut outbox = outbox(100);
        let start = Instant::now();
        let after = |milliseconds| start + std::time::Duration::from_millis(milliseconds);
        for (datagram, at) in [("a", 0), ("b", 100), ("c", 200)] {
            outbox.push(datagram.into());
            let at = after(at);
            assert_eq!(outbox.taken(1, at), Some(1));
        }
        assert!(outbox.confirm_until(Some(after(100))));
        assert!(!outbox.confirm_until(Some(after(150))));
        assert!(!outbox.confirm_until(None));
        outbox.send_again();
        assert_eq!(rest(&outbox), ["c"]);
    }

    #[test]
    fn what_is_acknowledged_is_not_sent_again() {
        for (unacknowledged, expected) in [
            (0, "dd"),
            (1, "dd"),
            (2, "ccdd"),
            (3, "ccdd"),
            (4, "bbccdd"),
            (6, "aabbccdd"),
            (99, "aabbccdd"),
        ] {
            let mut outbox = outbox(100);
            let before = Instant::now() - std::time::Duration::from_millis(1);
            for datagram in ["aa", "bb", "cc", "dd"] {
                outbox.push(datagram.into());
            }
            for _ in 0..3 {
                assert_eq!(outbox.taken(2, Instant::now()), Some(2));
            }
            assert_eq!(outbox.taken(1, Instant::now()), None);
            assert!(!outbox.confirm_but(unacknowledged, before));
            outbox.confirm_but(unacknowledged, Instant::now());
            outbox.send_again();
            outbox.cut();
            assert_eq!(rest(&outbox).concat(), expected, "{unacknowledged}");
        }
    }

    #[test]
    fn what_was_too_long_for_the_path_is_sent_again() {
        let mut outbox = outbox(1432);
        for length in [1432, 300, 1200, 100] {
            outbox.push(vec![b'x'; length]);
        }
        for length in [1432, 300, 1200] {
            assert_eq!(outbox.taken(length, Instant::now()), Some(length));
        }
        assert!(outbox.send_longer_again(972));
        assert_eq!(
            outbox.waiting.iter().map(Vec::len).collect::<Vec<_>>(),
            [1432, 1200, 100]
        );
        assert_eq!(outbox.limit(), 972);
        assert!(!outbox.send_longer_again(972));
    }

    #[test]
    fn a_gauge_below_zero_is_not_parted_by_a_new_connection() {
        let mut outbox = outbox(100);
        outbox.push(b"a:1|c\ng:0|g\ng:-5|g\n".to_vec());
        assert_eq!(outbox.taken(13, Instant::now()), None);
        outbox.cut();
        assert_eq!(rest(&outbox), ["g:0|g\ng:-5|g\n"]);
    }

    #[test]
    fn a_new_connection_begins_with_the_line_that_was_cut() {
        for (taken, expected) in [
            (0, "a:1|c\nb:2|c\n"),
            (5, "a:1|c\nb:2|c\n"),
            (6, "b:2|c\n"),
            (11, "b:2|c\n"),
        ] {
            let mut outbox = outbox(100);
            outbox.push(b"a:1|c\nb:2|c\n".to_vec());
            assert_eq!(outbox.taken(taken, Instant::now()), None);
            outbox.cut();
            assert_eq!(outbox.next(), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn a_new_connection_begins_with_the_packet_that_was_cut() {
        for taken in [0, 3, 10, 15] {
            let mut outbox = Outbox::new(100, Framing::Packets);
            let packet = b"\x0b\0\0\0a:1|c\nb:2|c";
            outbox.push(packet.to_vec());
            outbox.push(b"\x05\0\0\0c:3|c".to_vec());
            let whole = outbox.taken(taken, Instant::now());
            assert_eq!(whole, (taken == packet.len()).then_some(taken));
            outbox.cut();
            let expected = if whole.is_some() {
                &b"\x05\0\0\0c:3|c"[..]
            } else {
                packet
            };
            assert_eq!(outbox.next(), Some(expected), "{taken}");
        }
    }

    #[test]
    fn what_a_socket_finds_too_long_is_sent_in_parts() {
        let mut outbox = outbox(100);
        outbox.push(b"a:1|c\nb:0|g\nb:-2|g\nc:3|c".to_vec());
        assert_eq!(outbox.split(), None);
        assert_eq!(rest(&outbox), ["a:1|c\nb:0|g\nb:-2|g", "c:3|c"]);
        assert_eq!(outbox.split(), None);
        assert_eq!(rest(&outbox), ["a:1|c", "b:0|g\nb:-2|g", "c:3|c"]);
        assert_eq!(outbox.split(), Some(b"a".to_vec()));
        assert_eq!(outbox.split(), Some(b"b".to_vec()), "one gauge, which can't be parted");
        assert_eq!(rest(&outbox), ["c:3|c"]);
        assert_eq!(outbox.limit(), 100, "never above what the operator has set");
    }
}
