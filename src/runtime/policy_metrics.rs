//! What metre tells of limits and rules: how often they took effect, and where.

use super::own_metrics::{OwnFamily, Spec};
use crate::model::Kind;
use crate::policy::{Ignored, Limit, Limits};
use crate::store::{Family, Store};
use std::collections::HashMap;

/// Metrics of limits and rules.
pub(super) struct PolicyMetrics {
    limited: OwnFamily,
    expired: OwnFamily,
    ignored: OwnFamily,
    /// What families said last, by name and limit; none for those that have gone. A family that replaces another one begins
    /// again.
    seen: HashMap<(String, Option<Limit>), u64>,
}

impl PolicyMetrics {
    /// Registers them in `own`.
    pub(super) fn register(own: &Store, limits: Limits) -> PolicyMetrics {
        let family = |kind, name, help, labels| {
            let spec = Spec::new(kind, name, "", help);
            OwnFamily::register(own, Spec { labels, ..spec })
        };
        let mut limit = family(
            Kind::Gauge,
            "metre_limit",
            "How much there may be, from the configuration",
            &["limit"],
        );
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
                Kind::Counter,
                "metre_limited_label_sets",
                "How many times a module asked for a series that a limit keeps from being",
                &["family", "limit"],
            ),
            expired: family(
                Kind::Counter,
                "metre_expired_series",
                "Series that have gone since nobody updated them",
                &["family"],
            ),
            ignored: family(
                Kind::Counter,
                "metre_ignored_families",
                "How many times a module registered a metric family of which nothing is kept",
                &["reason"],
            ),
            seen: HashMap::new(),
        };
        Ignored::ALL
            .iter()
            .for_each(|why| metrics.ignored.add(&[why.name()], 0));
        metrics
    }

    /// Brings those about one family up to date.
    pub(super) fn update_family(&mut self, family: &Family) {
        for limit in Limit::ALL {
            let step = self.step(family, Some(limit), family.limited(limit));
            if step > 0 {
                self.limited.add(&[&family.name, limit.name()], step);
            }
        }
        let step = self.step(family, None, family.expired());
        if step > 0 {
            self.expired.add(&[&family.name], step);
        }
    }

    /// By how much a count has grown since the last time.
    fn step(&mut self, family: &Family, what: Option<Limit>, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let seen = self.seen.entry((family.name.clone(), what)).or_insert(0);
        let before = std::mem::replace(seen, count);
        count.checked_sub(before).unwrap_or(count)
    }

    /// Brings the others up to date.
    pub(super) fn update(&mut self, store: &Store) {
        for why in Ignored::ALL {
            self.ignored.raise(&[why.name()], store.ignored(why));
        }
    }
}
