//! Lines into datagrams.

/// How lines are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Line feeds between the lines of a datagram.
    Datagrams,
    /// A line feed after each line of a stream.
    Stream,
    /// In a stream, the length of each packet before it, as four bytes, the lowest first; in a packet as in a datagram. So
    /// Datadog's agent has it.
    Packets,
}

impl Framing {
    /// What stands before a packet's lines, in bytes.
    fn header(self) -> usize {
        match self {
            Framing::Packets => size_of::<u32>(),
            Framing::Datagrams | Framing::Stream => 0,
        }
    }
}

/// In a stream only lines that nobody would read are too long, in bytes. A longer line than a datagram may have goes alone.
const LONGEST_LINE: usize = 65_507;

/// Fills datagrams with whole lines.
pub struct Packer {
    framing: Framing,
    filling: Vec<u8>,
}

/// What became of lines.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// They are in the datagram being filled.
    Fits,
    /// The datagram was full and is here; they are in the next one.
    Full(Vec<u8>),
    /// They are longer than a datagram may be.
    TooLong,
}

impl Packer {
    /// One with an empty datagram.
    pub fn new(framing: Framing) -> Packer {
        Packer {
            framing,
            filling: Vec::new(),
        }
    }

    /// Adds lines that must stay together, in a datagram of at most `limit` bytes.
    #[inline]
    pub fn add(&mut self, lines: &[u8], limit: usize) -> Added {
        let end = usize::from(self.framing == Framing::Stream);
        let between = usize::from(self.framing != Framing::Stream && !self.filling.is_empty());
        let longest = match self.framing {
            // Who reads packets has a buffer for them, and ends the connection if one is longer.
            Framing::Datagrams | Framing::Packets => limit,
            Framing::Stream => limit.max(LONGEST_LINE),
        };
        let header = self.framing.header();
        if lines.len() + end > longest {
            return Added::TooLong;
        }
        let full = (self.filling.len() + between + lines.len() + end > limit + header).then(|| self.take());
        if self.filling.is_empty() {
            self.filling.reserve(limit + header);
            self.filling.resize(header, 0);
        } else if self.framing != Framing::Stream {
            self.filling.push(b'\n');
        }
        self.filling.extend_from_slice(lines);
        if self.framing == Framing::Stream {
            self.filling.push(b'\n');
        }
        full.flatten().map_or(Added::Fits, Added::Full)
    }

    /// The datagram as far as it is filled, unless it is empty.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let mut datagram = std::mem::take(&mut self.filling);
        let length = datagram.len().checked_sub(self.framing.header())?;
        if let Some(header) = datagram.first_chunk_mut().filter(|_| self.framing == Framing::Packets) {
            // Far below 4 GiB: a limit is 65,507 at most.
            *header = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        }
        (length > 0).then_some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_or_split_and_datagrams_are_filled(
            lines in prop::collection::vec("[a-z]{1,30}", 0..60),
            limit in 10_usize..80,
            framing in prop::sample::select(&[Framing::Datagrams, Framing::Stream, Framing::Packets][..]),
        ) {
            let stream = framing == Framing::Stream;
            let mut packer = Packer::new(framing);
            let mut datagrams = Vec::new();
            let mut expected = Vec::new();
            for line in &lines {
                match packer.add(line.as_bytes(), limit) {
                    Added::TooLong => continue,
                    Added::Full(datagram) => datagrams.push(datagram),
                    Added::Fits => {}
                }
                expected.push(line.clone());
            }
            datagrams.extend(packer.take());
            prop_assert!(packer.take().is_none());
            if framing == Framing::Packets {
                for packet in &mut datagrams {
                    let length = u32::from_le_bytes(packet[..4].try_into().unwrap());
                    packet.drain(..4);
                    prop_assert_eq!(packet.len(), length as usize);
                }
            }
            let texts: Vec<String> = datagrams.into_iter().map(|d| String::from_utf8(d).unwrap()).collect();
            for text in &texts {
                prop_assert_eq!(text.ends_with('\n'), stream);
                prop_assert!(text.len() <= limit || stream && text.matches('\n').count() == 1);
            }
            let back: Vec<&str> = texts.iter().flat_map(|text| text.trim_end().split('\n')).collect();
            for pair in texts.windows(2) {
                let next = pair[1].split('\n').next().unwrap();
                prop_assert!(pair[0].len() + 1 + next.len() > limit);
            }
            prop_assert_eq!(back, expected);
        }
    }
}
