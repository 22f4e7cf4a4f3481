//! What must hold of a family on a page, type by type.

use super::{is_number, number, suffixes, Dialect, Family, Metric};
use std::cmp::Ordering;
use std::collections::HashSet;

/// The rules of its type.
pub(super) fn check(family: &Family, dialect: Dialect) -> Result<(), String> {
    if family.kind.is_empty() {
        return Err("no TYPE".to_owned());
    }
    let mut seen = HashSet::new();
    for metric in &family.metrics {
        // An empty value is as good as no label.
        let present = metric.labels.iter().filter(|(_, value)| !value.is_empty());
        let mut set: Vec<&(String, String)> = present.collect();
        set.sort();
        if !seen.insert(set) {
            return Err(format!("{:?} twice", metric.labels));
        }
        let order: Vec<&str> = metric.samples.iter().map(|sample| sample.suffix.as_str()).collect();
        check_metric(family, metric, &order, dialect)?;
    }
    Ok(())
}

fn check_metric(family: &Family, metric: &Metric, order: &[&str], dialect: Dialect) -> Result<(), String> {
    let openmetrics = dialect == Dialect::OpenMetrics;
    let own_lines = metric.own().count();
    let after = &order[own_lines..];
    let created = after.last() == Some(&"_created");
    let after = &after[..after.len() - usize::from(created)];
    if created
        && (!openmetrics
            || number(metric.value("_created").unwrap_or("NaN")).partial_cmp(&0.0) != Some(Ordering::Greater))
    {
        return Err("a time of creation that can't be".to_owned());
    }
    let sum_and_count = after == ["_count", "_sum"];
    match family.kind.as_str() {
        "gauge" if order == [""] => {}
        "counter" if after == [if openmetrics { "_total" } else { "" }] => {
            let total = number(&metric.samples[0].value);
            if !(0.0..f64::INFINITY).contains(&total) || metric.samples[0].value.starts_with('-') {
                return Err("a total that can't be".to_owned());
            }
        }
        "histogram" if own_lines > 0 && (sum_and_count || (openmetrics && after.is_empty())) => {
            buckets(metric, openmetrics)?
        }
        // The quantiles of a histogram are a summary without anything else.
        "summary" if sum_and_count || after.is_empty() || (openmetrics && after == ["_count"]) => {
            quantiles(metric, openmetrics)?
        }
        _ => return Err(format!("samples {order:?}")),
    }
    let sum = metric.value("_sum").map_or(0.0, number);
    if openmetrics && !(family.kind == "gauge" || sum >= 0.0) {
        return Err("a sum below zero or NaN".to_owned());
    }
    Ok(())
}

fn buckets(metric: &Metric, openmetrics: bool) -> Result<(), String> {
    let mut last = (f64::NEG_INFINITY, 0_u64);
    for (le, count) in metric.own() {
        let count: u64 = count.parse().map_err(|_| "a count that isn't whole")?;
        if !is_number(le) || number(le).is_nan() || number(le) <= last.0 || count < last.1 {
            return Err("buckets out of order".to_owned());
        }
        if openmetrics && number(le) < 0.0 && metric.value("_sum").is_some() {
            return Err("a sum despite negative thresholds".to_owned());
        }
        last = (number(le), count);
    }
    if last.0 != f64::INFINITY || metric.value("_count").is_some_and(|count| count != last.1.to_string()) {
        return Err("no +Inf, or not all in it".to_owned());
    }
    Ok(())
}

fn quantiles(metric: &Metric, openmetrics: bool) -> Result<(), String> {
    if metric
        .value("_count")
        .is_some_and(|count| count.parse::<u64>().is_err())
    {
        return Err("a count that isn't whole".to_owned());
    }
    let mut last = (-1.0, f64::NEG_INFINITY);
    for (quantile, value) in metric.own() {
        if !is_number(quantile) || !(0.0..=1.0).contains(&number(quantile)) || number(quantile) <= last.0 {
            return Err("quantiles out of order".to_owned());
        }
        let value = number(value);
        if value < last.1 || value.is_infinite() || (openmetrics && value < 0.0) {
            return Err("values of quantiles out of order".to_owned());
        }
        last = (number(quantile), value);
    }
    Ok(())
}

/// No two families may make one sample name between them; a family's bare name counts as one.
pub(super) fn clashes(families: &[Family], dialect: Dialect) -> Result<(), String> {
    let mut taken = HashSet::new();
    for family in families {
        let suffixes = suffixes(&family.kind).iter().filter(|suffix| match dialect {
            Dialect::OpenMetrics => !suffix.is_empty(),
            Dialect::Text => !["", "_total", "_created"].contains(suffix),
        });
        for suffix in suffixes.chain([&""]) {
            let name = format!("{}{suffix}", family.name);
            if !taken.insert(name.clone()) {
                return Err(format!("two families with a sample {name}"));
            }
        }
    }
    Ok(())
}
