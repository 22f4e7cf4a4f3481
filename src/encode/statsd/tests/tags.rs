//! Labels as tags, and what they are called.

use super::*;

#[test]
fn tags() {
    let constant_tags = vec![
        ("env".to_owned(), "prod".to_owned()),
        ("node".to_owned(), "node1".to_owned()),
    ];
    for (tags, gauge_line, bucket_line) in [
        (
            Tags::DogStatsd,
            "g:1|g|#vhost:example.org,jid:a_b-e6ac9919,env:prod,node:node1|c:ci-1",
            "h.bucket:1|c|#env:prod,node:node1,le:0.1|c:ci-1",
        ),
        (
            Tags::Influx,
            "g,vhost=example.org,jid=a_b-e6ac9919,env=prod,node=node1:1|g",
            "h.bucket,env=prod,node=node1,le=0.1:1|c",
        ),
    ] {
        let mut wire = Wire::new(Options {
            constant_tags: constant_tags.clone(),
            container: Some("ci-1".to_owned()).filter(|_| tags == Tags::DogStatsd),
            ..tagged(tags)
        });
        let mut gauge = wire.family(Kind::Gauge, "g", &["host", "empty", "jid"]);
        set(&mut gauge, &["example.org", "", "a@b"], Number::Int(1));
        let mut unnamed = wire.family(Kind::Gauge, "unnamed", &["node"]);
        set(&mut unnamed, &[""], Number::Int(1));
        let mut histogram = wire.family(Kind::Histogram, "h", &[]);
        sample(&mut histogram, &[], 0.05);
        let lines = wire.push().lines;
        assert_eq!([&lines[0], &lines[2]], [gauge_line, bucket_line]);
        assert!(
            lines[1].contains("node1"),
            "a label without a value is none: {}",
            lines[1]
        );
    }
}

#[test]
fn labels_of_all_series_come_after_their_own() {
    let labels = [("cluster", "eu 1"), ("zone", "a")];
    for (tags, expected) in [
        (Tags::None, ["c.x.eu_1-cdba2160.a:1|c", "g.eu_1-cdba2160.a:2|g"]),
        (
            Tags::DogStatsd,
            [
                "c:1|c|#vhost:x,cluster:eu_1-cdba2160,zone:a",
                "g:2|g|#cluster:eu_1-cdba2160,zone:a",
            ],
        ),
        (
            Tags::Influx,
            [
                "c,vhost=x,cluster=eu_1-cdba2160,zone=a:1|c",
                "g,cluster=eu_1-cdba2160,zone=a:2|g",
            ],
        ),
    ] {
        // A tag of the pusher's gives way to a label.
        let constant_tags = match tags {
            Tags::None => Vec::new(),
            _ => vec![("zone".to_owned(), "b".to_owned())],
        };
        let options = Options {
            constant_tags,
            ..tagged(tags)
        };
        let mut wire = Wire::with_labels(options, &labels);
        let mut counter = wire.family(Kind::Counter, "c", &["host"]);
        let mut gauge = wire.family(Kind::Gauge, "g", &[]);
        add(&mut counter, &["x"], Number::Int(1));
        set(&mut gauge, &[], Number::Int(2));
        assert_eq!(wire.push().lines, expected);
    }
}

#[test]
fn tagged_families_and_series_stay_apart() {
    for tags in [Tags::DogStatsd, Tags::Influx] {
        let mut wire = Wire::new(tagged(tags));
        for name in ["a.b", "a_b", "a b"] {
            let mut family = wire.family(Kind::Counter, name, &["x"]);
            for value in ["1", "", ":", "|", ",", "="] {
                add(&mut family, &[value], Number::Int(1));
            }
        }
        let mut lines = wire.push().lines;
        assert_eq!(lines.len(), 18);
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 18);
    }
}

#[test]
fn families_that_differ_in_what_follows_their_name() {
    for tags in [Tags::None, Tags::DogStatsd, Tags::Influx] {
        let mut wire = Wire::new(tagged(tags));
        let mut counter = wire.family(Kind::Counter, "a.b", &[]);
        add(&mut counter, &[], Number::Int(1));
        let mut summary = wire.family(Kind::Summary, "a_b", &[]);
        sample(&mut summary, &[], 5.0);
        assert_eq!(wire.push().lines, ["a_b:1|c", "a_b.sum:5|c", "a_b.count:1|c"]);
    }
}

