//! What happens to series, and where they are.

use super::World;
use crate::input::Input;
use crate::model::{Family, Labels, Series};
use crate::number::{compare, float, fnv, sum};
use metre::model::{Kind, LabelSet, Number};
use metre::policy::Limit;
use metre::store::{updates, values, Assigned, Location, OVERFLOW};
use std::cmp::Ordering;

impl World {
    /// A family, and some label set of it.
    fn pick(&mut self, input: &mut Input<'_>) -> (usize, Vec<Vec<u8>>) {
        let at = input.below(self.families.len());
        let family = &self.families[at];
        let known = match family.series.is_empty() || input.one_in(3) {
            true => None,
            false => family.series.keys().nth(input.below(family.series.len())),
        };
        let Some(labels) = known else {
            return (at, family.keys.iter().map(|_| input.value()).collect());
        };
        let mut values: Vec<Vec<u8>> = labels.iter().map(|value| value.clone().into_bytes()).collect();
        if self.pushed && !values.is_empty() {
            let of = input.below(values.len());
            match input.below(6) {
                0 => values[of] = twin(&values[of]),
                // One empty value that a constant tag may stand for.
                1 => values[of].clear(),
                2 => {
                    let own = [family.raw_name.as_slice(), encode(&values).as_bytes()].concat();
                    values[of] = hashed(&values[of], &own);
                }
                _ => {}
            }
        }
        (at, values)
    }

    pub(super) fn update(&mut self, input: &mut Input<'_>) {
        let (at, values) = self.pick(input);
        let number = if self.pushed {
            input.exact_number()
        } else {
            input.number()
        };
        let adds = input.any();
        let corked = self.corked;
        if self.pushed && !self.families[at].on_page {
            return;
        }
        let (location, labels) = self.place(at, &values);
        let Family {
            writer,
            series,
            decided,
            ..
        } = &mut self.families[at];
        writer.touch(location);
        let (record, family) = (writer.record(location), writer.family());
        let series = labels.and_then(|labels| series.get_mut(&labels));
        let taken = match (family.kind, adds) {
            (Kind::Gauge, false) => {
                updates::gauge::set(record, number, &family.cork);
                series.map(|series| series.set_gauge(number, corked));
                return;
            }
            (Kind::Gauge, true) => {
                updates::gauge::add(record, number, &family.cork);
                series.map(|series| series.set_gauge(sum(series.value, number), corked));
                return;
            }
            (Kind::Counter, true) => {
                let taken = updates::counter::add(record, number).is_ok();
                series.map(|series| (series.add_counter(number), taken))
            }
            (Kind::Counter, false) => {
                let taken = updates::counter::set(record, number, family).is_ok();
                series.map(|series| {
                    let lower = compare(number, series.value) == Some(Ordering::Less);
                    let expected = series.set_counter(number);
                    restarted(series, values::created(record), expected && lower);
                    (expected, taken)
                })
            }
            (kind, _) => {
                let taken = match kind {
                    Kind::Summary => updates::samples::summary(record, number, family),
                    _ => updates::samples::histogram(record, number, family),
                };
                if let Ok(taken) = taken {
                    updates::samples::into_window(record, number, taken, family);
                }
                let counts_as = match decided.clamps && float(number) < 0.0 {
                    true => Number::Int(0),
                    false => number,
                };
                series.map(|series| (series.sample(counts_as), taken.is_ok()))
            }
        };
        if let Some((expected, taken)) = taken {
            assert_eq!(expected, taken, "{number:?}");
        }
    }

    pub(super) fn restart(&mut self, input: &mut Input<'_>) {
        if self.families.is_empty() {
            return;
        }
        let (at, values) = self.pick(input);
        let corked = self.corked;
        let Family {
            writer,
            series,
            on_page,
            ..
        } = &mut self.families[at];
        let labels: Labels = values
            .iter()
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        let (Some(location), Some(series)) = (writer.find(encode(&values).as_bytes()), series.get_mut(&labels)) else {
            return;
        };
        if self.pushed && !*on_page {
            return;
        }
        writer.touch(location);
        series.touched = self.now;
        let (record, family) = (writer.record(location), writer.family());
        match family.kind {
            Kind::Gauge => {
                updates::gauge::set(record, Number::ZERO, &family.cork);
                return series.set_gauge(Number::Int(0), corked);
            }
            Kind::Counter => updates::counter::reset(record, family),
            _ => updates::samples::reset(record, family),
        }
        series.reset();
        restarted(series, values::created(record), true);
    }

