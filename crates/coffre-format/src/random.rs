//! Random bytes: the one place that asks the operating system for them.

#[cfg(not(feature = "faults"))]
use crate::error::Result;

#[cfg(feature = "faults")]
pub use seeded::fill;
#[cfg(feature = "faults")]
pub(crate) use seeded::once;
#[cfg(feature = "faults")]
pub use seeded::seed;

/// Fills `bytes` from the operating system.
#[cfg(not(feature = "faults"))]
pub fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| crate::error::FormatError::Random)
}

/// A derivation that is made each time.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn once<T>(_: &[&[u8]], derive: impl FnOnce() -> Result<T>) -> Result<T> {
    derive()
}

/// Tests that must be able to happen again exactly draw from a seed, each thread by itself. No program is built
/// with this, and a test that does not ask for it gets bytes of the operating system too.
#[cfg(feature = "faults")]
mod seeded {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use zeroize::Zeroizing;

    use crate::error::FormatError;
    use crate::error::Result;

    type Derived = BTreeMap<[u8; 32], Zeroizing<[u8; 64]>>;

    thread_local! {
        static STREAM: RefCell<Option<blake3::OutputReader>> = const { RefCell::new(None) };
        static DERIVED: RefCell<Derived> = const { RefCell::new(BTreeMap::new()) };
    }

    /// From here on this thread draws from `seed`; `None` ends that.
    pub fn seed(seed: Option<u64>) {
        let stream = seed.map(|seed| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes());
            hasher.finalize_xof()
        });
        STREAM.with(|current| *current.borrow_mut() = stream);
    }

    /// Fills `bytes` from this thread's seed, or from the operating system where there is none.
    pub fn fill(bytes: &mut [u8]) -> Result<()> {
        STREAM.with(|current| match &mut *current.borrow_mut() {
            Some(stream) => {
                stream.fill(bytes);
                Ok(())
            }
            None => getrandom::fill(bytes).map_err(|_| FormatError::Random),
        })
    }

    /// A derivation that a thread with a seed makes once for each input: thousands of tests open the same slot.
    pub(crate) fn once(
        input: &[&[u8]],
        derive: impl FnOnce() -> Result<Zeroizing<[u8; 64]>>,
    ) -> Result<Zeroizing<[u8; 64]>> {
        if STREAM.with(|current| current.borrow().is_none()) {
            return derive();
        }
        let mut hasher = blake3::Hasher::new();
        for part in input {
            hasher
                .update(&(part.len() as u64).to_le_bytes())
                .update(part);
        }
        let name = *hasher.finalize().as_bytes();
        if let Some(known) = DERIVED.with(|derived| derived.borrow().get(&name).cloned()) {
            return Ok(known);
        }
        let made = derive()?;
        DERIVED.with(|derived| derived.borrow_mut().insert(name, made.clone()));
        Ok(made)
    }
}
