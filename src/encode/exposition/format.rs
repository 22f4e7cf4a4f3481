//! The text formats that Prometheus reads, and which of them a scraper gets.

use mediatype::{MediaType, MediaTypeList};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0, with an escaping scheme if one was asked for.
    OpenMetrics1(Option<&'static str>),
    /// OpenMetrics 0.0.1: the same text.
    OpenMetrics0,
    /// The Prometheus text format 1.0.0: that of 0.0.4, with an escaping scheme.
    Text1(&'static str),
    /// The Prometheus text format 0.0.4.
    Text0,
}

/// How names with characters other than letters, digits, `_` and `:` are written (Prometheus, "UTF-8 escaping schemes"). metre
/// has no such names, so in these schemes a page is the same; `allow-utf8` is the spelling of "Scrape protocol content
/// negotiation". Whoever asks for another scheme (`dots`, which doubles each underscore) gets the first one.
const SCHEMES: [&str; 4] = ["underscores", "values", "allow-utf-8", "allow-utf8"];

impl Format {
    /// What `registry:render()` returns.
    pub const OPENMETRICS: Format = Format::OpenMetrics1(None);

    /// Whether it is one of the OpenMetrics formats.
    pub fn is_openmetrics(self) -> bool {
        matches!(self, Format::OpenMetrics1(_) | Format::OpenMetrics0)
    }

    /// Its name for metre's own metrics.
    pub fn name(self) -> &'static str {
        match self {
            Format::OpenMetrics1(_) => "openmetrics-1.0.0",
            Format::OpenMetrics0 => "openmetrics-0.0.1",
            Format::Text1(_) => "text-1.0.0",
            Format::Text0 => "text-0.0.4",
        }
    }

    /// Its `Content-Type` (OpenMetrics 1.0, "Protocol Negotiation"; Prometheus, "Content-Type Response").
    pub fn content_type(self) -> String {
        let (media_type, version, escaping) = match self {
            Format::OpenMetrics1(escaping) => ("application/openmetrics-text", "1.0.0", escaping),
            Format::OpenMetrics0 => ("application/openmetrics-text", "0.0.1", None),
            Format::Text1(escaping) => ("text/plain", "1.0.0", Some(escaping)),
            Format::Text0 => ("text/plain", "0.0.4", None),
        };
        let escaping = escaping.map_or(String::new(), |scheme| format!("; escaping={scheme}"));
        format!("{media_type}; version={version}; charset=utf-8{escaping}")
    }

    /// The format for a scraper that sends this `Accept` header: the one with the highest quality; of several, the one that
    /// is mentioned first. If none can be had, or nothing was asked for, text 0.0.4 (Prometheus, "Selection of Format").
    pub fn negotiate(accept: &str) -> Format {
        let ranges: Vec<MediaType<'_>> = MediaTypeList::new(accept).flatten().collect();
        let mut best = (0, Format::Text0);
        // Each of these is wanted as much as the range that describes it best says (RFC 9110, section 12.5.1).
        for version in [
            Version::Text0,
            Version::OpenMetrics1,
            Version::OpenMetrics0,
            Version::Text1,
        ] {
            let fitting = ranges.iter().enumerate();
            let fitting = fitting.filter_map(|(at, range)| Some((version.fit(range)?, usize::MAX - at, range)));
            let Some((_, position, range)) = fitting.max_by_key(|(fit, position, _)| (*fit, *position)) else {
                continue;
            };
            // Ahead of others by quality, then by position.
            let (quality, position) = (quality(range), position as u128);
            let rank = (u128::from(quality) << 64) | position;
            if quality > 0 && rank > best.0 {
                best = (rank, version.format(range));
            }
        }
        best.1
    }
}

/// What can be asked for, before anything is said about escaping.
#[derive(Clone, Copy)]
enum Version {
    OpenMetrics1,
    OpenMetrics0,
    Text1,
    Text0,
}

