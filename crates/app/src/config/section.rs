//! The declaration of a section of the file: each key once, with its meaning, type, default and rule.

use toml::Spanned;
use toml::de::DeTable;

use super::table::{ConfigSection, TableReader};

/// Returns the defaults of a section: its `KEYS`, read by the rules that read a file. That each of them passes
/// its rule, and means what the documentation says, is shown by the tests of the default file.
pub(crate) fn defaults<S: ConfigSection>() -> S {
    let keys = DeTable::parse(S::KEYS).map(Spanned::into_inner);
    S::read(&mut TableReader::new(&keys.unwrap_or_else(|_| DeTable::new())), None)
}

/// Declares a section:
///
/// ```text
/// section! {
///     /// What the section is for.
///     pub struct CacheConfig in [cache] {
///         /// What the key does.
///         ttl: Duration = "60s", duration(ZERO..=HOUR);
///     }
/// }
/// ```
///
/// From this one line per key come the struct's field with its documentation, and the key with its comment in the
/// default file. The line also says what the default is, and what is accepted and written. Behind the braces,
///
/// - `overrides field: Overrides;` adds the keys of another section, each of which may be absent,
/// - `ordered low <= high;` keeps two durations from crossing,
/// - `overridden by Overrides, low <= high;` declares a struct for these keys, each of which may be absent.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Section:ident in $header:tt $keys:tt
        $( $(#[doc = $overrides_doc:literal])+ overrides $overrides:ident: $Overrides:ty; )?
        $( ordered $low:ident <= $high:ident; )?
        $( overridden by $Overridden:ident, $lower:ident <= $upper:ident; )?
    ) => {
        $crate::config::section::keys! {
            $(#[doc = $about])+
            $Section in $header $keys
            $( $(#[doc = $overrides_doc])+ overrides $overrides: $Overrides; )?
            $( ordered $low <= $high; )?
        }
        $( $crate::config::section::overrides! { $Overridden of $Section $keys ordered $lower <= $upper; } )?
    };
}
pub(crate) use section;

/// Declares the struct of a section; see [`section`].
macro_rules! keys {
    (
        $(#[doc = $about:literal])+
        $Section:ident in $header:tt {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:tt, $rule:expr; )+
        }
        $( $(#[doc = $overrides_doc:literal])+ overrides $overrides:ident: $Overrides:ty; )?
        $( ordered $low:ident <= $high:ident; )?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize)]
        pub struct $Section {
            $(
                $(#[doc = $doc])+
                #[serde(serialize_with = "crate::config::value::serialize")]
                pub $key: $type,
            )+
            $(
                $(#[doc = $overrides_doc])+
                #[serde(flatten)]
                pub $overrides: $Overrides,
            )?
        }

        impl Default for $Section {
            fn default() -> Self {
                $crate::config::section::defaults()
            }
        }

        impl $crate::config::table::ConfigSection for $Section {
            const HEADER: &'static str = stringify!($header);
            const ABOUT: &'static str = concat!($("#", $about, "\n",)+);
            const KEYS: &'static str = concat!(
                $( $("#", $doc, "\n",)+ stringify!($key), " = ", stringify!($default), "\n", )+
            );

            fn read(
                table: &mut $crate::config::table::TableReader<'_, '_>,
                base: Option<&Self>,
            ) -> Self {
                let section = Self {
                    $( $key: table.read(stringify!($key), base.map(|base| &base.$key), $rule), )+
                    $( $overrides: {
                        let inherited = base.map(|base| base.$overrides.clone()).unwrap_or_default();
                        <$Overrides>::read(table, &inherited)
                    }, )?
                };
                $( table.ordered(
                    (stringify!($low), section.$low),
                    (stringify!($high), section.$high),
                ); )?
                section
            }
        }
    };
}
pub(crate) use keys;

/// Declares the struct of `overridden by`; see [`section`].
macro_rules! overrides {
    (
        $Overrides:ident of $Section:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:tt, $rule:expr; )+
        }
        ordered $low:ident <= $high:ident;
    ) => {
        #[doc = concat!("The keys of [`", stringify!($Section), "`] that one section sets for itself. ")]
        /// `None` takes the value from there.
        #[derive(Debug, Clone, PartialEq, Default, ::serde::Serialize)]
        pub struct $Overrides {
            $(
                $(#[doc = $doc])+
                #[serde(
                    skip_serializing_if = "Option::is_none",
                    serialize_with = "crate::config::value::serialize"
                )]
                pub $key: Option<$type>,
            )+
        }

        impl $Overrides {
            /// Returns all values: those that are set here, and `defaults` for the rest.
            #[must_use]
            pub fn over(&self, defaults: &$Section) -> $Section {
                $Section { $( $key: self.$key.clone().unwrap_or_else(|| defaults.$key.clone()), )+ }
            }

            /// Reads the keys of a table. `inherited` has the values of the others.
            fn read(table: &mut $crate::config::table::TableReader<'_, '_>, inherited: &Self) -> Self {
                let read = Self { $( $key: table.read_own(stringify!($key), $rule), )+ };
                let (low, high) = (read.$low.or(inherited.$low), read.$high.or(inherited.$high));
                if let (Some(low), Some(high)) = (low, high) {
                    table.ordered((stringify!($low), low), (stringify!($high), high));
                }
                read
            }
        }

        impl From<$Section> for $Overrides {
            /// Sets every key.
            fn from(section: $Section) -> Self {
                Self { $( $key: Some(section.$key), )+ }
            }
        }
    };
}
pub(crate) use overrides;
