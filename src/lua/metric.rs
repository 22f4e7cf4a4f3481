//! What may be behind a metric or a view: a [`Handle`], or a [`Lease`] in families whose series go or have quantiles.

use super::block::{FamilyBlock, FamilyContent};
use super::call::Stop;
use super::handle::Handle;
use super::lease::Lease;
use crate::model::Kind;
use mlua::ffi::lua_State;
use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

/// What updates and reads one series.
#[derive(Clone, Copy)]
pub(super) enum Metric<'a> {
    Handle(&'a Handle),
    Lease(&'a Lease),
}

impl<'a> Metric<'a> {
    /// The metric of type `kind` at `index`.
    ///
    /// # Safety
    /// - `index` is valid, or that of a missing argument.
    /// - The metric is used no longer than its userdata is on the stack or otherwise referred to.
    pub(super) unsafe fn at(state: *mut lua_State, index: c_int, kind: Kind) -> Option<Metric<'a>> {
        // SAFETY: by the contract above.
        unsafe {
            match Handle::at(state, index, kind) {
                Some(handle) => Some(Metric::Handle(handle)),
                None => Lease::at(state, index, kind).map(Metric::Lease),
            }
        }
    }

    /// The family's block.
    pub(super) fn family(&self) -> &FamilyBlock {
        match self {
            Metric::Handle(handle) => handle.family(),
            Metric::Lease(lease) => lease.family(),
        }
    }

    /// Runs `use_it` on the whole record but for the labels, to read it.
    pub(super) fn with<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with(use_it),
            Metric::Lease(lease) => lease.read(use_it),
        }
    }

    /// Runs `use_it` on the encoded label set.
    pub(super) fn with_labels<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[u8]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with_labels(use_it),
            Metric::Lease(lease) => lease.family().with(|family| use_it(family, lease.labels())),
        }
    }

    /// Runs `use_it` on the whole record but for the labels, to change it.
    pub(super) fn update<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with(use_it),
            Metric::Lease(lease) => lease.update(use_it),
        }
    }
}