impl Version {
    /// How well a range of media types describes this format, if it is one of them at all.
    fn fit(self, range: &MediaType<'_>) -> Option<u8> {
        let (type_, subtype) = match self {
            Version::OpenMetrics1 | Version::OpenMetrics0 => ("application", "openmetrics-text"),
            Version::Text1 | Version::Text0 => ("text", "plain"),
        };
        if range.ty == "*" && range.subty == "*" {
            return Some(0);
        }
        if range.suffix.is_some() || range.ty != type_ {
            return None;
        }
        if range.subty == "*" {
            return Some(1);
        }
        if range.subty != subtype {
            return None;
        }
        let version = parameter(range, "version");
        match (self, version.as_deref()) {
            (Version::OpenMetrics1, Some("1.0.0")) | (Version::OpenMetrics0, Some("0.0.1")) => Some(3),
            (Version::Text1, Some("1.0.0")) | (Version::Text0, Some("0.0.4")) => Some(3),
            (Version::OpenMetrics0, _) | (Version::Text1, _) | (Version::Text0, Some(_)) => None,
            // "The oldest unless newer is asked": 0.0.1 is no version of the standard.
            (Version::OpenMetrics1, Some("0.0.1")) => None,
            (Version::OpenMetrics1, _) | (Version::Text0, None) => Some(2),
        }
    }

    fn format(self, range: &MediaType<'_>) -> Format {
        let asked = parameter(range, "escaping");
        let escaping = asked.map(|asked| {
            SCHEMES
                .into_iter()
                .find(|scheme| *scheme == asked)
                .unwrap_or(SCHEMES[0])
        });
        match self {
            Version::OpenMetrics1 => Format::OpenMetrics1(escaping),
            Version::OpenMetrics0 => Format::OpenMetrics0,
            Version::Text1 => Format::Text1(escaping.unwrap_or(SCHEMES[0])),
            Version::Text0 => Format::Text0,
        }
    }
}

fn parameter(range: &MediaType<'_>, name: &str) -> Option<String> {
    range
        .params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.unquoted_str().into_owned())
}

/// In thousandths, as many as HTTP allows; 0 if it can't be read, since then it can't be what is wanted most.
fn quality(range: &MediaType<'_>) -> u16 {
    match parameter(range, "q") {
        None => 1000,
        Some(text) => thousandths(&text),
    }
}

/// A quality value in thousandths (RFC 9110, section 12.4.2); 0 if it isn't one.
pub fn thousandths(text: &str) -> u16 {
    match text.trim().parse::<f64>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_want_most() {
        let openmetrics = |escaping| Format::OpenMetrics1(escaping).content_type();
        let text0 = "text/plain; version=0.0.4; charset=utf-8";
        for (accept, expected) in [
            // Prometheus 2.42, 3, and 3 that would rather have protobuf.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                openmetrics(None),
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                openmetrics(Some("allow-utf-8")),
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 text/plain;version=1.0.0;escaping=underscores;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                "text/plain; version=1.0.0; charset=utf-8; escaping=underscores".to_owned(),
            ),
            (
                "application/openmetrics-text; version=0.0.1",
                Format::OpenMetrics0.content_type(),
            ),
            ("application/openmetrics-text", openmetrics(None)),
            ("application/openmetrics-text; version=2.0.0", openmetrics(None)),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.5",
                openmetrics(None),
            ),
            (
                "application/openmetrics-text; version=1.0.0; escaping=dots",
                openmetrics(Some("underscores")),
            ),
            (
                "application/openmetrics-text; version=1.0.0; escaping=allow-utf8",
                openmetrics(Some("allow-utf8")),
            ),
            (
                "application/openmetrics-text; version=1.0.0; escaping=\"x; y\"",
                openmetrics(Some("underscores")),
            ),
            ("application/*", openmetrics(None)),
            // The first of equals; nobody gets what they have ruled out.
            ("application/openmetrics-text, text/plain", openmetrics(None)),
            ("text/plain, application/openmetrics-text", text0.to_owned()),
            ("*/*;q=0.5, application/openmetrics-text;q=0.4", text0.to_owned()),
            ("application/openmetrics-text;q=0", text0.to_owned()),
            ("*/*, application/openmetrics-text;q=0", text0.to_owned()),
            ("text/plain;version=0.0.4;q=0, */*;q=0.1", openmetrics(None)),
            ("application/openmetrics-text;q=nan, text/plain;q=0.1", text0.to_owned()),
            ("application/openmetrics-text;q=7, text/plain;q=0.1", text0.to_owned()),
            // A browser, curl, nothing, nothing of ours, garbage.
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                text0.to_owned(),
            ),
            ("*/*", text0.to_owned()),
            ("", text0.to_owned()),
            ("text/plain;version=9", text0.to_owned()),
            ("image/png", text0.to_owned()),
            (",;q=,//;=\"", text0.to_owned()),
        ] {
            assert_eq!(Format::negotiate(accept).content_type(), expected, "{accept}");
        }
    }
}
