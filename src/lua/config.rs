//! `statistics_config` as the configuration sees it, and what Lua sees of what it comes to.

use crate::config::{Operator, Outline, Value};
use mlua::prelude::*;
use std::collections::BTreeMap;

/// Deeper than any key; a table that holds itself ends here.
const DEEPEST: usize = 4;

/// More values than any configuration has: tables may hold themselves many times.
const MOST: usize = 1_000_000;

/// A Lua value as a configuration value; `nil` is an empty table.
pub(super) fn value(given: &LuaValue) -> Value {
    match given {
        LuaValue::Nil => Value::Table(BTreeMap::new()),
        given => Converter { left: MOST }.convert(given, 0),
    }
}

struct Converter {
    left: usize,
}

impl Converter {
    fn convert(&mut self, given: &LuaValue, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
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
            LuaValue::Table(_) if self.left == 0 => Value::Other("a table with too much in it".to_owned()),
            LuaValue::Table(table) => self.convert_table(table, depth + 1),
            other => Value::Other(format!("a {}", other.type_name())),
        }
    }

    /// A list if all keys are those of one.
    fn convert_table(&mut self, table: &LuaTable, depth: usize) -> Value {
        let mut list = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (key, value) in table.pairs::<LuaValue, LuaValue>().flatten() {
            if self.left == 0 {
                return Value::Other("a table with too much in it".to_owned());
            }
            let value = self.convert(&value, depth);
            match &key {
                LuaValue::String(key) => keys.insert(key.to_string_lossy(), value),
                LuaValue::Integer(number) => list.insert(*number, value),
                LuaValue::Number(number) if number.trunc() == *number => list.insert(*number as i64, value),
                other => keys.insert(format!("({})", other.type_name()), value),
            };
        }
        let is_list = list.keys().zip(1..).all(|(key, number)| *key == number);
        if keys.is_empty() && is_list && !list.is_empty() {
            return Value::List(list.into_values().collect());
        }
        keys.extend(list.into_iter().map(|(number, value)| (number.to_string(), value)));
        Value::Table(keys)
    }
}

/// What of a configuration other programs have to do with.
///
/// # Errors
/// When Lua is out of memory.
pub(super) fn outline(lua: &Lua, outline: Outline) -> LuaResult<LuaTable> {
    let table = lua.create_table()?;
    table.set("listen", outline.listen)?;
    table.set(
        "collect_timeout",
        outline.collect_timeout.map(|time| time.as_secs_f64()),
    )?;
    let path = outline.token_file.map(|path| path.to_string_lossy().into_owned());
    table.set("token_file", path)?;
    Ok(table)
}

/// What the Lua side gathers by itself: a table with a field for each key but `enabled`, `slow_log` in seconds or missing; `false`
/// for nothing at all.
///
/// # Errors
/// When Lua is out of memory.
pub(super) fn operator(lua: &Lua, operator: &Operator) -> LuaResult<LuaValue> {
    if !operator.enabled {
        return Ok(LuaValue::Boolean(false));
    }
    let table = lua.create_table()?;
    for (key, is_on) in [
        ("stanzas", operator.stanzas),
        ("processing", operator.processing),
        ("storage", operator.storage),
        ("certificates", operator.certificates),
        ("bytes", operator.bytes),
        ("active_users", operator.active_users),
    ] {
        table.set(key, is_on)?;
    }
    table.set("remotes", operator.remotes)?;
    table.set("slow_log", operator.slow_log.map(|time| time.as_secs_f64()))?;
    Ok(LuaValue::Table(table))
}
