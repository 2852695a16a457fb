//! Writes the values of keys in the form in which the file has them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_actors::network::proxy::ProxyChoice;
use serde::{Serialize, Serializer};

use super::choice::{HealthSource, NamedChoice, ReadyWhen};
use super::duration::format_duration;
use super::size::format_size;

/// A value of a key.
pub(crate) trait ConfigValue {
    /// Writes it as the file has it: the key's rule reads the same value back.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// Writes a value; for serde's `serialize_with`.
pub(crate) fn serialize<T: ConfigValue, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

macro_rules! written_plainly {
    ($($type:ty)+) => {
        $(impl ConfigValue for $type {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        })+
    };
}

written_plainly! {
    bool u8 u16 u32 usize f64 String PathBuf Vec<String> Vec<PathBuf> BTreeMap<String, String>
}

impl<C: NamedChoice + PartialEq> ConfigValue for C {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = C::NAMES.iter().find(|(_, choice)| choice == self).map_or("", |(name, _)| name);
        name.serialize(serializer)
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl ConfigValue for Duration {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        format_duration(*self).serialize(serializer)
    }
}

/// Each key with so large a number is a size in bytes.
impl ConfigValue for u64 {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        format_size(*self).serialize(serializer)
    }
}

impl ConfigValue for ReadyWhen {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => "none".serialize(serializer),
            Self::Listening => "listening".serialize(serializer),
            Self::Stdout(text) => format!("stdout:{text}").serialize(serializer),
            Self::Http(path) => format!("http:{path}").serialize(serializer),
            Self::HttpAt(url) => url.to_string().serialize(serializer),
        }
    }
}

impl ConfigValue for HealthSource {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => "none".serialize(serializer),
            Self::Ping => "ping".serialize(serializer),
            Self::Http(path) => format!("http:{path}").serialize(serializer),
            Self::HttpAt(url) => url.to_string().serialize(serializer),
        }
    }
}

impl ConfigValue for ProxyChoice {
    /// Writes a proxy without its user and password.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::System => "system".serialize(serializer),
            Self::Direct => "none".serialize(serializer),
            Self::Explicit(proxy) => proxy.to_string().serialize(serializer),
        }
    }
}
