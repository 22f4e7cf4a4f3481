//! Where each label set's record is.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Where a record is: its chunk's number (upper 20 bits) and its offset in that chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location(u32);

impl Location {
    const OFFSET_BITS: u32 = 12;

    pub(crate) fn new(chunk: usize, offset: usize) -> Option<Location> {
        let chunk = u32::try_from(chunk).ok()?;
        let offset = u32::try_from(offset).ok()?;
        let fits = chunk >> (32 - Self::OFFSET_BITS) == 0 && offset >> Self::OFFSET_BITS == 0;
        fits.then_some(Location(chunk << Self::OFFSET_BITS | offset))
    }

    /// As a number, to be kept where only numbers can be.
    pub fn to_number(self) -> u32 {
        self.0
    }

    /// The reverse of [`Location::to_number`].
    pub fn from_number(number: u32) -> Location {
        Location(number)
    }

    pub(crate) fn chunk(self) -> usize {
        (self.0 >> Self::OFFSET_BITS) as usize
    }

    pub(crate) fn offset(self) -> usize {
        (self.0 & ((1 << Self::OFFSET_BITS) - 1)) as usize
    }
}

/// A hash table from label sets to locations that keeps neither: an entry is half of the hash and the location, so
/// growing looks at no record and a look-up at the right one only. Label values come from strangers, hence the
/// seeded hash.
pub(crate) struct Index {
    table: HashTable<u64>,
    seed: RandomState,
}

/// The half of the hash that entries keep, spread over 64 bits for the table.
fn spread(half: u64) -> u64 {
    half.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            table: HashTable::new(),
            seed: RandomState::default(),
        }
    }

    #[inline]
    fn half(&self, labels: &[u8]) -> u64 {
        self.seed.hash_one(labels) >> 32
    }

    /// The location for which `is_it` holds, among those of label sets with the same hash as this one.
    #[inline]
    pub(crate) fn find(&self, labels: &[u8], is_it: impl Fn(Location) -> bool) -> Option<Location> {
        let half = self.half(labels);
        self.table
            .find(spread(half), |entry| {
                entry >> 32 == half && is_it(Location(*entry as u32))
            })
            .map(|entry| Location(*entry as u32))
    }

    /// Forgets a label set that is at `location`.
    pub(crate) fn remove(&mut self, labels: &[u8], location: Location) {
        let half = self.half(labels);
        let entry = half << 32 | u64::from(location.0);
        if let Ok(found) = self.table.find_entry(spread(half), |other| *other == entry) {
            found.remove();
            if self.table.len() < self.table.capacity() / 4 {
                self.table.shrink_to(2 * self.table.len(), |entry| spread(entry >> 32));
            }
        }
    }

    /// Remembers a label set that isn't in the table yet.
    pub(crate) fn insert(&mut self, labels: &[u8], location: Location) {
        let half = self.half(labels);
        let entry = half << 32 | u64::from(location.0);
        self.table
            .insert_unique(spread(half), entry, |entry| spread(entry >> 32));
    }
}
