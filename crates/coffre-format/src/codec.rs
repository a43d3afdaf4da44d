//! Canonical values: postcard with a version before it, refused unless encoding again gives the same bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::FormatError;
use crate::error::Result;

/// Version byte of records and sealed bodies.
pub(crate) const VERSION: u8 = 1;

/// `version ‖ postcard(value)`.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    put(value, &mut out);
    out
}

/// What most values take, in bytes: room for it is made at once, not as byte follows byte.
const USUAL: usize = 256;

/// Appends `version ‖ postcard(value)`.
pub(crate) fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_bare(value, out);
}

/// Appends `postcard(value)`.
pub(crate) fn put_bare<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.reserve(USUAL);
    let encoded = postcard::to_extend(value, std::mem::take(out));
    *out = encoded.expect("values of this crate always encode");
}

/// Appends what `put` appends, with its length u32 before it.
pub(crate) fn put_long(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = u32::try_from(out.len() - start - 4).expect("what is encoded is far below 4 GiB");
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads what [`encode`] made.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T> {
    decode_bare(versioned(bytes, what)?, what)
}

/// As [`decode`], of what is encoded again as a part of something larger: whether it is canonical shows there.
pub(crate) fn decode_part<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    decode_part_bare(versioned(bytes, what)?, what)
}

/// The same without a version.
pub(crate) fn decode_part_bare<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    let why = "it does not decode";
    postcard::from_bytes(bytes).map_err(|_| FormatError::Malformed { what, why })
}

/// What follows the version.
fn versioned<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8]> {
    match bytes.split_first() {
        None => Err(FormatError::Truncated { what }),
        Some((&VERSION, rest)) => Ok(rest),
        Some((version, _)) => Err(FormatError::Unsupported {
            what,
            version: u32::from(*version),
        }),
    }
}

/// Reads `postcard(value)` that fills `bytes` exactly and is canonical.
pub(crate) fn decode_bare<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T> {
    let malformed = |why| FormatError::Malformed { what, why };
    let value: T = decode_part_bare(bytes, what)?;
    let mut same = Compare {
        expected: bytes,
        equal: true,
    };
    postcard::to_extend(&value, &mut same).map_err(|_| malformed("it does not encode again"))?;
    if !same.equal || !same.expected.is_empty() {
        return Err(malformed("it is not in canonical form"));
    }
    Ok(value)
}

/// Length of `postcard(value)`, without making it.
pub(crate) fn length<T: Serialize>(value: &T) -> usize {
    let mut count = Count(0);
    postcard::to_extend(value, &mut count).expect("values of this crate always encode");
    count.0
}

/// Counts what is encoded.
struct Count(usize);

impl Extend<u8> for &mut Count {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0 += bytes.into_iter().count();
    }
}

/// Compares what is encoded with what was read.
struct Compare<'a> {
    expected: &'a [u8],
    equal: bool,
}

impl Extend<u8> for &mut Compare<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            match self.expected.split_first() {
                Some((first, rest)) if *first == byte => self.expected = rest,
                _ => self.equal = false,
            }
        }
    }
}

/// Fields from the front of a slice, each bounded by what is left.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(self.truncated())?;
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let (field, rest) = self.rest.split_at_checked(length).ok_or(self.truncated())?;
        self.rest = rest;
        Ok(field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A LEB128 number, as postcard writes them.
    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take::<1>()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(FormatError::Malformed {
            what: self.what,
            why: "a number is longer than 64 bits",
        })
    }

    /// A varint that counts things of at least one byte each: never more than bytes are left.
    pub(crate) fn count(&mut self) -> Result<usize> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(self.truncated())
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32> {
        let malformed = FormatError::Malformed {
            what: self.what,
            why: "a number is longer than 32 bits",
        };
        u32::try_from(self.varint()?).map_err(|_| malformed)
    }

    fn truncated(&self) -> FormatError {
        FormatError::Truncated { what: self.what }
    }
}

/// Appends a LEB128 number.
pub(crate) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
