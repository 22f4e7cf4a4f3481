//! Sample lines. What is the same for all series of a family is put together once, and most of it is so short that it is copied
//! with all the room it could take, which is a few instructions instead of a call.

use crate::encode::{escape, number};
use crate::model::{Column, Number};
use crate::snapshot::Series;
use crate::store::Family;
use std::io::{self, Write};

/// How much text is collected before it goes on: a part of a processor's nearest cache.
const FULL: usize = 8 << 10;

/// What the lines of most of metre's own families take.
const SMALL: usize = 1 << 10;

/// Text that is written again and again.
struct Piece {
    text: Vec<u8>,
    /// The same with zeros after it, if it fits.
    padded: [u8; Piece::ROOM],
}

impl Piece {
    const ROOM: usize = 64;

    fn new(parts: &[&str]) -> Piece {
        let text = parts.concat().into_bytes();
        let mut padded = [0; Piece::ROOM];
        if let Some(room) = padded.get_mut(..text.len()) {
            room.copy_from_slice(&text);
        }
        Piece { text, padded }
    }

    #[inline]
    fn push_to(&self, out: &mut Vec<u8>) {
        if self.text.len() <= Piece::ROOM {
            let end = out.len() + self.text.len();
            out.extend_from_slice(&self.padded);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.text);
        }
    }
}

/// The labels of a family's series: names as they stand on a page, and the labels that all series have.
struct Labels {
    /// What stands before each value.
    before: Vec<Piece>,
    /// What stands after the last one.
    after: Piece,
}

impl Labels {
    fn of(family: &Family) -> io::Result<Labels> {
        let mut before = Vec::new();
        for name in &family.label_names {
            let start = if before.is_empty() { "" } else { "\"," };
            before.push(Piece::new(&[start, name, "=\""]));
        }
        let mut after = String::new();
        if !before.is_empty() {
            after.push('"');
        }
        for (name, value) in family.constant_labels.iter() {
            if !after.is_empty() {
                after.push(',');
            }
            let mut escaped = Vec::new();
            escape::write(&mut escaped, value.as_bytes())?;
            after += &format!("{}=\"{}\"", name, String::from_utf8_lossy(&escaped));
        }
        Ok(Labels {
            before,
            after: Piece::new(&[&after]),
        })
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.after.text.is_empty()
    }

    /// Replaces `out` by the labels of a series: `a="1",b="2"`, without the braces.
    fn write(&self, out: &mut Vec<u8>, series: &Series<'_>) -> io::Result<()> {
        out.clear();
        for (before, value) in self.before.iter().zip(series.label_values()) {
            before.push_to(out);
            escape::write(out, value)?;
        }
        self.after.push_to(out);
        Ok(())
    }
}

/// The beginnings of a family's lines: its name, a suffix and the brace before labels, if there are any.
struct Starts {
    plain: Piece,
    total: Piece,
    count: Piece,
    sum: Piece,
    created: Piece,
}

/// Which of a metric's samples a line is.
#[derive(Clone, Copy)]
pub(super) enum Sample {
    Plain,
    Total,
    Sum,
}

/// What is around the labels of a sample that has one more, of its own: `le` or `quantile`.
pub(super) struct Own {
    start: Piece,
    end: Piece,
}

/// The sample lines of one family.
pub(super) struct Lines<'a, W> {
    out: &'a mut W,
    /// Lines that `out` doesn't have yet.
    text: Vec<u8>,
    name: &'a str,
    names: Labels,
    /// The labels of the series at hand.
    labels: Vec<u8>,
    starts: Starts,
    /// The last time of creation, and as text: many series have the same.
    created: (f64, Vec<u8>),
}

impl<'a, W: Write> Lines<'a, W> {
    /// Lines of `family`, whose samples' names begin with `name`.
    pub(super) fn new(out: &'a mut W, family: &Family, name: &'a str) -> io::Result<Self> {
        let names = Labels::of(family)?;
        let brace = if names.is_empty() { "" } else { "{" };
        // To make the others, too, would take longer than the lines of a family with one series.
        let start = |column: Column| match family.kind.columns().contains(&column) {
            true => Piece::new(&[name, column.suffix(), brace]),
            false => Piece::new(&[]),
        };
        Ok(Lines {
            out,
            text: Vec::with_capacity(SMALL),
            starts: Starts {
                plain: start(Column::Value),
                total: start(Column::Total),
                count: start(Column::Count),
                sum: start(Column::Sum),
                created: start(Column::Created),
            },
            name,
            names,
            labels: Vec::new(),
            created: (f64::NAN, Vec::new()),
        })
    }

    /// What follows is of this series.
    pub(super) fn begin(&mut self, series: &Series<'_>) -> io::Result<()> {
        if self.text.len() >= FULL {
            self.flush()?;
        }
        self.names.write(&mut self.labels, series)
    }

    /// Hands on what is left.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }

    /// A sample.
    pub(super) fn sample(&mut self, which: Sample, value: Number) -> io::Result<()> {
        let start = match which {
            Sample::Plain => &self.starts.plain,
            Sample::Total => &self.starts.total,
            Sample::Sum => &self.starts.sum,
        };
        start.push_to(&mut self.text);
        self.end_labels();
        number::write(&mut self.text, value)?;
        self.text.push(b'\n');
        Ok(())
    }

    /// A number of samples.
    pub(super) fn count(&mut self, count: u64) -> io::Result<()> {
        self.starts.count.push_to(&mut self.text);
        self.end_labels();
        number::write_count(&mut self.text, count)?;
        self.text.push(b'\n');
        Ok(())
    }

    /// When the series was created, in seconds since the epoch.
    pub(super) fn created(&mut self, since: f64) -> io::Result<()> {
        let (last, text) = &mut self.created;
        if *last != since {
            text.clear();
            number::write_time(text, since)?;
            *last = since;
        }
        self.starts.created.push_to(&mut self.text);
        self.end_labels();
        self.text.extend_from_slice(&self.created.1);
        self.text.push(b'\n');
        Ok(())
    }

    #[inline]
    fn end_labels(&mut self) {
        self.text.extend_from_slice(&self.labels);
        match self.names.is_empty() {
            true => self.text.push(b' '),
            false => self.text.extend_from_slice(b"} "),
        }
    }

    /// What samples with this suffix and with a label of their own have.
    pub(super) fn own(&self, suffix: &str, label: &str, text: &str) -> Own {
        let comma = if self.names.is_empty() { "" } else { "," };
        Own {
            start: Piece::new(&[self.name, suffix, "{"]),
            end: Piece::new(&[comma, label, "=\"", text, "\"} "]),
        }
    }

    /// A sample with a label of its own.
    pub(super) fn own_sample(&mut self, own: &Own, value: Number) -> io::Result<()> {
        self.start_own(own);
        number::write(&mut self.text, value)?;
        self.text.push(b'\n');
        Ok(())
    }

    /// The same of a number of samples.
    pub(super) fn own_count(&mut self, own: &Own, count: u64) -> io::Result<()> {
        self.start_own(own);
        number::write_count(&mut self.text, count)?;
        self.text.push(b'\n');
        Ok(())
    }

    #[inline]
    fn start_own(&mut self, own: &Own) {
        own.start.push_to(&mut self.text);
        self.text.extend_from_slice(&self.labels);
        own.end.push_to(&mut self.text);
    }
}