#[test]
fn the_order_of_tags_makes_no_difference() {
    for tags in [Tags::DogStatsd, Tags::Influx] {
        let mut wire = Wire::new(Options {
            constant_tags: vec![("a".to_owned(), "prod".to_owned())],
            ..tagged(tags)
        });
        let mut counter = wire.family(Kind::Counter, "c", &["a", "x"]);
        add(&mut counter, &["", "y"], Number::Int(1));
        add(&mut counter, &["prod", "y"], Number::Int(1));
        let lines = wire.push().lines;
        let told_apart: Vec<bool> = lines.iter().map(|line| line.contains("metre_hash")).collect();
        assert_eq!(told_apart, [false, true], "{lines:?}");
    }
}

#[test]
fn a_label_may_be_called_what_the_hash_is_called() {
    for (tags, label) in [(Tags::DogStatsd, "metre_hash:1,"), (Tags::Influx, "metre_hash=1,")] {
        let mut wire = Wire::new(tagged(tags));
        let mut counter = wire.family(Kind::Counter, "c", &["metre_hash", "x"]);
        // The second one becomes what the first one is.
        add(&mut counter, &["1", "a b"], Number::Int(1));
        add(&mut counter, &["1", "a_b-e63f9919"], Number::Int(1));
        let lines = wire.push().lines;
        assert!(lines.iter().all(|line| line.contains(label)), "{lines:?}");
        assert!(lines[1].contains(",metre_hash_"), "{lines:?}");
    }
}

/// Options with these renames, and the tags of a counter `c` with these labels, whose values are 0, 1, ….
fn tags_of(renames: &Renames, constant_tags: &[(&str, &str)], labels: &[(&str, &str)], keys: &[&str]) -> String {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut wire = Wire::with_labels(
        Options {
            renames: renames.clone(),
            constant_tags: constant_tags.iter().map(owned).collect(),
            ..tagged(Tags::DogStatsd)
        },
        labels,
    );
    let mut counter = wire.family(Kind::Counter, "c", keys);
    let values: Vec<String> = (0..keys.len()).map(|number| number.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    add(&mut counter, &values, Number::Int(1));
    wire.push().lines[0].trim_start_matches("c:1|c|#").to_owned()
}

#[test]
fn names_that_receivers_take_are_not_sent() {
    let renames = Renames::default();
    for (label, tag) in Renames::RESERVED {
        assert_eq!(tags_of(&renames, &[], &[], &[label]), format!("{tag}:0"));
        assert_eq!(renames.of_label(tag), tag, "no name is changed twice");
    }
    // A label that has the name already keeps it, wherever it stands, and no two are equal.
    for (keys, expected) in [
        (&["host", "vhost"][..], "vhost_2:0,vhost:1"),
        (&["vhost", "host"], "vhost:0,vhost_2:1"),
        (&["host", "vhost_2", "vhost"], "vhost_3:0,vhost_2:1,vhost:2"),
    ] {
        assert_eq!(tags_of(&renames, &[], &[], keys), expected);
    }
    // What the operator says stays, and gives way to a label if it is a tag of the pusher's.
    let labels = [("env", "prod"), ("vhost", "x")];
    assert_eq!(
        tags_of(
            &renames,
            &[("host", "node1"), ("env", "other")],
            &labels,
            &["host", "type"]
        ),
        "vhost_2:0,type:1,env:prod,vhost:x,host:node1"
    );
    assert_eq!(tags_of(&renames, &[("vhost", "y")], &[], &["host"]), "vhost:0");
}

#[test]
fn operators_decide_what_labels_are_called() {
    let given = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    let none = Renames {
        keeps_reserved: true,
        ..Renames::default()
    };
    assert_eq!(tags_of(&none, &[], &[], &["host", "env"]), "host:0,env:1");
    let some = Renames {
        given: given(&[("host", "domain"), ("env", "env"), ("type", "host"), ("zone", "a.b")]),
        ..Renames::default()
    };
    assert_eq!(
        tags_of(&some, &[], &[("zone", "x")], &["host", "env", "type", "device"]),
        "domain:0,env:1,host:2,exported_device:3,a.b:x"
    );
    let swapped = Renames {
        given: given(&[("a", "b"), ("b", "a")]),
        ..Renames::default()
    };
    assert_eq!(tags_of(&swapped, &[], &[], &["a", "b"]), "b:0,a:1");
    let hash = Renames {
        given: given(&[("x", "metre_hash")]),
        ..Renames::default()
    };
    let mut wire = Wire::new(Options {
        renames: hash,
        ..tagged(Tags::Influx)
    });
    let mut counter = wire.family(Kind::Counter, "c", &["x"]);
    // The second one becomes what the first one is.
    add(&mut counter, &["a b"], Number::Int(1));
    add(&mut counter, &["a_b-e63f9919"], Number::Int(1));
    assert!(wire.push().lines[1].contains(",metre_hash_="));
}
