//! From values to the schema, through serde, with errors that know their key. What comes from an environment variable is text, whatever
//! it is for: `""` is as if the key weren't there, `"true"` and `"false"` are booleans. (Numbers and lists: `read_values`.)

use super::error::Origin;
use super::value::is_unset;
use super::{Config, ConfigError, Value};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{forward_to_deserialize_any, Deserialize, Deserializer};
use std::collections::{btree_map, BTreeMap};

/// The configuration that `value`, found in `origin`, stands for.
pub(super) fn config(value: &Value, origin: &Origin<'_>) -> Result<Config, ConfigError> {
    Config::deserialize(Reader(value)).map_err(|error| error.in_origin(origin))
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a Value);

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let given = self.0;
        match given {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_str(value),
            Value::List(list) => visitor.visit_seq(List(list.iter().enumerate())),
            Value::Table(table) => visitor.visit_map(Table::of(table, &[])),
            Value::Other(_) => Err(ConfigError::wrong_type(given, &visitor)),
        }
        .map_err(|error: ConfigError| error.about(given))
    }

    // What serde derives would take a list for a struct, field by field.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        match self.0 {
            Value::List(_) => Err(ConfigError::wrong_type(self.0, &visitor)),
            Value::Table(table) => visitor
                .visit_map(Table::of(table, fields))
                .map_err(|error: ConfigError| error.about(self.0)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.0 {
            Value::String(text) if text == "true" => visitor.visit_bool(true),
            Value::String(text) if text == "false" => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    // What is given is there.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq unit unit_struct
        newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

struct List<'a>(std::iter::Enumerate<std::slice::Iter<'a, Value>>);

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ConfigError> {
        self.0
            .next()
            .map(|(index, value)| {
                seed.deserialize(Reader(value))
                    .map_err(|error| error.inside(&(index + 1).to_string()))
            })
            .transpose()
    }
}

struct Table<'a> {
    pairs: btree_map::Iter<'a, String, Value>,
    /// The keys that there may be, as far as the schema has them; one of these that is not set is left out.
    fields: &'static [&'static str],
    current: Option<(&'a str, &'a Value)>,
}

impl<'a> Table<'a> {
    fn of(table: &'a BTreeMap<String, Value>, fields: &'static [&'static str]) -> Table<'a> {
        Table {
            pairs: table.iter(),
            fields,
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Table<'_> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConfigError> {
        let fields = self.fields;
        let is_given = |(key, value): &(&String, &Value)| !(fields.contains(&key.as_str()) && is_unset(key, value));
        let Some((key, value)) = self.pairs.find(is_given) else {
            return Ok(None);
        };
        self.current = Some((key, value));
        seed.deserialize(key.as_str().into_deserializer())
            .map(Some)
            .map_err(|error: ConfigError| error.with_given(value))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ConfigError> {
        match self.current.take() {
            Some((key, value)) => seed.deserialize(Reader(value)).map_err(|error| error.inside(key)),
            None => Err(serde::de::Error::custom("a value without a key")),
        }
    }
}