    /// Where the series for these values is, and under which label set the model has it, if anybody is to see it.
    fn place(&mut self, at: usize, values: &[Vec<u8>]) -> (Location, Option<Labels>) {
        let limits = self.store.policy().limits;
        let (now, corked) = (self.now, self.corked);
        let live: usize = self.families.iter().map(|family| family.series.len()).sum();
        let family = &mut self.families[at];
        let labels: Labels = values
            .iter()
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        let repaired = labels
            .iter()
            .zip(values)
            .any(|(label, value)| label.as_bytes() != value.as_slice());
        let dropped = family.decided.drops(family.host().map(|host| labels[host].as_str()));
        let (location, placed) = family
            .writer
            .find_or_create(encode(values).as_bytes())
            .expect("room for a series");
        if dropped {
            return (location, None);
        }
        if let Some(series) = family.series.get_mut(&labels) {
            assert_eq!(
                placed,
                if repaired {
                    Assigned::Repaired
                } else {
                    Assigned::Plainly
                },
                "{labels:?} was there"
            );
            assert_eq!(series.at, location, "moved");
            series.touched = now;
            return (location, Some(labels));
        }
        let own = family.series.keys().filter(|labels| !is_overflow(labels)).count();
        let too_long = labels.iter().any(|value| value.len() > limits.max_label_bytes);
        let full = own >= limits.max_series_per_family && family.decided.general_limit;
        let labels = match placed {
            Assigned::Limited(Limit::QuantileSeries) => labels,
            Assigned::Limited(limit) => {
                assert!(!values.is_empty(), "no limit is for families without labels");
                assert_eq!(limit == Limit::LabelBytes, too_long);
                match family.kind() {
                    Kind::Gauge => return (location, None),
                    _ => vec![OVERFLOW.to_owned(); labels.len()],
                }
            }
            placed => {
                assert!(values.is_empty() || !(too_long || full || live >= 2 * limits.max_series.max(1000)));
                assert_eq!(placed == Assigned::Repaired, repaired);
                labels
            }
        };
        let (created, hidden) = match family.kind() {
            Kind::Gauge => (0.0, corked),
            _ => (values::created(family.writer.record(location)), false),
        };
        let series = family.series.entry(labels.clone());
        series
            .or_insert_with(|| Series::new(location, hidden, created, now))
            .touched = now;
        (location, Some(labels))
    }
}

/// Another text that becomes the same part of a name, if there is a simple one.
pub(super) fn twin(text: &[u8]) -> Vec<u8> {
    let of = |byte: &u8| match byte {
        b'.' => b'_',
        b'_' => b'.',
        other => *other,
    };
    text.iter().map(of).collect()
}

/// What this value becomes when the hash of `own` tells its series from another one, if it is the last.
fn hashed(value: &[u8], own: &[u8]) -> Vec<u8> {
    [value, format!("-{:016x}", fnv(own)).as_bytes()].concat()
}

/// Whether this is the label set of what is beyond limits.
fn is_overflow(labels: &Labels) -> bool {
    !labels.is_empty() && labels.iter().all(|value| value == OVERFLOW)
}

/// The label set of these values.
pub(super) fn encode(values: &[Vec<u8>]) -> LabelSet {
    let mut set = LabelSet::new();
    values.iter().for_each(|value| set.push(value));
    set
}

/// The time of creation moves with each restart, and at no other time.
fn restarted(series: &mut Series, created: f64, moves: bool) {
    match moves {
        true => assert!(created > series.created, "a restart that nobody can see"),
        false => assert_eq!(created, series.created),
    }
    series.created = created;
}
