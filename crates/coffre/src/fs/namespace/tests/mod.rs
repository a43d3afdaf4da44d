//! Random operations on the namespace core and on the model: the same answers, the same file systems.

use proptest::prelude::*;

use crate::fs::namespace::tests::pair::Pair;

mod cases;
mod comparison;
mod model;
mod model_content;
mod pair;
mod world;

/// Numbers choose among what there is at that time: inodes, names, offsets.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Make(u8, u8, u8, u32),
    MakeUnnamed(u8, u32),
    PutInPlace(u8, u8, u8, bool),
    MakeWhole(u8, u8, u8, u32, bool),
    Link(u8, u8, u8),
    Unlink(u8, u8),
    RemoveDirectory(u8, u8),
    Rename(u8, u8, u8, u8, u8),
    Truncate(u8, u8),
    ChangeMode(u8, u32),
    ChangeOwner(u8, u32),
    Write(u8, u8, u8, bool),
    Allocate(u8, u8, u8, u8),
    Copy(u8, u8, u8, u8, u8),
    Seek(u8, u8, bool),
    SetXattr(u8, u8, u8, u8),
    RemoveXattr(u8, u8),
    Open(u8),
    Release(u8),
    Forget,
    Fold,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let byte = || any::<u8>();
    prop_oneof![
        8 => (byte(), byte(), byte(), any::<u32>()).prop_map(|(a, b, c, d)| Make(a, b, c, d)),
        3 => (byte(), any::<u32>()).prop_map(|(a, b)| MakeUnnamed(a, b)),
        3 => (byte(), byte(), byte(), any::<bool>()).prop_map(|(a, b, c, d)| PutInPlace(a, b, c, d)),
        3 => (byte(), byte(), byte(), any::<u32>(), any::<bool>())
            .prop_map(|(a, b, c, d, e)| MakeWhole(a, b, c, d, e)),
        3 => (byte(), byte(), byte()).prop_map(|(a, b, c)| Link(a, b, c)),
        3 => (byte(), byte()).prop_map(|(a, b)| Unlink(a, b)),
        2 => (byte(), byte()).prop_map(|(a, b)| RemoveDirectory(a, b)),
        6 => (byte(), byte(), byte(), byte(), byte())
            .prop_map(|(a, b, c, d, e)| Rename(a, b, c, d, e)),
        3 => (byte(), byte()).prop_map(|(a, b)| Truncate(a, b)),
        1 => (byte(), any::<u32>()).prop_map(|(a, b)| ChangeMode(a, b)),
        1 => (byte(), any::<u32>()).prop_map(|(a, b)| ChangeOwner(a, b)),
        8 => (byte(), byte(), byte(), any::<bool>()).prop_map(|(a, b, c, d)| Write(a, b, c, d)),
        3 => (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| Allocate(a, b, c, d)),
        3 => (byte(), byte(), byte(), byte(), byte())
            .prop_map(|(a, b, c, d, e)| Copy(a, b, c, d, e)),
        2 => (byte(), byte(), any::<bool>()).prop_map(|(a, b, c)| Seek(a, b, c)),
        2 => (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| SetXattr(a, b, c, d)),
        1 => (byte(), byte()).prop_map(|(a, b)| RemoveXattr(a, b)),
        2 => byte().prop_map(Open),
        2 => byte().prop_map(Release),
        15 => Just(Forget),
        3 => Just(Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_file_system_of_the_model(
        operations in proptest::collection::vec(operation(), 1..150)
    ) {
        let mut pair = Pair::new();
        for (step, operation) in operations.iter().enumerate() {
            pair.step(operation);
            if step % 8 == 0 {
                comparison::check(&pair);
            }
        }
        comparison::check(&pair);
    }
}
