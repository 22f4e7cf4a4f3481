//! What metre tells of limits and rules: how often they took effect, and where. And of samples below zero, which rules are for.

use super::family::{counter, gauge, OwnFamily};
use crate::policy::{Ignored, Limit, Limits};
use crate::store::{Family, FamilySpec, Store};
use std::collections::HashMap;

/// Metrics of limits and rules.
pub(in crate::runtime) struct PolicyMetrics {
    limited: OwnFamily,
    expired: OwnFamily,
    clamped: OwnFamily,
    without_sum: OwnFamily,
    ignored: OwnFamily,
    /// What families said last. A family that replaces another one begins again.
    seen: HashMap<(String, Count), u64>,
    /// How many series were without a sum in the families looked at so far.
    without_sum_so_far: usize,
}

/// What a family counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Count {
    Limited(Limit),
    Expired,
    Clamped,
}

impl PolicyMetrics {
    /// Registers them in `own`.
    pub(in crate::runtime) fn register(own: &Store, limits: Limits) -> PolicyMetrics {
        let family = |spec: FamilySpec, labels| OwnFamily::register(own, spec.labels(labels));
        let limit = gauge("metre_limit", "How much there may be, from the configuration");
        let mut limit = family(limit, &["limit"]);
        for (name, most) in [
            ("max_families", limits.max_families),
            ("max_series", limits.max_series),
            ("max_series_per_family", limits.max_series_per_family),
            ("max_label_bytes", limits.max_label_bytes),
            ("max_quantile_series", limits.max_quantile_series),
        ] {
            limit.set(&[name], most);
        }
        let mut metrics = PolicyMetrics {
            limited: family(
                counter(
                    "metre_limited_label_sets",
                    "How many times a module asked for a series that a limit keeps from being",
                ),
                &["family", "limit"],
            ),
            expired: family(
                counter(
                    "metre_expired_series",
                    "Series that have gone since nobody updated them",
                ),
                &["family"],
            ),
            clamped: family(
                counter(
                    "metre_clamped_samples",
                    "Samples of times and sizes that were below zero and have counted as zero",
                ),
                &["family"],
            ),
            without_sum: family(
                gauge(
                    "metre_series_without_sum",
                    "Histograms and summaries that have no sum on the page, for they have seen samples below zero",
                ),
                &[],
            ),
            ignored: family(
                counter(
                    "metre_ignored_families",
                    "How many times a module registered a metric family of which nothing is kept",
                ),
                &["reason"],
            ),
            seen: HashMap::new(),
            without_sum_so_far: 0,
        };
        Ignored::ALL
            .iter()
            .for_each(|why| metrics.ignored.add(&[why.name()], 0));
        metrics
    }

    /// Brings those about one family up to date.
    pub(in crate::runtime) fn update_family(&mut self, family: &Family) {
        for limit in Limit::ALL {
            let step = self.step(family, Count::Limited(limit), family.limited(limit));
            if step > 0 {
                self.limited.add(&[&family.name, limit.name()], step);
            }
        }
        let step = self.step(family, Count::Expired, family.expired());
        if step > 0 {
            self.expired.add(&[&family.name], step);
        }
        let step = self.step(family, Count::Clamped, family.clamped());
        if step > 0 {
            self.clamped.add(&[&family.name], step);
        }
        self.without_sum_so_far += family.without_sum();
    }

    /// By how much a count has grown since the last time.
    fn step(&mut self, family: &Family, what: Count, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let seen = self.seen.entry((family.name.clone(), what)).or_insert(0);
        let before = std::mem::replace(seen, count);
        count.checked_sub(before).unwrap_or(count)
    }

    /// Brings the others up to date, once all families have been looked at.
    pub(in crate::runtime) fn update(&mut self, store: &Store) {
        self.without_sum.set(&[], std::mem::take(&mut self.without_sum_so_far));
        for why in Ignored::ALL {
            self.ignored.raise(&[why.name()], store.ignored(why));
        }
    }
}
