//! Decoders survive any bytes: no panic, and one encoding for each thing.
//!
//! The targets are bolero's: property tests here, fuzz targets with `cargo bolero test`.
#![allow(clippy::unwrap_used)]

mod decoders;

use bolero::check;
use bolero::generator::*;
use serde_json::Value as Json;

use decoders::*;

/// Inputs per target.
const ITERATIONS: usize = 200_000;
/// Deriving keys takes a tenth of a second, so slots are opened by other tests.
const SLOW: &str = "key slot";

fn each(bytes: &[u8]) {
    for decoder in DECODERS.into_iter().filter(|decoder| *decoder != SLOW) {
        run_canonically(decoder, bytes, with(decoder));
    }
}

/// What a decoder needs beside the bytes, where any will do.
fn with(decoder: &str) -> &'static str {
    match decoder {
        "frame" => "0000000000000000000000000000000000000000000000000000000000000000",
        "commit" => {
            "commits/00000000000000000000000000000000/0000000000000001-00000000000000000000000000000000"
        }
        _ => "",
    }
}

#[test]
fn any_bytes_are_survived_by_all_decoders() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| each(bytes));
}

/// A vector and its decoder.
struct Seed {
    decoder: String,
    input: Vec<u8>,
    with: String,
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        let vector: Json = serde_json::from_slice(&text).unwrap();
        let Some(decoder) = vector["decoder"].as_str().filter(|name| *name != SLOW) else {
            continue;
        };
        seeds.push(Seed {
            decoder: decoder.to_owned(),
            input: hex(vector["input"].as_str().unwrap()),
            with: vector["with"].as_str().unwrap_or_default().to_owned(),
        });
    }
    assert!(seeds.len() > 50);
    seeds
}

#[test]
fn damaged_vectors_are_survived() {
    let seeds = seeds();
    let change = (produce::<u16>(), produce::<u8>());
    let changes = produce::<Vec<_>>().with().len(0..6usize).values(change);
    check!()
        .with_iterations(ITERATIONS)
        .with_generator((produce::<u16>(), changes, produce::<u16>()))
        .for_each(|(which, changes, cut)| {
            let seed = &seeds[usize::from(*which) % seeds.len()];
            let mut bytes = seed.input.clone();
            for (at, value) in changes {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(usize::from(*at) % length) {
                    *byte = *value;
                }
            }
            if cut % 4 == 0 {
                bytes.truncate(usize::from(*cut) % (bytes.len() + 1));
            }
            run_canonically(&seed.decoder, &bytes, &seed.with);
        });
}
