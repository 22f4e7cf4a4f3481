//! The calls that are not made a thousand times a second, through mlua.

use super::guard::guarded;
use super::{config, register};
use crate::config as configuration;
use crate::encode::exposition::{self, Format};
use crate::model::{self, Kind};
use crate::policy;
use crate::runtime::{panics, Runtime, StatsdOptions};
use crate::store::Store;
use mlua::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The version that this module is built for.
const LUA_VERSION: &str = if cfg!(feature = "lua54") {
    "5.4"
} else if cfg!(feature = "lua53") {
    "5.3"
} else if cfg!(feature = "lua52") {
    "5.2"
} else if cfg!(feature = "lua51") {
    "5.1"
} else {
    "jit"
};

/// One provider: what `metre.new()` makes.
struct Provider {
    store: Arc<Store>,
    runtime: Runtime,
    page: exposition::Options,
    /// The last page's memory, for the next one, unless that is a lot.
    buffer: RefCell<Vec<u8>>,
}

/// What is kept of a page's memory at most, in bytes.
const LARGEST_KEPT: usize = 8 << 20;

/// A function's results, or a message that it returns after `nil`.
type Answer = Result<LuaMultiValue, String>;

/// Sets `provider` in `functions`: `provider(statistics_config, statsd)` makes a provider's functions, or returns `nil`
/// and what is wrong with the configuration. With `statsd` the provider pushes to statsd even if the configuration
/// doesn't say so.
pub(super) fn export(lua: &Lua, functions: &LuaTable) -> LuaResult<()> {
    functions.set(
        "provider",
        answering(lua, "new", |lua, (given, statsd): (LuaValue, bool)| {
            let settings = configuration::settings(config::value(&given), statsd).map_err(text)?;
            let (settings, policy, operator) = (settings.runtime, settings.policy, settings.operator);
            let samples = settings.statsd.as_ref().map(StatsdOptions::samples);
            let store = Arc::new(Store::with(policy, samples));
            let page = settings.page;
            let provider = Rc::new(Provider {
                runtime: Runtime::new(&store, settings, LUA_VERSION),
                store,
                page,
                buffer: RefCell::default(),
            });
            let functions = functions_of(lua, &provider).map_err(text)?;
            let operator = config::operator(lua, &operator).map_err(text)?;
            functions.set("operator", operator).map_err(text)?;
            answer(lua, functions)
        })?,
    )
}

/// What `explain` is called with.
type Explained = (LuaValue, LuaValue, LuaValue);

fn explained((name, kind, host): &Explained) -> Result<(String, Option<Kind>, Option<String>), String> {
    let text = |value: &LuaValue| value.as_string().map(|text| text.to_string_lossy());
    let kind = match text(kind) {
        None => None,
        Some(name) => Some(
            Kind::from_name(&name)
                .ok_or_else(|| format!("no type is called {name}; there are gauge, counter, histogram and summary"))?,
        ),
    };
    let name = text(name).filter(|name| !name.is_empty() && !name.contains(['*', '?']));
    let name = name.ok_or("the name of a metric family expected, not a pattern")?;
    // As a module has registered it, or as it stands on the page.
    Ok((model::name::family(name.as_bytes()), kind, text(host)))
}

/// Sets in `functions` what looks at a configuration:
/// - `check(statistics_config, statsd)`: a list of all that is wrong with it;
/// - `explain(statistics_config, name, type or nil, host or nil)`: what it decides for families of that name, or `nil`
///   and what is wrong;
/// - `outline(statistics_config, statsd)`: what of it other programs on the machine have to do with, or `nil` if it
///   is wrong;
/// - `keys`: a list of the keys that it may have; and `version`, metre's own.
pub(super) fn export_checks(lua: &Lua, functions: &LuaTable) -> LuaResult<()> {
    functions.set(
        "check",
        answering(lua, "check", |lua, (given, statsd): (LuaValue, bool)| {
            let given = config::value(&given);
            let mut errors = configuration::check(given.clone(), statsd);
            if errors.is_empty() {
                errors.extend(configuration::check_files(given));
            }
            let texts = errors.iter().map(ToString::to_string);
            answer(lua, lua.create_sequence_from(texts).map_err(text)?)
        })?,
    )?;
    functions.set("version", env!("CARGO_PKG_VERSION"))?;
    functions.set("keys", lua.create_sequence_from(configuration::keys())?)?;
    functions.set(
        "outline",
        answering(lua, "outline", |lua, (given, statsd): (LuaValue, bool)| {
            let Some(outline) = configuration::outline(config::value(&given), statsd) else {
                return answer(lua, ());
            };
            answer(lua, config::outline(lua, outline).map_err(text)?)
        })?,
    )?;
    functions.set(
        "explain",
        answering(
            lua,
            "explain",
            |lua, (given, name, kind, host): (LuaValue, LuaValue, LuaValue, LuaValue)| {
                let (name, kind, host) = explained(&(name, kind, host))?;
                let told = configuration::explain(config::value(&given), &name, kind, host.as_deref()).map_err(text)?;
                answer(lua, told)
            },
        )?,
    )
}

