//! A store, what modules do to it, and the model of it.

mod series;

use crate::input::Input;
use crate::model::{Family, Labels, Series};
use crate::policy::{page_name, policy, Decided};
use metre::model::{clock, Kind};
use metre::policy::{Ignored, Policy};
use metre::store::{FamilyFields, FamilySpec, Store};
use series::{encode, twin};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// All of it.
pub struct World {
    /// The store.
    pub store: Arc<Store>,
    /// Its families, those that were replaced included.
    pub families: Vec<Family>,
    /// Series that have gone, or whose families nobody holds any more.
    pub past: Vec<(FamilyFields, Labels, Series)>,
    /// When it began, in seconds since the epoch.
    pub began: f64,
    /// For a pusher: numbers are such that all their sums are exact, and nothing is done to families that were replaced.
    pushed: bool,
    corked: bool,
    /// Seconds that were skipped.
    now: u64,
    raw_names: BTreeSet<Vec<u8>>,
}

impl World {
    /// An empty one. With `samples` its store has a journal, and with `true` each sample in it.
    pub fn new(input: &mut Input<'_>, samples: Option<bool>) -> World {
        // Limits mostly keep series from the wire, where names are what matters.
        let policy = match samples.is_none() || input.one_in(4) {
            true => policy(input),
            false => Policy::default(),
        };
        let store = Arc::new(Store::with(policy, samples));
        World {
            store,
            families: Vec::new(),
            past: Vec::new(),
            began: clock::now(),
            pushed: samples.is_some(),
            corked: false,
            now: 0,
            raw_names: BTreeSet::new(),
        }
    }

    /// Something happens.
    pub fn step(&mut self, input: &mut Input<'_>) {
        match input.below(24) {
            0..=2 => self.register(input),
            3 => {
                self.store.cork();
                self.corked = true;
            }
            4 => {
                self.store.uncork();
                if std::mem::take(&mut self.corked) {
                    self.each_gauge(Series::uncork);
                }
            }
            5 => {
                self.store.discard();
                if std::mem::take(&mut self.corked) {
                    self.each_gauge(Series::discard);
                }
            }
            6 => self.skip(input.of(&[1, 30, 70, 700])),
            7 => self.expire(),
            8 => self.restart(input),
            10 => self.forget(input),
            9 if !self.families.is_empty() => {
                // Nobody holds it any more.
                let at = input.below(self.families.len());
                if !self.families[at].on_page {
                    let Family { writer, series, .. } = self.families.swap_remove(at);
                    let fields: &FamilyFields = writer.family();
                    let series = series
                        .into_iter()
                        .map(|(labels, series)| (fields.clone(), labels, series));
                    self.past.extend(series);
                }
            }
            _ if self.families.is_empty() => self.register(input),
            _ => self.update(input),
        }
    }

    /// Shows what is hidden, so that all that was counted can be told.
    pub fn settle(&mut self) {
        self.store.uncork();
        if std::mem::take(&mut self.corked) {
            self.each_gauge(Series::uncork);
        }
    }

    fn each_gauge(&mut self, change: fn(&mut Series)) {
        let gauges = self
            .families
            .iter_mut()
            .filter(|family| family.on_page && family.kind() == Kind::Gauge);
        gauges.for_each(|family| family.series.values_mut().for_each(change));
    }

    fn skip(&mut self, seconds: u64) {
        self.store.clock().skip(Duration::from_secs(seconds));
        self.now += seconds;
        let series = self.families.iter_mut().flat_map(|family| family.series.values_mut());
        series.for_each(|series| series.aged = true);
    }

