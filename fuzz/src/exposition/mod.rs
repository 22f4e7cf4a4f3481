//! A strict parser of pages, written from the formats' specifications: OpenMetrics 1.0 ("Overall Structure", "ABNF", "MetricFamily"
//! and the types), and Prometheus' text format. It has nothing in common with the encoder.

mod rules;

use std::collections::HashSet;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4 and 1.0.0.
    Text,
}

/// One family of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// Its name, as TYPE has it.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its unit, if there is one.
    pub unit: Option<String>,
    /// Its help text, unescaped; empty without any.
    pub help: String,
    /// What it holds, in order.
    pub metrics: Vec<Metric>,
}

/// The samples of one label set.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Names and values, without `le` and `quantile` where they are the type's own.
    pub labels: Vec<(String, String)>,
    /// The samples, in order.
    pub samples: Vec<Sample>,
}

/// A line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What follows the family's name in its own.
    pub suffix: String,
    /// The text of `le` or `quantile`.
    pub own: Option<String>,
    /// The value as it stands there.
    pub value: String,
}

impl Metric {
    /// The value of the sample with this suffix and without a label of its own.
    pub fn value(&self, suffix: &str) -> Option<&str> {
        let plain = |sample: &&Sample| sample.own.is_none() && sample.suffix == suffix;
        self.samples.iter().find(plain).map(|sample| sample.value.as_str())
    }

    /// The samples with a label of their own.
    pub fn own(&self) -> impl Iterator<Item = (&str, &str)> {
        self.samples
            .iter()
            .filter_map(|sample| Some((sample.own.as_deref()?, sample.value.as_str())))
    }
}

/// The suffixes that a family's samples can have, and all names that it takes with them.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "gauge" => &[""],
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "summary" => &["", "_count", "_sum", "_created"],
        _ => &[],
    }
}

/// The families of a page.
///
/// # Errors
/// Whatever is not as the format wants it.
pub fn parse(page: &[u8], dialect: Dialect) -> Result<Vec<Family>, String> {
    let text = std::str::from_utf8(page).map_err(|why| why.to_string())?;
    let mut families = Vec::new();
    let mut rest = text;
    let mut names = HashSet::new();
    let mut at_end = dialect == Dialect::Text;
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if line == "# EOF" && dialect == Dialect::OpenMetrics {
            at_end = true;
            break;
        }
        line_of(line, dialect, &mut families, &mut names).map_err(|why| format!("{why}: {line:?}"))?;
    }
    if !rest.is_empty() || !at_end {
        return Err("the end is missing, or there is something after it".to_owned());
    }
    for family in &families {
        rules::check(family, dialect).map_err(|why| format!("{why} in {family:?}"))?;
    }
    rules::clashes(&families, dialect)?;
    Ok(families)
}

fn line_of(
    line: &str,
    dialect: Dialect,
    families: &mut Vec<Family>,
    names: &mut HashSet<String>,
) -> Result<(), String> {
    let Some(comment) = line.strip_prefix("# ") else {
        let family = families.last_mut().ok_or("a sample before any family")?;
        return sample(line, family);
    };
    let (keyword, comment) = comment.split_once(' ').ok_or("a comment of no kind")?;
    let (name, text) = comment.split_once(' ').ok_or("metadata without a text")?;
    if !is_name(name, true) || text.is_empty() {
        return Err("metadata without a name or a text".to_owned());
    }
    // In OpenMetrics TYPE begins a family; in text HELP does, if there is one.
    let first = match dialect {
        Dialect::OpenMetrics => keyword == "TYPE",
        Dialect::Text => keyword == "HELP" || families.last().is_none_or(|family| family.name != name),
    };
    if first {
        if !names.insert(name.to_owned()) {
            return Err("a family that was there before".to_owned());
        }
        families.push(Family {
            name: name.to_owned(),
            ..Family::default()
        });
    }
    let family = families.last_mut().ok_or("metadata before any family")?;
    if family.name != name || !family.metrics.is_empty() {
        return Err("metadata in the wrong place".to_owned());
    }
    match (keyword, dialect) {
        ("TYPE", _) if family.kind.is_empty() && !suffixes(text).is_empty() => family.kind = text.to_owned(),
        ("UNIT", Dialect::OpenMetrics) if family.unit.is_none() && family.help.is_empty() => {
            if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || !name.ends_with(&format!("_{text}")) {
                return Err("no unit of this name".to_owned());
            }
            family.unit = Some(text.to_owned());
        }
        ("HELP", _) if family.help.is_empty() => {
            if dialect == Dialect::Text && !family.kind.is_empty() {
                return Err("HELP after TYPE".to_owned());
            }
            family.help = unescape(text, dialect == Dialect::OpenMetrics)?;
        }
        _ => return Err("metadata of no kind, twice or out of order".to_owned()),
    }
    Ok(())
}

fn is_name(name: &str, colons: bool) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':');
    !name.is_empty() && name.bytes().all(legal) && !name.as_bytes()[0].is_ascii_digit()
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if quotes => return Err("a bare quote".to_owned()),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('"') if quotes => out.push('"'),
                other => return Err(format!("an escape of {other:?}")),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

fn sample(line: &str, family: &mut Family) -> Result<(), String> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"").ok_or("no label")?;
            let end = closing_quote(after).ok_or("an open quote")?;
            if !is_name(label, false) || labels.iter().any(|(other, _)| other == label) {
                return Err(format!("a label called {label:?}"));
            }
            labels.push((label.to_owned(), unescape(&after[..end], true)?));
            inside = &after[end + 1..];
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            inside = inside.strip_prefix(',').ok_or("something between labels")?;
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    if !is_number(value) {
        return Err("a value that is no number".to_owned());
    }
    // The text format's counters have the name of their samples.
    let suffix = match family.kind.as_str() {
        "counter" if name == family.name && name.ends_with("_total") => "",
        _ => name
            .strip_prefix(family.name.as_str())
            .ok_or("a sample of another family")?,
    };
    let own = match (family.kind.as_str(), suffix) {
        ("histogram", "_bucket") => Some("le"),
        ("summary", "") => Some("quantile"),
        _ => None,
    };
    let own = match own {
        None => None,
        Some(own) => {
            let at = labels
                .iter()
                .position(|(name, _)| name == own)
                .ok_or("no label of its own")?;
            Some(labels.remove(at).1)
        }
    };
    let sample = Sample {
        suffix: suffix.to_owned(),
        own,
        value: value.to_owned(),
    };
    match family.metrics.last_mut() {
        Some(metric) if metric.labels == labels && family.kind != "gauge" => metric.samples.push(sample),
        _ => family.metrics.push(Metric {
            labels,
            samples: vec![sample],
        }),
    }
    Ok(())
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })
}

fn is_number(text: &str) -> bool {
    if ["NaN", "+Inf", "-Inf"].contains(&text) {
        return true;
    }
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(mantissa),
    };
    whole && exponent.is_none_or(|exponent| exponent.strip_prefix(['+', '-']).is_some_and(digits))
}

/// A number of a page.
pub fn number(text: &str) -> f64 {
    match text {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().expect("is_number() holds"),
    }
}
