//! Speed of the parts: sealing and opening frames, cutting the tree.

use coffre_format::crypto::key::Keyring;
use coffre_format::frame::Compression;
use coffre_format::frame::FrameKind;
use coffre_format::frame::prepare;
use coffre_format::id::Epoch;
use coffre_format::id::Salt;
use coffre_format::id::VaultId;
use coffre_format::pack::PackKeys;
use coffre_format::pack::Preamble;
use coffre_format::pack::Purpose;
use criterion::Criterion;
use criterion::Throughput;

fn frames(criterion: &mut Criterion) {
    let ring = Keyring::generate(VaultId([1; 16])).expect("the system gives random bytes");
    let preamble = Preamble {
        purpose: Purpose::Pack,
        epoch: Epoch(1),
        salt: Salt([2; 16]),
    };
    let keys = PackKeys::new(&ring, &preamble).expect("the epoch is known");
    let mut noise = vec![0; 128 * 1024];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut group = criterion.benchmark_group("frame of 128 KiB");
    group.throughput(Throughput::Bytes(noise.len() as u64));
    let seal = || {
        let prepared =
            prepare(ring.structure(), FrameKind::Data, &noise, Compression::Try).expect("it fits");
        let mut frame = Vec::new();
        keys.seal(32, &prepared, &mut frame);
        (frame, prepared.digest())
    };
    group.bench_function("seal", |bencher| bencher.iter(seal));
    let (frame, digest) = seal();
    group.bench_function("open", |bencher| {
        bencher.iter(|| {
            keys.open(FrameKind::Data, 32, &frame, &digest)
                .expect("it is authentic")
        });
    });
    group.finish();
}

criterion::criterion_group!(benches, frames);
criterion::criterion_main!(benches);
