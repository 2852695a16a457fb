//! Encodes one state as bytes, and decodes it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the format: 1 |
//! | 4 | the version of the state's schema |
//! | 4 | failed starts in a row |
//! | 8 | the number of this record: each that is written has a higher one |
//! | 4 | the length of the content |
//! | n | the content |
//! | 4 | CRC-32C (Castagnoli; RFC 3720, appendix B.4) over the path and all bytes before |
//!
//! Numbers are little-endian. The checksum covers the path, which is not in the record. So a record under another path
//! than its own counts as damaged.

use crate::path::ActorPath;
use crate::state::StoredState;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 21;
const CRC_BYTES: usize = 4;

/// A state with the number of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateRecord {
    pub(super) number: u64,
    pub(super) state: StoredState,
}

/// Returns the bytes of `state` under `path`; `None` if the content is longer than 4 GiB.
pub(super) fn encode(path: &ActorPath, number: u64, state: &StoredState) -> Option<Vec<u8>> {
    let StoredState { version, failed_starts, content } = state;
    let length = u32::try_from(content.len()).ok()?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len() + CRC_BYTES);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&failed_starts.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(content);
    let crc = checksum(path, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// Returns the record in `bytes`, or what is wrong with them.
pub(super) fn decode(path: &ActorPath, bytes: &[u8]) -> Result<StateRecord, String> {
    let total = bytes.len();
    let torn = || format!("{total} bytes are no whole record");
    let (body, stated) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(torn)?;
    let mut rest = body;
    let [format] = take_bytes(&mut rest).ok_or_else(torn)?;
    let version = u32::from_le_bytes(take_bytes(&mut rest).ok_or_else(torn)?);
    let failed_starts = u32::from_le_bytes(take_bytes(&mut rest).ok_or_else(torn)?);
    let number = u64::from_le_bytes(take_bytes(&mut rest).ok_or_else(torn)?);
    let length = u32::from_le_bytes(take_bytes(&mut rest).ok_or_else(torn)?);
    let (stated, actual) = (u32::from_le_bytes(*stated), checksum(path, body));
    if stated != actual {
        return Err(format!("the checksum says {stated:08x}, the content gives {actual:08x}"));
    }
    if format != FORMAT {
        return Err(format!("the record has format {format}; only format {FORMAT} is known"));
    }
    if usize::try_from(length) != Ok(rest.len()) {
        return Err(format!("the record says {length} bytes of content, {} are there", rest.len()));
    }
    Ok(StateRecord { number, state: StoredState { version, failed_starts, content: rest.into() } })
}

fn take_bytes<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*chunk)
}

fn checksum(path: &ActorPath, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(path.as_str().as_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(content: &[u8]) -> StoredState {
        StoredState { version: 7, failed_starts: 1, content: content.into() }
    }

    fn path(name: &str) -> ActorPath {
        ActorPath::root(name).unwrap()
    }

    #[test]
    fn any_flipped_bit_or_wrong_length_is_detected() {
        let one = path("one");
        let whole = encode(&one, 3, &state(br#"{"total":12}"#)).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(&one, &flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(decode(&one, &whole[..at]).is_err(), "cut after {at} bytes");
            assert!(decode(&one, &whole[at + 1..]).is_err(), "cut before byte {}", at + 1);
        }
        assert!(decode(&one, &[whole.as_slice(), &[0]].concat()).is_err());
        assert!(decode(&path("two"), &whole).is_err());
    }

    #[test]
    fn record_of_a_newer_format_is_refused() {
        let one = path("one");
        let mut later = encode(&one, 3, &state(b"{}")).unwrap();
        later[0] = 2;
        later.truncate(later.len() - CRC_BYTES);
        let crc = checksum(&one, &later);
        later.extend_from_slice(&crc.to_le_bytes());
        let reason = decode(&one, &later).unwrap_err();
        assert_eq!(reason, "the record has format 2; only format 1 is known");
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_the_same(
            content in proptest::collection::vec(any::<u8>(), 0..200),
            (version, failed_starts, number) in any::<(u32, u32, u64)>(),
        ) {
            let state = StoredState { version, failed_starts, content: content.into() };
            let bytes = encode(&path("one"), number, &state).unwrap();
            prop_assert_eq!(decode(&path("one"), &bytes), Ok(StateRecord { number, state }));
        }

        #[test]
        fn random_bytes_are_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(decode(&path("one"), &bytes).is_err());
        }
    }
}
