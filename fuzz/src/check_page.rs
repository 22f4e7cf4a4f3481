//! Whether a page shows what the model holds.

use crate::exposition::{self, number, Dialect, Metric};
use crate::model::{Family, Series};
use crate::number::{compare, float, is_written};
use crate::policy::page_name;
use crate::world::World;
use metre::encode::exposition::{page, Format, Only, Options};
use metre::model::{clock, Kind};
use metre::store::RELATIVE_ERROR;
use std::cmp::Ordering;

/// All formats.
pub const FORMATS: [Format; 5] = [
    Format::OpenMetrics1(None),
    Format::OpenMetrics1(Some("allow-utf-8")),
    Format::OpenMetrics0,
    Format::Text1("underscores"),
    Format::Text0,
];

/// The page of a world.
pub fn render(world: &World, options: Options, format: Format, only: Option<&Only>) -> Vec<u8> {
    let mut out = Vec::new();
    page(&mut out, &world.store, options, format, only).expect("a Vec takes everything");
    out
}

/// The dialect of a format.
pub fn dialect(format: Format) -> Dialect {
    match format {
        Format::OpenMetrics1(_) | Format::OpenMetrics0 => Dialect::OpenMetrics,
        Format::Text1(_) | Format::Text0 => Dialect::Text,
    }
}

/// Panics if the page isn't one, or isn't that of the model.
pub fn check(world: &World, text: &[u8], options: Options, format: Format) {
    let dialect = dialect(format);
    let told =
        |why: String| -> Vec<exposition::Family> { panic!("{format:?}: {why}\n{}", String::from_utf8_lossy(text)) };
    let parsed = exposition::parse(text, dialect).unwrap_or_else(|why| told(why));
    let mut expected = 0;
    for family in world.families.iter().filter(|family| family.on_page) {
        let fields = family.writer.family();
        let page_name = page_name(&family.raw_name);
        let number = fields
            .name
            .strip_prefix(&page_name)
            .map(|rest| rest.strip_prefix('_').unwrap_or(rest));
        assert!(
            number.is_some_and(|n| n.is_empty() || n.parse::<u64>().is_ok_and(|n| n > 1)),
            "{}",
            fields.name
        );
        let without_sum = family.series.values().filter(|series| series.has_negative()).count();
        assert_eq!(fields.without_sum(), without_sum, "{}", fields.name);
        let has_gone = family.gone > 0 && family.series.is_empty();
        for (name, of_quantiles) in [(Some(&fields.name), false), (fields.quantiles_name.as_ref(), true)] {
            let Some(name) = name else { continue };
            let kind = if of_quantiles { Kind::Summary } else { fields.kind };
            let suffix = if (kind, dialect) == (Kind::Counter, Dialect::Text) {
                "_total"
            } else {
                ""
            };
            let found = parsed.iter().find(|found| found.name == format!("{name}{suffix}"));
            let Some(found) = found else {
                // One whose series may go isn't there without any.
                assert!(
                    family.series.is_empty() && (has_gone || fields.leaves || family.decided.shortest_ttl.is_some()),
                    "no {name}"
                );
                continue;
            };
            expected += 1;
            assert_eq!(found.kind, kind.name());
            assert_eq!(found.help, String::from_utf8_lossy(&family.help));
            let visible = family.series.values().filter(|series| !series.hidden).count();
            // Quantiles below zero mustn't be shown.
            let may_be_empty = of_quantiles;
            if found.metrics.len() != visible && !(may_be_empty && found.metrics.len() < visible) {
                told(format!("{visible} series in {found:?}"));
            }
            for metric in &found.metrics {
                check_metric(family, metric, dialect, options, of_quantiles, world.began);
            }
        }
    }
    let own = parsed
        .iter()
        .filter(|found| found.name.starts_with("metre_own"))
        .count();
    assert!(
        parsed.len() >= expected && parsed.len() <= expected + own,
        "families that nobody registered"
    );
}

