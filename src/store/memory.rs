//! The writer's side of a family's memory: where a new record goes.

use super::chunk::{self, Chunk};
use super::family::Family;
use super::index::Location;
use super::record;
use crate::sync::atomic::AtomicU64;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The chunks of one family, by their numbers.
///
/// Only the family's writer has this, on its thread. Readers have the list of chunks in [`Family`], which is replaced
/// whenever a chunk comes or goes, and each chunk's own length. A new record goes, by its length, into a free record
/// ([`Memory::release`] takes these back); else behind the last record of the last chunk; else into a new chunk, twice
/// as large as the last one. It is written before readers learn of it: a chunk's length grows after that, and a new
/// chunk is listed after that. A record that is used again was known before, so there readers look at its sequence
/// number. A chunk goes when its last record has become free. Readers who have the old list still read it, and the
/// number of the chunk may be given again: so whoever keeps a [`Location`] longer than the series lives has the
/// series' serial number, too, and asks with both ([`Memory::get`], [`Memory::next`]).
#[derive(Default)]
pub(super) struct Memory {
    chunks: Vec<Option<Numbered>>,
    /// The number of the chunk to which records are appended.
    last: Option<usize>,
    /// Records whose series have gone, by their length in words.
    free: BTreeMap<usize, Vec<Location>>,
    /// Numbers whose chunks have gone.
    unused: Vec<usize>,
}

/// A chunk that has a number.
struct Numbered {
    chunk: Arc<Chunk>,
    /// How many of its records are not free.
    live: usize,
    /// Whether readers see it.
    listed: bool,
    /// The serial number of the first series in it. A chunk's number may be given again, and offsets are then others.
    born: u64,
}

impl Memory {
    /// The record at `location`, where a record must be.
    #[inline]
    pub(super) fn record(&self, location: Location) -> &[AtomicU64] {
        match self.chunks[location.chunk()].as_ref() {
            Some(numbered) => numbered.chunk.record(location.offset()),
            // Nobody has the location of a record whose chunk has gone.
            None => &[],
        }
    }

    /// The record at `location` if the series with this serial number got it, or a series that came later.
    #[inline]
    pub(super) fn get(&self, location: Location, serial: u64) -> Option<&[AtomicU64]> {
        let numbered = self.chunks.get(location.chunk())?.as_ref()?;
        (numbered.born <= serial).then(|| numbered.chunk.record(location.offset()))
    }

    /// Writes a record for the series with this serial number, with `body` words before its label set, which `init`
    /// fills and gives the flags of. `None` if no location is left: the family holds billions of words already, or the
    /// label set has gigabytes.
    pub(super) fn allocate(
        &mut self,
        family: &Family,
        body: usize,
        labels: &[u8],
        serial: u64,
        init: impl Fn(&[AtomicU64]) -> u32,
    ) -> Option<Location> {
        let length = record::words_needed(body, labels.len());
        u32::try_from(labels.len()).ok()?;
        if let Some(location) = self.take_free(length) {
            let numbered = self.chunks.get_mut(location.chunk())?.as_mut()?;
            numbered.chunk.reuse(location.offset(), labels, init);
            numbered.live += 1;
            return Some(location);
        }
        // A location is found before anything is written, so that a record without one is never seen.
        if let Some(location) = self.append(body, labels, &init) {
            return Some(location);
        }
        let last = self.last.and_then(|last| self.chunks.get(last)?.as_ref());
        let words = match (last, family.label_names.len()) {
            // Without labels there is just one series; with labels there may be a few or a million.
            (None, 0) => length,
            (None, keys) => (2 * record::words_needed(body, 16 * keys)).min(chunk::FULL).max(length),
            (Some(last), _) => (2 * last.chunk.capacity()).clamp(length, chunk::FULL.max(length)),
        };
        let location = self.add_chunk(words, serial, true)?;
        let numbered = self.chunks.get_mut(location.chunk())?.as_mut()?;
        numbered.chunk.append(body, labels, init)?;
        numbered.live += 1;
        let added = [Arc::clone(&numbered.chunk)];
        family.change_chunks(|chunks| [chunks, &added].concat());
        self.last = Some(location.chunk());
        Some(location)
    }

