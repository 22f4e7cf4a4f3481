//! metre's store behind mlua's `UserData`, as anybody would bind it at first: what metre's own wall is measured against.
//!
//! `require "plain_binding".registry()` has families as Prosody's registry has them. Only what the benchmarks call is there: no
//! iteration, no fields, and each `with_labels()` makes a new object.

use metre::encode::exposition::{self, Format, Options};
use metre::model::{Kind, LabelSet, Number};
use metre::store::{updates, FamilySpec, FamilyWriter, Location, Store};
use mlua::prelude::*;
use mlua::Variadic;
use std::cell::RefCell;
use std::rc::Rc;

/// A store.
struct Registry(Store);

/// A family, with the values of the first labels if it was made by `with_partial_label()`.
struct Family {
    writer: Rc<RefCell<FamilyWriter>>,
    first: Vec<Vec<u8>>,
}

/// A series.
struct Metric {
    writer: Rc<RefCell<FamilyWriter>>,
    at: Location,
}

type Registration = (
    LuaString,
    Option<LuaString>,
    Option<LuaString>,
    Option<Vec<LuaString>>,
    Option<LuaTable>,
);

fn bytes(text: Option<LuaString>) -> Vec<u8> {
    text.map(|text| text.as_bytes().to_vec()).unwrap_or_default()
}

fn number(value: LuaValue) -> LuaResult<Number> {
    match value {
        LuaValue::Integer(n) => Ok(Number::Int(n)),
        LuaValue::Number(x) => Ok(Number::Float(x)),
        other => Err(LuaError::runtime(format!(
            "a number expected, got {}",
            other.type_name()
        ))),
    }
}

impl Registry {
    fn register(&self, kind: Kind, (name, unit, help, label_keys, extra): Registration) -> LuaResult<Family> {
        let (mut name, unit) = (name.as_bytes().to_vec(), bytes(unit));
        if !unit.is_empty() {
            name.push(b'_');
            name.extend_from_slice(&unit);
        }
        let buckets = match extra {
            Some(extra) => extra.get::<Option<Vec<LuaValue>>>("buckets")?.unwrap_or_default(),
            None => Vec::new(),
        };
        let keys = label_keys.unwrap_or_default();
        let spec = FamilySpec {
            kind,
            name,
            unit,
            help: bytes(help),
            label_keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            thresholds: buckets.into_iter().map(number).collect::<LuaResult<_>>()?,
            leaves: false,
            uncreated: false,
            names_others: false,
        };
        let (writer, _) = self.0.register(spec).map_err(LuaError::runtime)?;
        Ok(Family {
            writer: Rc::new(RefCell::new(writer)),
            first: Vec::new(),
        })
    }
}

impl LuaUserData for Registry {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        for kind in Kind::ALL {
            methods.add_method(kind.name(), move |_, this, given| this.register(kind, given));
        }
        methods.add_method("render", |lua, this, ()| {
            let mut page = Vec::new();
            exposition::page(&mut page, &this.0, Options::default(), Format::OPENMETRICS, None)?;
            lua.create_string(page)
        });
    }
}

impl LuaUserData for Family {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("with_labels", |_, this, values: Variadic<LuaString>| {
            let mut labels = LabelSet::new();
            this.first.iter().for_each(|value| labels.push(value));
            values.iter().for_each(|value| labels.push(&value.as_bytes()));
            let found = this.writer.borrow_mut().find_or_create(labels.as_bytes());
            let (at, _) = found.ok_or_else(|| LuaError::runtime("too many series"))?;
            let writer = Rc::clone(&this.writer);
            Ok(Metric { writer, at })
        });
        methods.add_method("with_partial_label", |_, this, value: LuaString| {
            let mut first = this.first.clone();
            first.push(value.as_bytes().to_vec());
            let writer = Rc::clone(&this.writer);
            Ok(Family { writer, first })
        });
    }
}

impl LuaUserData for Metric {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("add", |_, this, step| {
            let writer = this.writer.borrow();
            let (record, family, step) = (writer.record(this.at), writer.family(), number(step)?);
            match family.kind {
                Kind::Gauge => updates::gauge::add(record, step, &family.cork),
                Kind::Counter => drop(updates::counter::add(record, step).map_err(refused)?),
                _ => return Err(LuaError::runtime("only gauges and counters have add()")),
            }
            Ok(())
        });
        methods.add_method("set", |_, this, value| {
            let writer = this.writer.borrow();
            let (record, family, value) = (writer.record(this.at), writer.family(), number(value)?);
            match family.kind {
                Kind::Gauge => updates::gauge::set(record, value, &family.cork),
                Kind::Counter => drop(updates::counter::set(record, value, family).map_err(refused)?),
                _ => return Err(LuaError::runtime("only gauges and counters have set()")),
            }
            Ok(())
        });
        methods.add_method("sample", |_, this, sample| {
            let writer = this.writer.borrow();
            let (record, family, sample) = (writer.record(this.at), writer.family(), number(sample)?);
            let taken = match family.kind {
                Kind::Histogram => updates::samples::histogram(record, sample, family),
                Kind::Summary => updates::samples::summary(record, sample, family),
                _ => return Err(LuaError::runtime("only histograms and summaries have sample()")),
            };
            taken.map(drop).map_err(refused)
        });
    }
}

fn refused(why: metre::store::Refused) -> LuaError {
    LuaError::runtime(why.reason())
}

/// What `require` returns.
///
/// # Errors
/// When Lua is out of memory.
#[mlua::lua_module]
fn plain_binding(lua: &Lua) -> LuaResult<LuaTable> {
    let registry = lua.create_function(|_, ()| Ok(Registry(Store::new())))?;
    lua.create_table_from([("registry", registry)])
}