    fn register(&mut self, input: &mut Input<'_>) {
        let kind = input.of(&Kind::ALL);
        let (mut name, unit) = (input.name(), input.unit());
        if !unit.is_empty() {
            name = [name.as_slice(), &unit].join(&b'_');
        }
        let mut keys = input.keys();
        if !self.families.is_empty() && input.one_in(2) {
            let family = &self.families[input.below(self.families.len())];
            name.clone_from(&family.raw_name);
            match input.below(4) {
                0 => name = twin(&name),
                1 => (name, keys) = (twin(&name), family.keys.clone()),
                2 => {
                    // What one of its series is called, if there are no tags.
                    let labels = family.series.keys().next().into_iter().flatten();
                    name = labels.fold(name, |name, value| [&name, value.as_bytes()].join(&b'/'));
                    keys.clear();
                }
                _ => {}
            }
        }
        let spec = FamilySpec {
            kind,
            name,
            unit,
            help: input.help(),
            label_keys: keys,
            thresholds: input.thresholds(),
            leaves: input.one_in(3),
            uncreated: input.one_in(4),
            names_others: false,
        };
        if input.one_in(8) {
            // One of metre's own, which gives way to modules'.
            drop(self.store.register_own(FamilySpec {
                name: b"metre_own".to_vec(),
                ..spec
            }));
            return;
        }
        let limits = self.store.policy().limits;
        let decided = Decided::new(self.store.policy(), &page_name(&spec.name), kind, &spec.label_keys);
        let is_long = |text: &Vec<u8>| text.len() > limits.max_label_bytes;
        let expected = if is_long(&spec.name) || spec.label_keys.iter().any(is_long) {
            Some(Ignored::NameBytes)
        } else if !self.raw_names.contains(&spec.name) && self.raw_names.len() >= limits.max_families {
            Some(Ignored::Families)
        } else {
            None
        };
        let writer = match self.store.register(spec.clone()) {
            Ok((writer, _)) => writer,
            Err(why) => return assert_eq!(expected, Some(why)),
        };
        assert_eq!(expected, None, "registered nevertheless");
        for family in &mut self.families {
            family.on_page &= family.raw_name != spec.name;
        }
        self.raw_names.insert(spec.name.clone());
        self.families.push(Family {
            writer,
            raw_name: spec.name,
            unit: spec.unit,
            help: spec.help,
            keys: spec.label_keys,
            thresholds: decided.buckets.clone().unwrap_or(spec.thresholds),
            decided,
            on_page: true,
            series: Default::default(),
            gone: 0,
        });
    }

    fn expire(&mut self) {
        let now = self.now;
        for family in &mut self.families {
            while family.writer.expire(50).1 {}
            let Family {
                writer,
                series: all,
                decided,
                gone,
                ..
            } = family;
            for (labels, series) in std::mem::take(all) {
                let values: Vec<Vec<u8>> = labels.iter().map(|value| value.clone().into_bytes()).collect();
                if writer.find(encode(&values).as_bytes()) == Some(series.at) {
                    all.insert(labels, series);
                    continue;
                }
                *gone += 1;
                // Real time goes on, too.
                let over = decided.shortest_ttl.is_some_and(|ttl| now - series.touched + 5 > ttl);
                assert!(over && !self.corked, "{labels:?} went too early");
                let fields: &FamilyFields = writer.family();
                self.past.push((fields.clone(), labels, series));
            }
        }
    }
}

impl World {
    /// What some label value stands for is no more.
    fn forget(&mut self, input: &mut Input<'_>) {
        if self.families.is_empty() {
            return;
        }
        let at = input.below(self.families.len());
        let family = &mut self.families[at];
        if family.keys.is_empty() || (self.pushed && !family.on_page) {
            return;
        }
        let position = input.below(family.keys.len());
        let known = match family.series.len() {
            0 => None,
            count => family.series.keys().nth(input.below(count)),
        };
        let value = match known {
            Some(labels) if !input.one_in(4) => labels[position].clone().into_bytes(),
            _ => input.value(),
        };
        let wanted = String::from_utf8_lossy(&value);
        let fields = family.writer.family().clone();
        let may_go = fields.leaves || family.decided.shortest_ttl.is_some();
        let going = family
            .series
            .keys()
            .filter(|labels| may_go && labels[position] == wanted);
        let going: Vec<Labels> = going.cloned().collect();
        assert_eq!(
            family.writer.forget(position, &value),
            going.len(),
            "{wanted:?} at {position}"
        );
        family.gone += going.len();
        for labels in going {
            if let Some(mut series) = family.series.remove(&labels) {
                series.discard();
                let fields: &FamilyFields = &fields;
                self.past.push((fields.clone(), labels, series));
            }
        }
    }
}
