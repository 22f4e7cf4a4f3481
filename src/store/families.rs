//! The list of families, as readers see it at one moment.

use super::family::Family;
use std::ops::Index;
use std::sync::Arc;

/// How many families of a page of the list are copied where one is added. A page that gets too long is divided.
const PAGE: usize = 128;

/// All families of one moment, by the name they have on the page.
///
/// A list never changes: there is a new one whenever a family comes or goes, which shares all pages but one with the
/// one before.
#[derive(Clone, Default)]
pub struct Families {
    /// Ascending; none is empty.
    pages: Vec<Arc<Vec<Arc<Family>>>>,
    count: usize,
}

impl Families {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The family of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Family>> {
        let page = self.pages.get(self.page_of(name))?;
        page.get(find(page, name).ok()?)
    }

    /// Whether there is a family of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The families, by their names.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Family>> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    /// Their names.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.values().map(|family| &family.name)
    }

    /// The page that a family of this name is on, or would be: the last one that doesn't begin after it.
    fn page_of(&self, name: &str) -> usize {
        let after = self.pages.partition_point(|page| page[0].name.as_str() <= name);
        after.saturating_sub(1)
    }

    /// Adds a family; one of the same name goes.
    pub(super) fn insert(&mut self, family: Arc<Family>) {
        let number = self.page_of(&family.name);
        let Some(page) = self.pages.get_mut(number) else {
            self.pages.push(Arc::new(vec![family]));
            self.count = 1;
            return;
        };
        let page = Arc::make_mut(page);
        match find(page, &family.name) {
            Ok(at) => page[at] = family,
            Err(at) => {
                page.insert(at, family);
                self.count += 1;
                if page.len() > PAGE {
                    let rest = page.split_off(PAGE / 2);
                    self.pages.insert(number + 1, Arc::new(rest));
                }
            }
        }
    }

    /// Takes out the family of this name.
    pub(super) fn remove(&mut self, name: &str) {
        let number = self.page_of(name);
        let Some(page) = self.pages.get_mut(number) else {
            return;
        };
        if let Ok(at) = find(page, name) {
            let page = Arc::make_mut(page);
            page.remove(at);
            self.count -= 1;
            if page.is_empty() {
                self.pages.remove(number);
            }
        }
    }
}

fn find(page: &[Arc<Family>], name: &str) -> Result<usize, usize> {
    page.binary_search_by(|family| family.name.as_str().cmp(name))
}

impl Index<&str> for Families {
    type Output = Arc<Family>;

    /// # Panics
    /// When there is none of that name.
    fn index(&self, name: &str) -> &Arc<Family> {
        self.get(name).expect("a family of that name")
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::super::{FamilySpec, Store};
    use super::*;
    use crate::model::Kind;
    use std::collections::BTreeMap;

    #[test]
    fn a_list_is_like_a_map_and_never_changes() {
        let store = Store::new();
        let family = |number: u32| {
            let spec = FamilySpec::new(Kind::Gauge, format!("g{number}"));
            Arc::clone(store.register_own(spec).family())
        };
        let all: Vec<Arc<Family>> = (0..1000).map(family).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let (mut list, mut map) = (Families::default(), BTreeMap::new());
        assert!(list.is_empty() && list.get("g1").is_none());
        list.remove("g1");
        for round in 0..8000 {
            let family = &all[random.usize(..all.len())];
            let before = (list.clone(), list.len());
            // It grows, and shrinks again until it is empty.
            if random.u32(..3) > 2 * u32::from(round > 4000) {
                list.insert(Arc::clone(family));
                map.insert(family.name.clone(), Arc::clone(family));
            } else {
                list.remove(&family.name);
                map.remove(&family.name);
            }
            assert_eq!((list.len(), before.0.values().count()), (map.len(), before.1));
            assert_eq!(list.contains_key(&family.name), map.contains_key(&family.name));
            if round % 100 == 0 {
                assert!(list.keys().eq(map.keys()), "{round}");
                assert!(all
                    .iter()
                    .all(|one| list.contains_key(&one.name) == map.contains_key(&one.name)));
            }
        }
        all.iter().for_each(|family| list.remove(&family.name));
        assert!(list.is_empty() && list.values().next().is_none());
    }
}
