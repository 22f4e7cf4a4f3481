//! How single values are read: numbers in a range, one of several words, one or a list.

use crate::model::plain_text;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Takes numbers in a range; what isn't one is told with the range.
#[derive(Clone, Copy)]
struct Range<T> {
    least: T,
    most: T,
    unit: &'static str,
}

impl<'de> Visitor<'de> for Range<f64> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}{}", self.least, self.most, self.unit)?;
        match self.unit {
            SECONDS => f.write_str(", or a time such as \"90s\" or \"1h 30m\""),
            _ => Ok(()),
        }
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<f64, E> {
        let text = given.trim();
        let time = humantime::parse_duration(text).map(|time| time.as_secs_f64());
        match time.ok().or_else(|| text.parse().ok()) {
            Some(seconds) if self.unit == SECONDS => self.visit_f64(seconds),
            _ => Err(E::invalid_value(Unexpected::Str(given), &self)),
        }
    }

    fn visit_f64<E: Error>(self, given: f64) -> Result<f64, E> {
        match given >= self.least && given <= self.most {
            true => Ok(given),
            false => Err(E::invalid_value(Unexpected::Float(given), &self)),
        }
    }

    fn visit_i64<E: Error>(self, given: i64) -> Result<f64, E> {
        self.visit_f64(given as f64)
    }
}

impl<'de> Visitor<'de> for Range<i64> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}{}", self.least, self.most, self.unit)
    }

    fn visit_i64<E: Error>(self, given: i64) -> Result<i64, E> {
        match (self.least..=self.most).contains(&given) {
            true => Ok(given),
            false => Err(E::invalid_value(Unexpected::Signed(given), &self)),
        }
    }

    fn visit_f64<E: Error>(self, given: f64) -> Result<i64, E> {
        match given.trunc() == given && given.abs() < 9e15 {
            true => self.visit_i64(given as i64),
            false => Err(E::invalid_value(Unexpected::Float(given), &self)),
        }
    }

    /// Prosody's own pusher takes digits for its port, and an environment variable has nothing else.
    fn visit_str<E: Error>(self, given: &str) -> Result<i64, E> {
        match (given.trim().parse(), given.trim().parse()) {
            (Ok(given), _) => self.visit_i64(given),
            (_, Ok(given)) => self.visit_f64(given),
            _ => Err(E::invalid_value(Unexpected::Str(given), &self)),
        }
    }
}

/// The unit that times are given in, unless they name their own.
const SECONDS: &str = " seconds";

/// A time.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D, least: f64, most: f64) -> Result<Duration, D::Error> {
    let unit = SECONDS;
    from.deserialize_any(Range { least, most, unit })
        .map(Duration::from_secs_f64)
}

/// Takes `false`, or what is in a range.
struct OrFalse(Range<f64>);

impl<'de> Visitor<'de> for OrFalse {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)?;
        f.write_str(", or false")
    }

    fn visit_bool<E: Error>(self, given: bool) -> Result<Option<f64>, E> {
        match given {
            false => Ok(None),
            true => Err(E::invalid_type(Unexpected::Bool(given), &self)),
        }
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<Option<f64>, E> {
        match given {
            "false" => Ok(None),
            given => self
                .0
                .visit_str(given)
                .map(Some)
                .map_err(|_: E| E::invalid_value(Unexpected::Str(given), &self)),
        }
    }

    fn visit_f64<E: Error>(self, given: f64) -> Result<Option<f64>, E> {
        let taken = self.0.visit_f64(given).map(Some);
        taken.map_err(|_: E| E::invalid_value(Unexpected::Float(given), &self))
    }

    fn visit_i64<E: Error>(self, given: i64) -> Result<Option<f64>, E> {
        self.visit_f64(given as f64)
    }
}

/// A time, or `false` for none.
pub(super) fn seconds_or_false<'de, D: Deserializer<'de>>(
    from: D,
    least: f64,
    most: f64,
) -> Result<Option<Duration>, D::Error> {
    let unit = SECONDS;
    let given = from.deserialize_any(OrFalse(Range { least, most, unit }))?;
    Ok(given.map(Duration::from_secs_f64))
}