fn check_metric(family: &Family, metric: &Metric, dialect: Dialect, options: Options, of_quantiles: bool, began: f64) {
    let fields = family.writer.family();
    let all_names = fields
        .label_names
        .iter()
        .chain(fields.constant_labels.iter().map(|(name, _)| name));
    let found_names = metric.labels.iter().map(|(name, _)| name.clone());
    assert!(all_names.cloned().eq(found_names), "{metric:?}");
    let values: Vec<String> = metric.labels.iter().map(|(_, value)| value.clone()).collect();
    let (own, constant) = values.split_at(family.keys.len());
    assert!(constant
        .iter()
        .eq(fields.constant_labels.iter().map(|(_, value)| value)));
    let series = family.series.get(own).unwrap_or_else(|| panic!("nobody made {own:?}"));
    assert!(!series.hidden);
    let is = |suffix: &str, value| {
        let text = metric.value(suffix);
        assert!(
            text.is_some_and(|text| is_written(value, text)),
            "{value:?} in {metric:?}"
        );
    };
    let openmetrics = dialect == Dialect::OpenMetrics;
    if of_quantiles {
        return check_quantiles(family, series, metric, openmetrics);
    }
    let shows_sum =
        !openmetrics || !(series.has_negative() || float(series.value).is_nan() || fields.buckets.has_negative());
    match fields.kind {
        Kind::Gauge => return is("", series.shown),
        Kind::Counter => is(if openmetrics { "_total" } else { "" }, series.value),
        Kind::Summary => check_quantiles(family, series, metric, openmetrics),
        Kind::Histogram => check_buckets(family, series, metric, options),
    }
    if fields.kind != Kind::Counter {
        assert_eq!(metric.value("_sum").is_some(), shows_sum, "{metric:?}");
        if shows_sum {
            is("_sum", series.value);
        }
        let count = (shows_sum || fields.kind == Kind::Summary).then(|| series.samples.len().to_string());
        assert_eq!(metric.value("_count"), count.as_deref(), "{metric:?}");
    }
    let created = metric.value("_created").map(number);
    assert_eq!(created.is_some(), openmetrics && options.created && !fields.uncreated);
    if let Some(created) = created {
        assert_eq!(created, series.created);
        // Each restart moves it by a millisecond at least.
        assert!(created > began - 1.0 && created < clock::now() + 5.0, "{created}");
    }
}

fn check_buckets(family: &Family, series: &Series, metric: &Metric, options: Options) {
    let buckets = family.writer.family().buckets.as_slice();
    assert_eq!(buckets.len(), metric.own().count());
    for (bucket, (le, count)) in buckets.iter().zip(metric.own()) {
        let bound = float(bucket.threshold);
        let is_near = |a: f64, b: f64| a == b || (a - b).abs() <= b.abs() * 1e-13;
        assert!(is_near(number(le), bound), "{le} for {bound}");
        assert!(!options.canonical_le || le.contains(['.', 'e', 'I']), "{le}");
        let given = |other: &metre::model::Number| compare(*other, bucket.threshold) == Some(Ordering::Equal);
        assert!(
            bound == f64::INFINITY || family.thresholds.iter().any(given),
            "a threshold from nowhere: {bound}"
        );
        assert_eq!(count, series.up_to(bucket.threshold).to_string(), "{le} in {metric:?}");
    }
    for threshold in family.thresholds.iter().map(|threshold| float(*threshold)) {
        let kept = |bucket: &metre::model::Bucket| {
            let bound = float(bucket.threshold);
            bound == threshold || (bound - threshold).abs() <= threshold.abs() * 1e-13
        };
        assert!(
            !threshold.is_finite() || buckets.iter().any(kept),
            "{threshold} was left out"
        );
    }
}

fn check_quantiles(family: &Family, series: &Series, metric: &Metric, openmetrics: bool) {
    let mut finite: Vec<f64> = series
        .samples
        .iter()
        .map(|sample| float(*sample))
        .filter(|x| x.is_finite())
        .collect();
    finite.sort_by(f64::total_cmp);
    let all = metric.own().count() == family.decided.quantiles.len();
    assert!(all || openmetrics || metric.own().count() == 0, "{metric:?}");
    for (quantile, value) in metric.own() {
        let (quantile, value) = (number(quantile), number(value));
        assert!(family
            .decided
            .quantiles
            .iter()
            .any(|asked| (asked - quantile).abs() < 1e-13));
        let (Some(least), Some(most)) = (finite.first(), finite.last()) else {
            assert!(value.is_nan(), "a quantile of nothing");
            continue;
        };
        if value.is_nan() {
            assert!(series.aged, "samples without a quantile");
            continue;
        }
        assert!((*least..=*most).contains(&value), "{value} in {finite:?}");
        let rank = ((quantile * finite.len() as f64).ceil() as usize).clamp(1, finite.len());
        let exact = finite[rank - 1];
        // The sketch spans nine decades, and what is below a billionth is zero.
        let largest = least.abs().max(most.abs());
        let is_within = exact.abs() > 1e-9 && largest < 1e8 && exact.abs() * 1e8 > largest;
        if is_within && !series.aged {
            let error = (value - exact).abs() / exact.abs();
            assert!(error <= RELATIVE_ERROR * 1.000_001, "{value} for {exact}");
        }
    }
}
