//! A record that is given to another series, beside a reader, as `crate::interleavings` has them.

use super::chunk::Chunk;
use super::record::{self, word_of};
use crate::interleavings::explore;
use crate::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::Arc;

#[test]
fn a_record_is_one_series_or_the_other() {
    explore("a record is one series or the other", 2, || {
        let chunk = Arc::new(Chunk::new(4));
        let holding = |value: u64| {
            move |record: &[AtomicU64]| {
                record[record::BODY].store(value, Relaxed);
                0
            }
        };
        chunk.append(1, b"old one", holding(1)).unwrap();
        let of_reader = Arc::clone(&chunk);
        let reader = loom::thread::spawn(move || {
            let mut copy = Vec::new();
            record::copy(of_reader.record(0), &mut copy, 0);
            (copy[record::BODY], copy[3])
        });
        chunk.reuse(0, b"new one", holding(2));
        let seen = reader.join().unwrap();
        let (old, new) = ((1, word_of(b"old one")), (2, word_of(b"new one")));
        assert!(seen == old || seen == new, "{seen:?}");
    });
}
