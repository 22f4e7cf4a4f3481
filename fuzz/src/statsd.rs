//! A strict reader of statsd datagrams, and the sums that a server makes of them. Written from what servers read: `name:value|type`, lines
//! joined by line feeds; DogStatsD's tags (`|#name:value,…`) and container (`|c:…`); tags in the name as telegraf reads them.

use std::collections::BTreeMap;

/// Where tags stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Nowhere.
    Plain,
    /// At the end.
    DogStatsd,
    /// In the name.
    Influx,
}

/// What a server has counted under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The sum of a counter's steps.
    pub counter: Option<f64>,
    /// A gauge's value.
    pub gauge: Option<f64>,
    /// The samples of a timer or distribution.
    pub samples: Vec<f64>,
    /// How many samples these stand for.
    pub stand_for: f64,
}

/// A name with its tags, which mean the same in any order, and so are sorted.
pub type Name = (String, Vec<(String, String)>);

/// A server.
pub struct Server {
    dialect: Dialect,
    container: Option<String>,
    /// All there is.
    pub stored: BTreeMap<Name, Stored>,
}

/// One line.
struct Line {
    name: Name,
    value: f64,
    kind: String,
    rate: f64,
}

impl Server {
    /// One that has nothing yet, and expects this container in each line.
    pub fn new(dialect: Dialect, container: Option<&str>) -> Server {
        Server {
            dialect,
            container: container.map(str::to_owned),
            stored: BTreeMap::new(),
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, datagram: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(datagram).map_err(|why| why.to_string())?;
        let mut zeroed = None;
        for text in text.split('\n') {
            let line = self.line(text).map_err(|why| format!("{why}: {text:?}"))?;
            // A sign makes a step of a gauge, so a value below zero follows a zero.
            if line.kind == "g" && line.value < 0.0 && zeroed.as_ref() != Some(&line.name) {
                return Err(format!("a gauge's step: {text:?}"));
            }
            zeroed = (line.kind == "g" && line.value == 0.0).then(|| line.name.clone());
            self.store(line).map_err(|why| format!("{why}: {text:?}"))?;
        }
        Ok(())
    }

    fn line(&self, text: &str) -> Result<Line, String> {
        let mut parts = text.split('|');
        let (name, value) = parts
            .next()
            .and_then(|part| part.split_once(':'))
            .ok_or("no name and value")?;
        let kind = parts.next().ok_or("no type")?.to_owned();
        let mut line = Line {
            name: self.name(name)?,
            value: number(value)?,
            kind,
            rate: 1.0,
        };
        if !["c", "g", "ms", "h", "d"].contains(&line.kind.as_str()) {
            return Err("a type that nobody knows".to_owned());
        }
        let mut rest = parts.peekable();
        if let Some(rate) = rest.peek().and_then(|part| part.strip_prefix('@')) {
            line.rate = number(rate)?;
            rest.next();
            if rate.contains('e') || !(line.rate > 0.0 && line.rate <= 1.0) || ["g", "c"].contains(&line.kind.as_str())
            {
                return Err("a rate that can't be".to_owned());
            }
        }
        if self.dialect == Dialect::DogStatsd {
            if let Some(all) = rest.peek().and_then(|part| part.strip_prefix('#')) {
                line.name.1 = tags(all, ':')?;
                rest.next();
            }
            let container = rest.next_if(|part| part.starts_with("c:"));
            if container.map(|part| &part[2..]) != self.container.as_deref() {
                return Err("another container".to_owned());
            }
        }
        match rest.next() {
            None => Ok(line),
            Some(_) => Err("something after the end".to_owned()),
        }
    }

    fn name(&self, text: &str) -> Result<Name, String> {
        let (name, all) = match (self.dialect, text.split_once(',')) {
            (Dialect::Influx, Some((name, all))) => (name, tags(all, '=')?),
            _ => (text, Vec::new()),
        };
        // Of all label values only `+Inf` has anything else, as the last part of a bucket's name.
        let plain = name.strip_suffix(".bucket.+Inf").unwrap_or(name);
        let legal =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+".contains(&b));
        match plain.split('.').all(legal) {
            true => Ok((name.to_owned(), all)),
            false => Err("a name that not every server reads".to_owned()),
        }
    }

    fn store(&mut self, line: Line) -> Result<(), String> {
        let stored = self.stored.entry(line.name).or_default();
        match line.kind.as_str() {
            "g" => stored.gauge = Some(line.value),
            "c" if line.value > 0.0 => *stored.counter.get_or_insert(0.0) += line.value,
            "c" => return Err("a step of nothing or less".to_owned()),
            "ms" if line.value < 0.0 => return Err("a time below zero".to_owned()),
            _ => {
                stored.samples.push(line.value);
                stored.stand_for += 1.0 / line.rate;
            }
        }
        Ok(())
    }
}

fn tags(text: &str, separator: char) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for tag in text.split(',') {
        let (name, value) = tag.split_once(separator).ok_or("a tag without a value")?;
        let legal_name = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        let legal_value = |c: char| c.is_alphanumeric() || "_-./+".contains(c);
        if name.is_empty() || value.is_empty() || !name.chars().all(legal_name) || !value.chars().all(legal_value) {
            return Err(format!("the tag {tag:?}"));
        }
        if all.iter().any(|(other, _)| other == name) {
            return Err(format!("two tags {name}"));
        }
        all.push((name.to_owned(), value.to_owned()));
    }
    all.sort();
    Ok(all)
}

fn number(text: &str) -> Result<f64, String> {
    let legal =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"+-.e".contains(&b)) && !text.starts_with('+');
    let value = text
        .parse::<f64>()
        .ok()
        .filter(|value| legal && value.is_finite() && text != "-0");
    value.ok_or_else(|| format!("{text:?} is no number"))
}
