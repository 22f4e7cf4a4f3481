//! `statsd.rename_tags`: what labels are called as tags.

use super::read_values::text;
use super::Value;
use crate::encode::statsd::Renames;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::Deserializer;
use std::fmt;

/// The longest name of a tag, in bytes: Datadog cuts tags at 200, values included.
const LONGEST: usize = 100;

/// `rename_tags`.
pub(super) fn rename_tags<'de, D: Deserializer<'de>>(from: D) -> Result<Renames, D::Error> {
    from.deserialize_any(Table)
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Renames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a table of labels with the names of their tags, as in { host = \"domain\" }, or false for no renaming",
        )
    }

    fn visit_bool<E: Error>(self, given: bool) -> Result<Renames, E> {
        match given {
            false => Ok(Renames {
                keeps_reserved: true,
                ..Renames::default()
            }),
            true => Err(E::invalid_type(serde::de::Unexpected::Bool(given), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Renames, A::Error> {
        let mut renames = Renames::default();
        while let Some(label) = given.next_key::<String>()? {
            let tag = given.next_value_seed(Tag(&label))?;
            renames.given.insert(label, tag);
        }
        match twice(&renames) {
            None => Ok(renames),
            Some((tag, one, other)) => Err(A::Error::custom(format!(
                "calls both '{one}' and '{other}' \"{tag}\"; choose another name for one of them"
            ))),
        }
    }
}

/// Two labels that have the same tag, if there are any: of those that are given, and of those that are called otherwise by
/// themselves.
fn twice(renames: &Renames) -> Option<(&str, &str, &str)> {
    let given = renames.given.keys().map(String::as_str);
    let reserved = Renames::RESERVED.iter().map(|(label, _)| *label);
    let all: Vec<(&str, &str)> = given
        .clone()
        .chain(reserved.filter(|label| !renames.given.contains_key(*label)))
        .map(|label| (label, renames.of_label(label)))
        .collect();
    given.zip(1..).find_map(|(label, next)| {
        let tag = renames.of_label(label);
        let (other, _) = all[next..].iter().find(|(_, other)| *other == tag)?;
        Some((tag, label, *other))
    })
}

/// The name of the tag of this label.
struct Tag<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Tag<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        let tag = text(from, "the name of the label's tag as a string")?;
        let label = self.0;
        let first = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_label = first(label)
            && !label.starts_with("__")
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_label {
            return Err(D::Error::custom(
                "is no label's name; allowed: names as on the page, of letters, digits and '_', no digit first, and no two '_' \
                 at the beginning",
            ));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
        if !first(&tag) || !tag.bytes().all(legal) || tag.len() > LONGEST {
            return Err(D::Error::custom(format!(
                "is {}; allowed: a tag's name of letters, digits, '_', '-', '.' and '/', a letter or '_' first, {LONGEST} in all",
                Value::String(tag)
            )));
        }
        match tag == "le" {
            true => Err(D::Error::custom(
                "is the string \"le\", which tags of buckets are called; choose another name",
            )),
            false => Ok(tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings;
    use super::*;

    fn renames(given: &str) -> Result<Renames, String> {
        let text = format!("[statsd]\ntags = 'influx'\nrename_tags = {given}\n");
        let table: toml::Table = toml::from_str(&text).unwrap();
        let settings = settings(Value::from(table), false).map_err(|error| error.to_string())?;
        Ok(settings.runtime.statsd.expect("a pusher").lines.renames)
    }

    #[test]
    fn what_labels_are_called() {
        assert_eq!(renames("{}"), Ok(Renames::default()));
        assert!(renames("false").unwrap().keeps_reserved);
        let some = renames("{ host = 'a.b', _x = 'host', env = 'env' }").unwrap();
        assert_eq!(
            ["host", "_x", "env", "device"].map(|label| some.of_label(label)),
            ["a.b", "host", "env", "exported_device"]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (given, expected) in [
            (
                "true",
                "' is true; allowed: a table of labels with the names of their tags, as in { host = \"domain\" }, or false for no \
                 renaming",
            ),
            (
                "{ host = 5 }",
                ".host' is the number 5; allowed: the name of the label's tag as a string",
            ),
            (
                "{ 'a.b' = 'x' }",
                ".a.b' is no label's name; allowed: names as on the page, of letters, digits and '_', no digit first, and no two \
                 '_' at the beginning",
            ),
            (
                "{ host = 'a:b' }",
                ".host' is the string \"a:b\"; allowed: a tag's name of letters, digits, '_', '-', '.' and '/', a letter or '_' \
                 first, 100 in all",
            ),
            (
                "{ host = 'le' }",
                ".host' is the string \"le\", which tags of buckets are called; choose another name",
            ),
            (
                "{ a = 'x', b = 'x' }",
                "' calls both 'a' and 'b' \"x\"; choose another name for one of them",
            ),
            (
                "{ domain = 'vhost' }",
                "' calls both 'domain' and 'host' \"vhost\"; choose another name for one of them",
            ),
        ] {
            let told = renames(given).unwrap_err();
            assert_eq!(told, format!("statistics_config: 'statsd.rename_tags{expected}"));
        }
    }
}
