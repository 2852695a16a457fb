//! The label of a message in the journal: its variant.

use std::any::type_name;
use std::fmt::{self, Write};
use std::ops::Deref;

/// The longest label, in bytes. A longer name is cut.
const BYTES_MAX: usize = 40;

/// The label of a message: the first word of its `Debug` output, which a derived `Debug` begins with the variant. Each
/// message that is handled gets one, so it takes no memory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    len: usize,
    bytes: [u8; BYTES_MAX],
}

impl Label {
    /// Returns the label of a message. Output that begins with no name may be content: the type's name replaces it.
    pub(crate) fn of<M: fmt::Debug>(message: &M) -> Self {
        let mut label = Self::EMPTY;
        // It ends the output behind the first word, with an error.
        let _ = write!(label, "{message:?}");
        if label.starts_with(|letter: char| letter.is_alphabetic()) { label } else { Self::of_type::<M>() }
    }

    /// Returns the last part of a type's name.
    pub(crate) fn of_type<M>() -> Self {
        let name = type_name::<M>();
        let name = name.split('<').next().unwrap_or(name);
        Self::from_name(name.rsplit(':').next().unwrap_or(name))
    }

    /// Returns the label for a name.
    pub(crate) fn from_name(name: &str) -> Self {
        let mut label = Self::EMPTY;
        let _ = label.write_str(name);
        label
    }

    const EMPTY: Self = Self { len: 0, bytes: [0; BYTES_MAX] };
}

impl Write for Label {
    /// Takes letters, digits and `_` as long as there is room, and refuses everything from the first other character on.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let end = self.len + letter.len_utf8();
            match self.bytes.get_mut(self.len..end) {
                Some(room) if letter.is_alphanumeric() || letter == '_' => letter.encode_utf8(room),
                _ => return Err(fmt::Error),
            };
            self.len = end;
        }
        Ok(())
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "only its Debug output counts")]
    enum VariedMessage<T> {
        Unit,
        Tuple(T),
        Fields { secret: T },
        ANameThatIsLongerThanAnyLabelMayEverBe01234,
        Größe(T),
    }

    #[derive(Debug)]
    struct Wrapper(#[allow(dead_code, reason = "only its Debug output counts")] u8);

    /// Fails if its content is formatted.
    struct Content;

    impl fmt::Debug for Content {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("the content of a message was formatted")
        }
    }

    #[test]
    fn label_is_the_variant_and_never_content() {
        use VariedMessage::*;
        let labels =
            [Unit, Tuple(Content), Fields { secret: Content }, Größe(Content)].map(|it| Label::of(&it));
        assert_eq!(labels.map(|label| label.to_string()), ["Unit", "Tuple", "Fields", "Größe"]);
        let cut = Label::of(&VariedMessage::<u8>::ANameThatIsLongerThanAnyLabelMayEverBe01234);
        assert_eq!(&*cut, "ANameThatIsLongerThanAnyLabelMayEverBe01");
        assert_eq!(&*Label::of(&Wrapper(7)), "Wrapper");
        assert_eq!(&*Label::of(&7_u32), "u32");
        assert_eq!(&*Label::of(&"secret".to_owned()), "String");
        assert_eq!(&*Label::of_type::<VariedMessage<Content>>(), "VariedMessage");
    }
}