    /// The same for a record without labels that no reader ever sees.
    pub(super) fn allocate_unseen(
        &mut self,
        body: usize,
        serial: u64,
        init: impl Fn(&[AtomicU64]) -> u32,
    ) -> Option<Location> {
        let location = self.add_chunk(record::words_needed(body, 0), serial, false)?;
        let numbered = self.chunks.get_mut(location.chunk())?.as_mut()?;
        numbered.chunk.append(body, &[], init)?;
        numbered.live += 1;
        Some(location)
    }

    /// Takes back the memory of records that are free. Chunks in which nothing else is left go.
    pub(super) fn release(&mut self, family: &Family, freed: &[Location]) {
        for location in freed {
            if let Some(Some(numbered)) = self.chunks.get_mut(location.chunk()) {
                numbered.live -= 1;
            }
        }
        let mut empty: HashSet<usize> = freed.iter().map(|location| location.chunk()).collect();
        empty.retain(|number| matches!(&self.chunks[*number], Some(numbered) if numbered.live == 0));
        for location in freed.iter().filter(|location| !empty.contains(&location.chunk())) {
            let length = self.record(*location).len();
            self.free.entry(length).or_default().push(*location);
        }
        if empty.is_empty() {
            return;
        }
        for locations in self.free.values_mut() {
            locations.retain(|location| !empty.contains(&location.chunk()));
        }
        self.free.retain(|_, locations| !locations.is_empty());
        for number in &empty {
            self.chunks[*number] = None;
        }
        self.unused.extend(&empty);
        self.last = self.last.filter(|last| !empty.contains(last));
        let listed = self.chunks.iter().flatten().filter(|numbered| numbered.listed);
        let listed: Vec<_> = listed.map(|numbered| Arc::clone(&numbered.chunk)).collect();
        family.change_chunks(|_| listed.clone());
    }

    /// The first record that readers see; or the next one after that of the series with this location and serial
    /// number, which may have gone with its chunk.
    pub(super) fn next(&self, after: Option<(Location, u64)>) -> Option<Location> {
        let first = after.map_or(0, |(after, _)| after.chunk());
        (first..self.chunks.len()).find_map(|number| {
            let numbered = self.chunks[number].as_ref().filter(|numbered| numbered.listed)?;
            let from = match after {
                Some((after, serial)) if after.chunk() == number && numbered.born <= serial => {
                    after.offset() + numbered.chunk.record(after.offset()).len()
                }
                _ => 0,
            };
            (from < numbered.chunk.used())
                .then(|| Location::new(number, from))
                .flatten()
        })
    }

    /// The end of the chunks' numbers: all are below it.
    pub(super) fn end(&self) -> usize {
        self.chunks.len()
    }

    /// The locations of all records in the chunk of this number, if there is one and readers see it.
    pub(super) fn locations(&self, number: usize) -> Vec<Location> {
        match self.chunks.get(number) {
            Some(Some(numbered)) if numbered.listed => {
                let offsets = numbered.chunk.records_at().map(|(offset, _)| offset);
                offsets.filter_map(|offset| Location::new(number, offset)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn take_free(&mut self, length: usize) -> Option<Location> {
        let (&found, locations) = self.free.range_mut(length..=2 * length).next()?;
        let location = locations.pop();
        if locations.is_empty() {
            self.free.remove(&found);
        }
        location
    }

    fn append(&mut self, body: usize, labels: &[u8], init: impl Fn(&[AtomicU64]) -> u32) -> Option<Location> {
        let number = self.last?;
        let numbered = self.chunks.get_mut(number)?.as_mut()?;
        let location = Location::new(number, numbered.chunk.used())?;
        numbered.chunk.append(body, labels, init)?;
        numbered.live += 1;
        Some(location)
    }

    /// A new chunk, and the location of the first record in it.
    fn add_chunk(&mut self, words: usize, born: u64, listed: bool) -> Option<Location> {
        let number = self.unused.pop().unwrap_or(self.chunks.len());
        let location = Location::new(number, 0)?;
        if number == self.chunks.len() {
            self.chunks.push(None);
        }
        self.chunks[number] = Some(Numbered {
            chunk: Arc::new(Chunk::new(words)),
            live: 0,
            listed,
            born,
        });
        Some(location)
    }
}