fn functions_of(lua: &Lua, provider: &Rc<Provider>) -> LuaResult<LuaTable> {
    let table = lua.create_table()?;
    let set = |name: &'static str, run: fn(&Lua, &Provider, bool) -> Answer| {
        let provider = Rc::clone(provider);
        table.set(
            name,
            answering(lua, name, move |lua, given: bool| run(lua, &provider, given))?,
        )
    };
    set("cork", |lua, provider, _| {
        provider.store.cork();
        answer(lua, ())
    })?;
    set("uncork", |lua, provider, _| {
        provider.store.uncork();
        answer(lua, ())
    })?;
    set("discard", |lua, provider, _| {
        provider.store.discard();
        answer(lua, ())
    })?;
    set("start", |lua, provider, _| {
        answer(lua, (true, provider.runtime.start()?))
    })?;
    set("stop", |lua, provider, _| {
        provider.runtime.stop();
        answer(lua, ())
    })?;
    set("is_running", |lua, provider, _| {
        answer(lua, provider.runtime.is_running())
    })?;
    set("flush", |lua, provider, _| {
        let result = provider.runtime.flush();
        answer(lua, (result.is_ok(), result.err()))
    })?;
    // From now on the descriptor that `start` has returned is watched.
    set("watched", |lua, provider, manual| {
        provider.runtime.is_watched(manual);
        answer(lua, ())
    })?;
    // It was readable: whether a collection has to be run.
    set("answer", |lua, provider, _| answer(lua, provider.runtime.answer()))?;
    // A collection has ended: whether it succeeded.
    set("collected", |lua, provider, succeeded| {
        provider.runtime.collected(succeeded);
        answer(lua, ())
    })?;
    // A flat list: a level, a text, a level, …
    set("notices", |lua, provider, _| {
        let notices = provider.runtime.notices().into_iter();
        let flat = notices.flat_map(|(level, text)| [level.name().to_owned(), text]);
        answer(lua, lua.create_sequence_from(flat).map_err(text)?)
    })?;
    set("render", |lua, provider, _| {
        // Taken out, since a finalizer that Lua runs meanwhile may render too.
        let mut page = provider.buffer.take();
        page.clear();
        provider.runtime.update_own_metrics();
        exposition::page(&mut page, &provider.store, provider.page, Format::OPENMETRICS, None).map_err(text)?;
        let result = lua.create_string(&page);
        if page.capacity() <= LARGEST_KEPT {
            provider.buffer.replace(page);
        }
        answer(lua, result.map_err(text)?)
    })?;
    let expires = provider
        .store
        .policy()
        .rules
        .iter()
        .any(|rule| rule.idle_ttl.unwrap_or(0) > 0);
    table.set("expires", expires)?;
    // For tests: time passes at once.
    let of_skip = Rc::clone(provider);
    table.set(
        "skip",
        answering(lua, "skip", move |lua, seconds: LuaValue| {
            let seconds = match seconds {
                LuaValue::Integer(seconds) => seconds as f64,
                LuaValue::Number(seconds) => seconds,
                _ => f64::NAN,
            };
            let time = Duration::try_from_secs_f64(seconds).ok();
            of_skip.store.clock().skip(time.ok_or("a number of seconds expected")?);
            answer(lua, ())
        })?,
    )?;
    // `fault(site)`: something of the Lua side has failed there, which it has contained and logged.
    table.set(
        "fault",
        answering(lua, "fault", |lua, site: LuaValue| {
            let site = site.as_string().map(|text| text.to_string_lossy());
            panics::note(&site.ok_or("a string expected")?);
            answer(lua, ())
        })?,
    )?;
    // `explain(name, type or nil, host or nil)`
    let of_explain = Rc::clone(provider);
    table.set(
        "explain",
        answering(lua, "explain", move |lua, given: Explained| {
            let (name, kind, host) = explained(&given)?;
            answer(
                lua,
                policy::explain(of_explain.store.policy(), &name, kind, host.as_deref()),
            )
        })?,
    )?;
    let of_register = Rc::clone(provider);
    table.set(
        "register",
        answering(lua, "register", move |lua, spec: LuaValue| match &spec {
            LuaValue::Table(spec) => register::register(lua, &of_register.store, spec).map_err(text),
            other => Err(format!("a table expected, got {}", other.type_name())),
        })?,
    )?;
    Ok(table)
}

/// A Lua function that never raises. An error comes back as `nil` and a message. A panic comes back as `nil`, a
/// message, and whether a panic of this function has been logged before; the log calls the function `site`.
///
/// `A` has to be something that mlua can make of any arguments: otherwise mlua itself raises an error, which is a
/// userdata.
///
/// # Errors
/// When Lua is out of memory.
fn answering<A: FromLuaMulti>(
    lua: &Lua,
    site: &'static str,
    function: impl Fn(&Lua, A) -> Answer + 'static,
) -> LuaResult<LuaFunction> {
    let function =
        lua.create_function(
            move |lua, arguments: A| match panics::contain(site, || function(lua, arguments)) {
                Ok(Ok(values)) => Ok(values),
                Ok(Err(message)) => (LuaValue::Nil, message).into_lua_multi(lua),
                Err(caught) => (LuaValue::Nil, caught.message, !caught.is_first).into_lua_multi(lua),
            },
        )?;
    guarded(lua, function)
}

fn answer(lua: &Lua, values: impl IntoLuaMulti) -> Answer {
    values.into_lua_multi(lua).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