/// A number.
struct Finite(f64);

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Finite, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Finite;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number; +Inf is added by itself")
            }

            fn visit_f64<E: Error>(self, given: f64) -> Result<Finite, E> {
                match given.is_finite() {
                    true => Ok(Finite(given)),
                    false => Err(E::invalid_value(Unexpected::Float(given), &self)),
                }
            }

            fn visit_i64<E: Error>(self, given: i64) -> Result<Finite, E> {
                self.visit_f64(given as f64)
            }

            fn visit_str<E: Error>(self, given: &str) -> Result<Finite, E> {
                match given.trim().parse() {
                    Ok(given) => self.visit_f64(given),
                    Err(_) => Err(E::invalid_type(Unexpected::Str(given), &self)),
                }
            }
        }
        from.deserialize_any(Any)
    }
}

/// A whole number.
pub(super) fn whole<'de, D: Deserializer<'de>>(
    from: D,
    least: i64,
    most: i64,
    unit: &'static str,
) -> Result<i64, D::Error> {
    from.deserialize_i64(Range { least, most, unit })
}

/// Takes one of several words.
struct Word<'a, T>(&'a [(&'a str, T)]);

impl<T: Copy> Visitor<'_> for Word<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        f.write_str(&names.join(", "))
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<T, E> {
        let found = self.0.iter().find(|(name, _)| *name == given);
        let found = found.map(|(_, value)| *value);
        found.ok_or_else(|| E::invalid_value(Unexpected::Str(given), &self))
    }
}

/// One of several words.
pub(super) fn one_of<'de, D: Deserializer<'de>, T: Copy>(from: D, all: &[(&str, T)]) -> Result<T, D::Error> {
    from.deserialize_str(Word(all))
}

/// Takes a text.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<String, E> {
        Ok(given.to_owned())
    }
}

/// A text; `allowed` tells which, if it is none at all.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D, allowed: &'static str) -> Result<String, D::Error> {
    from.deserialize_str(Text(allowed))
}

/// Takes a list, or what may stand for a list.
struct List<T> {
    what: &'static str,
    text: AsText,
    of: PhantomData<T>,
}

/// What text may stand for a list.
#[derive(PartialEq)]
enum AsText {
    /// One element or several, with commas between them; which is worth saying.
    Usual,
    /// The same, for those who have nothing but text.
    Allowed,
    /// None.
    No,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            AsText::Usual => write!(f, "{} as a string, or a list of them", self.what),
            _ => f.write_str(self.what),
        }
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<Vec<T>, E> {
        if self.text == AsText::No {
            return Err(E::invalid_type(Unexpected::Str(given), &self));
        }
        let parts: Vec<&str> = given.split(',').map(str::trim).collect();
        if parts.len() > 1 && parts.contains(&"") {
            return Err(E::custom("has a comma with nothing before or after it; leave it out"));
        }
        let one = |part| T::deserialize(StrDeserializer::new(part));
        parts.into_iter().map(one).collect()
    }

    /// Lua's empty list is an empty table.
    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Vec<T>, A::Error> {
        match given.next_key::<String>()? {
            None => Ok(Vec::new()),
            Some(_) => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = given.next_element()? {
            all.push(value);
        }
        Ok(all)
    }
}

/// One `what`, or a list of them.
pub(super) fn one_or_more<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
    what: &'static str,
) -> Result<Vec<T>, D::Error> {
    let (text, of) = (AsText::Usual, PhantomData);
    from.deserialize_any(List { what, text, of })
}

/// A list, which `what` describes.
pub(super) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
    what: &'static str,
) -> Result<Vec<T>, D::Error> {
    let (text, of) = (AsText::No, PhantomData);
    from.deserialize_any(List { what, text, of })
}

/// A list of numbers, each larger than the one before.
pub(super) fn ascending<'de, D: Deserializer<'de>>(from: D, what: &'static str) -> Result<Vec<f64>, D::Error> {
    let (text, of) = (AsText::Allowed, PhantomData::<Finite>);
    let all = from.deserialize_any(List { what, text, of })?;
    let all: Vec<f64> = all.into_iter().map(|Finite(number)| number).collect();
    // As they are written, since that is how they are told apart.
    let alike = |pair: &&[f64]| pair[0] >= pair[1] || plain_text(pair[0]) == plain_text(pair[1]);
    match all.windows(2).find(alike) {
        None => Ok(all),
        Some(pair) => Err(D::Error::custom(format!(
            "has {} before {}; put them in ascending order, each once",
            pair[0], pair[1]
        ))),
    }
}
