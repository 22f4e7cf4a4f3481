//! `statistics_config` as the configuration sees it.

use crate::config::Value;
use mlua::prelude::*;
use std::collections::BTreeMap;

/// Deeper than any key; a table that holds itself ends here.
const DEEPEST: usize = 8;

/// A Lua value as a configuration value; `nil` is an empty table.
pub(super) fn value(given: &LuaValue) -> Value {
    match given {
        LuaValue::Nil => Value::Table(BTreeMap::new()),
        given => convert(given, 0),
    }
}

fn convert(given: &LuaValue, depth: usize) -> Value {
    match given {
        LuaValue::Boolean(value) => Value::Bool(*value),
        LuaValue::Integer(n) => Value::Int(*n),
        // Lua before 5.3 has only floats.
        LuaValue::Number(x) if x.trunc() == *x && x.abs() < 9e15 => Value::Int(*x as i64),
        LuaValue::Number(x) => Value::Float(*x),
        LuaValue::String(text) => match text.to_str() {
            Ok(text) => Value::String(text.to_string()),
            Err(_) => Value::Other("a string that is not UTF-8".to_owned()),
        },
        LuaValue::Table(_) if depth == DEEPEST => Value::Other("a table nested too deep".to_owned()),
        LuaValue::Table(table) => convert_table(table, depth + 1),
        other => Value::Other(format!("a {}", other.type_name())),
    }
}

fn convert_table(table: &LuaTable, depth: usize) -> Value {
    let length = table.raw_len();
    let mut list = Vec::new();
    let mut keys = BTreeMap::new();
    for pair in table.pairs::<LuaValue, LuaValue>() {
        let Ok((key, value)) = pair else {
            continue;
        };
        let value = convert(&value, depth);
        match &key {
            LuaValue::String(key) => {
                keys.insert(key.to_string_lossy(), value);
            }
            LuaValue::Integer(_) | LuaValue::Number(_) => list.push((key.clone(), value)),
            other => {
                keys.insert(format!("({})", other.type_name()), value);
            }
        }
    }
    if keys.is_empty() && list.len() == length && length > 0 {
        // `pairs` need not go in order.
        let list = (1..=length).map(|index| {
            let value = table.raw_get::<LuaValue>(index).unwrap_or(LuaValue::Nil);
            convert(&value, depth)
        });
        return Value::List(list.collect());
    }
    for (key, value) in list {
        keys.insert(key.to_string().unwrap_or_default(), value);
    }
    Value::Table(keys)
}
