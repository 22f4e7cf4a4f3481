//! The writer's side of a family's memory: where there is room for a record.

use super::chunk::{self, Chunk};
use super::family::Family;
use super::index::Location;
use super::record;
use crate::sync::atomic::AtomicU64;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The chunks of one family, by their numbers.
#[derive(Default)]
pub(super) struct Memory {
    rooms: Vec<Option<Room>>,
    /// The chunk that is appended to.
    last: Option<usize>,
    /// Records whose series have gone, by their length in words.
    free: BTreeMap<usize, Vec<Location>>,
    /// Numbers whose chunks have gone.
    unused: Vec<usize>,
}

struct Room {
    chunk: Arc<Chunk>,
    /// How many records are not free.
    live: usize,
    /// Whether readers see it.
    listed: bool,
    /// The serial number of the first series in it. A number of a chunk may be given again, and offsets are then others.
    born: u64,
}

impl Memory {
    /// The record at `location`, which there is.
    #[inline]
    pub(super) fn record(&self, location: Location) -> &[AtomicU64] {
        match self.rooms[location.chunk()].as_ref() {
            Some(room) => room.chunk.record(location.offset()),
            // Nobody has the location of a record whose chunk has gone.
            None => &[],
        }
    }

    /// The record at `location` if that was given to the series with this serial number, or to one that came later.
    #[inline]
    pub(super) fn get(&self, location: Location, serial: u64) -> Option<&[AtomicU64]> {
        let room = self.rooms.get(location.chunk())?.as_ref()?;
        (room.born <= serial).then(|| room.chunk.record(location.offset()))
    }

    /// Finds room for a record with `body` words before its label set, of the series with this serial number, and writes it there. `None` if there is none: the
    /// family holds billions of words already, or the label set has gigabytes.
    pub(super) fn place(
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
            let room = self.rooms.get_mut(location.chunk())?.as_mut()?;
            room.chunk.reuse(location.offset(), labels, init);
            room.live += 1;
            return Some(location);
        }
        // A place is settled before anything is shown there, so that what has no place stays unseen.
        if let Some(location) = self.append(body, labels, &init) {
            return Some(location);
        }
        let last = self.last.and_then(|last| self.rooms.get(last)?.as_ref());
        let words = match (last, family.label_names.len()) {
            // Without labels there is just one series; with labels there may be a few or a million.
            (None, 0) => length,
            (None, keys) => (2 * record::words_needed(body, 16 * keys)).min(chunk::FULL).max(length),
            (Some(last), _) => (2 * last.chunk.capacity()).clamp(length, chunk::FULL.max(length)),
        };
        let location = self.add(words, serial, true)?;
        let room = self.rooms.get_mut(location.chunk())?.as_mut()?;
        room.chunk.append(body, labels, init)?;
        room.live += 1;
        let added = [Arc::clone(&room.chunk)];
        family.change_chunks(|chunks| [chunks, &added].concat());
        self.last = Some(location.chunk());
        Some(location)
    }

    /// A record that no reader ever sees.
    pub(super) fn place_unseen(
        &mut self,
        body: usize,
        serial: u64,
        init: impl Fn(&[AtomicU64]) -> u32,
    ) -> Option<Location> {
        let location = self.add(record::words_needed(body, 0), serial, false)?;
        let room = self.rooms.get_mut(location.chunk())?.as_mut()?;
        room.chunk.append(body, &[], init)?;
        room.live += 1;
        Some(location)
    }

    /// Takes back the memory of records that are free. Chunks in which nothing else is left go.
    pub(super) fn release(&mut self, family: &Family, freed: &[Location]) {
        for location in freed {
            if let Some(Some(room)) = self.rooms.get_mut(location.chunk()) {
                room.live -= 1;
            }
        }
        let mut empty: HashSet<usize> = freed.iter().map(|location| location.chunk()).collect();
        empty.retain(|number| matches!(&self.rooms[*number], Some(room) if room.live == 0));
        for location in freed.iter().filter(|location| !empty.contains(&location.chunk())) {
            let length = self.record(*location).len();
            self.free.entry(length).or_default().push(*location);
        }
        if empty.is_empty() {
            return;
        }
        for places in self.free.values_mut() {
            places.retain(|location| !empty.contains(&location.chunk()));
        }
        self.free.retain(|_, places| !places.is_empty());
        for number in &empty {
            self.rooms[*number] = None;
        }
        self.unused.extend(&empty);
        self.last = self.last.filter(|last| !empty.contains(last));
        let listed = self.rooms.iter().flatten().filter(|room| room.listed);
        let listed: Vec<_> = listed.map(|room| Arc::clone(&room.chunk)).collect();
        family.change_chunks(|_| listed.clone());
    }

    /// The next record that readers see after that of the series with this location and serial number, or the first one. That
    /// series may have gone, and its chunk, too.
    pub(super) fn next(&self, after: Option<(Location, u64)>) -> Option<Location> {
        let first = after.map_or(0, |(after, _)| after.chunk());
        (first..self.rooms.len()).find_map(|number| {
            let room = self.rooms[number].as_ref().filter(|room| room.listed)?;
            let from = match after {
                Some((after, serial)) if after.chunk() == number && room.born <= serial => {
                    after.offset() + room.chunk.record(after.offset()).len()
                }
                _ => 0,
            };
            (from < room.chunk.used())
                .then(|| Location::new(number, from))
                .flatten()
        })
    }

    /// How many chunks there are or were.
    pub(super) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The places of all records in the chunk of this number, if readers see it.
    pub(super) fn places(&self, number: usize) -> Vec<Location> {
        match self.rooms.get(number) {
            Some(Some(room)) if room.listed => {
                let places = room.chunk.placed_records().map(|(offset, _)| offset);
                places.filter_map(|offset| Location::new(number, offset)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn take_free(&mut self, length: usize) -> Option<Location> {
        let (&found, places) = self.free.range_mut(length..=2 * length).next()?;
        let location = places.pop();
        if places.is_empty() {
            self.free.remove(&found);
        }
        location
    }

    fn append(&mut self, body: usize, labels: &[u8], init: impl Fn(&[AtomicU64]) -> u32) -> Option<Location> {
        let number = self.last?;
        let room = self.rooms.get_mut(number)?.as_mut()?;
        let location = Location::new(number, room.chunk.used())?;
        room.chunk.append(body, labels, init)?;
        room.live += 1;
        Some(location)
    }

    fn add(&mut self, words: usize, born: u64, listed: bool) -> Option<Location> {
        let number = self.unused.pop().unwrap_or(self.rooms.len());
        let location = Location::new(number, 0)?;
        if number == self.rooms.len() {
            self.rooms.push(None);
        }
        self.rooms[number] = Some(Room {
            chunk: Arc::new(Chunk::new(words)),
            live: 0,
            listed,
            born,
        });
        Some(location)
    }
}
