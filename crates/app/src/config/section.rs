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
/// From this one line per key come the struct's field and its documentation, the default, the key with its
/// comment in the default file, and what is accepted. `inherits field: Section;` behind the braces adds all
/// keys of another section, `ordered low <= high;` keeps two durations from crossing.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Section:ident in $header:tt {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:tt, $rule:expr; )+
        }
        $( $(#[doc = $inherited_doc:literal])+ inherits $inherited:ident: $Inherited:ty; )?
        $( ordered $low:ident <= $high:ident; )?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $( $(#[doc = $doc])+ pub $key: $type, )+
            $( $(#[doc = $inherited_doc])+ pub $inherited: $Inherited, )?
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
                    $( $inherited: {
                        let inherited = base.map(|base| base.$inherited.clone()).unwrap_or_default();
                        $crate::config::table::ConfigSection::read(table, Some(&inherited))
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
pub(crate) use section;
