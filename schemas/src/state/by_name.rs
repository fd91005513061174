//! A small map by name.

use std::{fmt, marker::PhantomData, ops};

use compact_str::CompactString;
use litemap::LiteMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

/// A map of few entries: a list sorted by name. To serde it is a map, also when it is empty, which JSON's form of
/// a [`LiteMap`] is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByName<V>(LiteMap<CompactString, V>);

impl<V> Default for ByName<V> {
    fn default() -> Self {
        Self(LiteMap::new())
    }
}

impl<V> ByName<V> {
    /// Looks through the few there are: names of other lengths are told apart at once, which a search by order cannot.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.0.iter_mut().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl<V> ops::Deref for ByName<V> {
    type Target = LiteMap<CompactString, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> ops::DerefMut for ByName<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<V> FromIterator<(CompactString, V)> for ByName<V> {
    fn from_iter<I: IntoIterator<Item = (CompactString, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for ByName<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = ByName<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ByName<V>, A::Error> {
                let mut map = LiteMap::new();
                while let Some((name, value)) = entries.next_entry::<CompactString, V>()? {
                    // Written in order, so this appends.
                    map.insert(name, value);
                }
                Ok(ByName(map))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
