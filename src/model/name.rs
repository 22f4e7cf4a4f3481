//! Names as they may stand on a page.
//!
//! The mapping is that of Prosody's own renderer, so that names stay what dashboards know: `/` becomes
//! `__`, every other byte outside `[A-Za-z0-9_]` becomes `_`, and a first byte that may not start a name
//! gets a `_` before it. What that leaves unusable is repaired further (OpenMetrics 1.0, "ABNF").

use std::collections::{HashMap, HashSet};

/// The name on the page for a metric family registered under `raw`.
pub fn family(raw: &[u8]) -> String {
    if raw.is_empty() {
        return "unnamed".to_owned();
    }
    let name = escape(raw);
    match is_scrapers(&name) {
        true => format!("exported_{name}"),
        false => name,
    }
}

/// Whether a scraper makes a family of this name itself, for each target (`up`, `scrape_*`), its rules do, or OpenMetrics
/// says what it is. A module's would take the place of that: with a gauge `up` of 0 the whole target would seem to be down.
pub fn is_scrapers(name: &str) -> bool {
    name.starts_with("scrape_") || ["up", "ALERTS", "ALERTS_FOR_STATE", "target_info"].contains(&name)
}

/// The unit as it stands at the end of [`family`] names and in `# UNIT` lines.
pub fn unit(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    raw.iter().for_each(|&byte| push(&mut out, byte));
    out
}

/// The label names on the page for the label keys `raw`, in order: legal, different from each other, and
/// none of `reserved`. Names that start with `__` belong to the scraper.
pub fn label_keys<'a>(raw: impl Iterator<Item = &'a [u8]>, reserved: &[&str]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut numbers = HashMap::new();
    raw.map(|raw| {
        let mut name = if raw.is_empty() {
            "label".to_owned()
        } else {
            escape(raw)
        };
        if name.starts_with("__") {
            name.insert_str(0, "exported");
        } else if reserved.contains(&name.as_str()) {
            name.insert_str(0, "exported_");
        }
        let free = |candidate: &str| !taken.contains(candidate) && !reserved.contains(&candidate);
        if !free(&name) {
            // Each number is tried once, however many keys are equal.
            let next = numbers.entry(name.clone()).or_insert(2_u64);
            name = (*next..)
                .map(|n| (n, format!("{name}_{n}")))
                .find(|(_, candidate)| free(candidate))
                .map(|(n, candidate)| {
                    *next = n + 1;
                    candidate
                })
                .unwrap_or_default();
        }
        taken.insert(name.clone());
        name
    })
    .collect()
}

/// What Prosody makes of a name: legal, unless it is empty.
pub fn escape(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len() + 1);
    raw.iter().for_each(|&byte| push(&mut out, byte));
    if out.starts_with(|first: char| first.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn push(out: &mut String, byte: u8) {
    match byte {
        b'/' => out.push_str("__"),
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte as char),
        _ => out.push('_'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(raw: &[&str]) -> Vec<String> {
        label_keys(raw.iter().map(|key| key.as_bytes()), &["le"])
    }

    #[test]
    fn families_keep_the_names_prosody_gives_them() {
        assert_eq!(family(b"prosody_mod_c2s/connections"), "prosody_mod_c2s__connections");
        assert_eq!(family(b"a.b:c d"), "a_b_c_d");
        assert_eq!(family(b"1x"), "_1x");
        assert_eq!(family("é".as_bytes()), "__");
        assert_eq!(family(b""), "unnamed");
        assert_eq!(unit(b"1/s"), "1__s");
    }

    #[test]
    fn what_scrapers_make_is_theirs() {
        assert_eq!(family(b"up"), "exported_up");
        assert_eq!(family(b"scrape.duration/seconds"), "exported_scrape_duration__seconds");
        assert_eq!(family(b"target_info"), "exported_target_info");
        assert_eq!(family(b"uptime"), "uptime");
        assert_eq!(family(b"scraped"), "scraped");
    }

    #[test]
    fn label_keys_are_legal_and_unique() {
        assert_eq!(keys(&["host", "type"]), ["host", "type"]);
        assert_eq!(keys(&["a", "a", "a"]), ["a", "a_2", "a_3"]);
        assert_eq!(keys(&["a.b", "a_b", "a b"]), ["a_b", "a_b_2", "a_b_3"]);
        assert_eq!(
            keys(&["le", "__name__", ""]),
            ["exported_le", "exported__name__", "label"]
        );
        assert_eq!(keys(&["exported_le", "le"]), ["exported_le", "exported_le_2"]);
        assert_eq!(keys(&["a", "a_2", "a", "a"]), ["a", "a_2", "a_3", "a_4"]);
    }

    #[test]
    fn equal_label_keys_cost_no_more_than_others() {
        // Trying all numbers for each took half a minute.
        let names = keys(&["k"; 20_000]);
        assert_eq!(names.last().map(String::as_str), Some("k_20000"));
    }
}
