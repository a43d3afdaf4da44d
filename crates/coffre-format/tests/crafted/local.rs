//! What stays on the machine or is typed by people: anchor, journal, checkpoint strings, secrets, names of objects.

use coffre_format::commit::Point;
use coffre_format::commit::Vector;
use coffre_format::id::*;
use coffre_format::transaction::*;

use super::store::child;
use super::*;

pub fn all(shelf: &mut Shelf) {
    anchors(shelf);
    transactions(shelf);
    journal_frames(shelf);
    checkpoint_strings(shelf);
    secrets(shelf);
    object_names(shelf);
    shelf.add(
        "vault header",
        "a byte too many",
        &[b"coffreV1\x01\0\0\0\0\0\0\0" as &[u8], &VAULT.0, &[0]].concat(),
        "truncated",
    );
}

/// The clear part of an anchor.
fn anchor_header(vault: VaultId, epoch: u32, slot: usize) -> Vec<u8> {
    let slots = vec![([2u8; 16], vec![0u8; slot])];
    let header = versioned(&(vault, epoch, (65_536u32, 3u32, 1u32), slots));
    let length = (header.len() as u32).to_le_bytes();
    [b"coffreA1" as &[u8], &length, &header].concat()
}

/// The body of an anchor, with its device key sealed.
pub fn anchor_body(devices: &Vector, sealed_key: Vec<u8>) -> Vec<u8> {
    let none = None::<Point>;
    let retired: Vec<DeviceId> = vec![DeviceId([4; 16])];
    let first = (devices, none, none, Some(sealed_key));
    [versioned(&first), post(&(retired, 1u32, 5u32, 6u64))].concat()
}

fn two_devices() -> Vector {
    let point = |seq| Point {
        seq: Seq(seq),
        hash: CommitHash([seq as u8; 32]),
    };
    Vector::from([(DeviceId([1; 16]), point(4)), (DeviceId([2; 16]), point(9))])
}

/// A device key as an anchor holds it.
fn sealed_key(vault: VaultId, seed: &[u8]) -> Vec<u8> {
    seal(&purpose("device key"), "coffre1 devkey", &vault.0, seed)
}

/// An anchor made by the letter: clear part and body.
pub fn anchor_parts() -> (Vec<u8>, Vec<u8>) {
    let body = anchor_body(&two_devices(), sealed_key(VAULT, &[0x66; 32]));
    (anchor_header(VAULT, 1, 1024), body)
}

/// An anchor with this clear part and body.
pub fn anchor(clear: &[u8], body: &[u8]) -> Vec<u8> {
    [
        clear,
        &seal(&purpose("anchor"), "coffre1 anchor", clear, body),
    ]
    .concat()
}

fn anchors(shelf: &mut Shelf) {
    let (clear, body) = anchor_parts();
    let good = anchor(&clear, &body);
    shelf.add("anchor", "made by the letter", &good, "accepted");
    shelf.add("anchor header", "made by the letter", &good, "accepted");
    let long = [&clear[..12], &[2], &clear[13..]].concat();
    for (what, header, expect) in [
        (
            "a slot of 1023 bytes",
            anchor_header(VAULT, 1, 1023),
            "malformed",
        ),
        ("another magic", [b"X", &clear[1..]].concat(), "malformed"),
        ("a newer version", long, "unsupported"),
        ("cut", clear[..clear.len() - 1].to_vec(), "truncated"),
        (
            "a header of 4 GiB",
            [&clear[..8], &[0xff; 4], &clear[12..]].concat(),
            "truncated",
        ),
        (
            "without a header",
            [&clear[..8], &[0; 4], &clear[12..]].concat(),
            "truncated",
        ),
    ] {
        shelf.add("anchor header", what, &header, expect);
    }
    let other = VaultId([0x12; 16]);
    for (what, clear) in [
        ("of another vault", anchor_header(other, 1, 1024)),
        ("of an epoch nobody knows", anchor_header(VAULT, 7, 1024)),
    ] {
        shelf.add("anchor", what, &anchor(&clear, &body), "forged");
    }
    let (anchor_key, commit_key) = (purpose("anchor"), purpose("commit"));
    for (what, key, text) in [
        ("sealed as a commit", anchor_key, "coffre1 commit"),
        ("sealed with the commits' key", commit_key, "coffre1 anchor"),
    ] {
        let sealed = [&clear[..], &seal(&key, text, &clear, &body)].concat();
        shelf.add("anchor", what, &sealed, "forged");
    }
    let foreign = anchor_body(&two_devices(), sealed_key(other, &[0x66; 32]));
    shelf.add(
        "anchor",
        "a device key of another vault",
        &anchor(&clear, &foreign),
        "forged",
    );
    let (long, short) = (
        sealed_key(VAULT, &[0x66; 33]),
        sealed_key(VAULT, &[0x66; 31]),
    );
    for (what, key, expect) in [
        ("a device key a byte long", long, "malformed"),
        ("a device key a byte short", short, "truncated"),
    ] {
        let bytes = anchor(&clear, &anchor_body(&two_devices(), key));
        shelf.add("anchor", what, &bytes, expect);
    }
    let (mut swapped, mut newer) = (body.clone(), body.clone());
    swapped[2..100].rotate_left(49);
    newer[0] = 2;
    let more = [&body[..], b"x"].concat();
    for (what, body, expect) in [
        ("devices out of order", &swapped[..], "malformed"),
        ("more behind its body", &more, "malformed"),
        ("a body cut", &body[..body.len() - 1], "malformed"),
        ("a newer body", &newer, "unsupported"),
        ("an empty body", b"", "truncated"),
    ] {
        shelf.add("anchor", what, &anchor(&clear, body), expect);
    }
}

fn transactions(shelf: &mut Shelf) {
    let unit = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    // Version, LSN, one edit: delete the key of inode 9.
    let key = [0, 0, 0, 0, 0, 0, 0, 9, 0x10];
    let delete = [&[1, 5, 1, 1, 9][..], &key].concat();
    let good = unit(&delete);
    shelf.add("transactions", "made by the letter", &good, "accepted");
    shelf.add("transactions", "none", b"", "accepted");
    shelf.add(
        "transactions",
        "two",
        &[&good[..], &good].concat(),
        "accepted",
    );
    for (what, bytes, expect) in [
        (
            "an edit that is not known",
            vec![1, 5, 1, 4, 0],
            "malformed",
        ),
        (
            "a number in two bytes",
            [&[1, 0x85, 0, 1, 1, 9][..], &key].concat(),
            "malformed",
        ),
        (
            "2^32 edits",
            vec![1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f],
            "malformed",
        ),
        (
            "a newer version",
            [&[2], &delete[1..]].concat(),
            "unsupported",
        ),
        ("without bytes", vec![], "truncated"),
    ] {
        shelf.add("transactions", what, &unit(&bytes), expect);
    }
    shelf.add("transactions", "4 GiB long", &[0xff; 4], "truncated");
    let half = [&good[..], &good[..3]].concat();
    shelf.add("transactions", "one and half a length", &half, "truncated");
    // Version, LSN, one edit: put under the key of a name of inode 9, and of an attribute of it.
    let of_nine = |tag: u8, rest: &[u8]| [&key[..8], &[tag], rest].concat();
    let put = |key: &[u8], value: &[u8]| {
        let edit = [&[1, 5, 1, 0, key.len() as u8][..], key, value].concat();
        unit(&edit)
    };
    let name = of_nine(0x20, b"\0\0\0\0\0\0\0\x01a");
    // 5,000 bytes, in a pack that is open, at 64, 400 stored.
    let place = [&[1, 0x88, 0x27, 0][..], &OWN.salt.0, &[64, 0x90, 0x03]].concat();
    let spilled = [&place[..], &[5; 32]].concat();
    let attribute = of_nine(0x30, b"user.a");
    for (what, bytes, expect) in [
        ("a name", put(&name, &[0, 1]), "accepted"),
        ("a spilled value", put(&attribute, &spilled), "accepted"),
        ("a value that is neither", put(&name, &[2, 1]), "malformed"),
        (
            "a record that is not known",
            put(&name, &[0, 13]),
            "malformed",
        ),
    ] {
        shelf.add("transactions", what, &bytes, expect);
    }
}

fn journal_frames(shelf: &mut Shelf) {
    let header = FrameHeader {
        session: SessionPrefix(1),
        lsn: Lsn(5),
        previous: Digest::NONE,
        watermark: Watermark {
            segment: 1,
            offset: 32,
            pack: Some((OWN.salt, 64)),
        },
    };
    let start = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let bytes = versioned(&header);
    let good = start(&bytes);
    shelf.add("journal watermark", "made by the letter", &good, "accepted");
    let more = [&good[..], b"x"].concat();
    shelf.add("journal watermark", "more behind it", &more, "malformed");
    let mut newer = good.clone();
    newer[4] = 2;
    shelf.add(
        "journal watermark",
        "a newer version",
        &newer,
        "unsupported",
    );
    let cut = &good[..good.len() - 1];
    shelf.add("journal watermark", "cut", cut, "truncated");
    let long = start(&[&bytes[..1], &[0x81, 0], &bytes[2..]].concat());
    shelf.add(
        "journal watermark",
        "a number in two bytes",
        &long,
        "malformed",
    );
    let option = bytes.len() - 18;
    let mut strange = bytes.clone();
    strange[option] = 2;
    shelf.add(
        "journal watermark",
        "an option that is neither",
        &start(&strange),
        "malformed",
    );
    shelf.add(
        "journal frame",
        "a header without its part",
        &good,
        "truncated",
    );
    let (root, merged) = (post(&(child(), 6u64)), post(&two_devices()));
    let checkpoint = |merged: &[u8]| [&good[..], &root, merged].concat();
    shelf.add(
        "journal checkpoint",
        "made by the letter",
        &checkpoint(&merged),
        "accepted",
    );
    let (mut swapped, mut twice) = (merged.clone(), merged.clone());
    swapped[1..].rotate_left(49);
    twice.copy_within(1..50, 50);
    for (what, merged) in [
        ("devices out of order", &swapped[..]),
        ("a device twice", &twice),
        ("cut", &merged[..merged.len() - 1]),
        ("more behind it", &[&merged[..], b"x"].concat()),
        ("2^32 devices", &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        shelf.add("journal checkpoint", what, &checkpoint(merged), "malformed");
    }
    shelf.add("journal checkpoint", "nothing", b"", "truncated");
}

fn checkpoint_strings(shelf: &mut Shelf) {
    let body = |version: u8| {
        let numbers = [&1u32.to_le_bytes()[..], &[3; 16], &4u64.to_le_bytes()].concat();
        [&[version][..], &VAULT.0, &numbers, &[5; 32]].concat()
    };
    let text = |bytes: &[u8]| {
        let text = data_encoding::BASE32_NOPAD.encode(bytes);
        text.to_lowercase().into_bytes()
    };
    let summed = |body: &[u8]| {
        let sum: [u8; 4] = h("checkpoint", &[body]);
        [body, &sum].concat()
    };
    let good = text(&summed(&body(1)));
    shelf.add("checkpoint string", "made by the letter", &good, "accepted");
    shelf.add(
        "checkpoint string",
        "in capitals",
        &good.to_ascii_uppercase(),
        "accepted",
    );
    shelf.add(
        "checkpoint string",
        "of a newer version",
        &text(&summed(&body(2))),
        "unsupported",
    );
    let mut bits = good.clone();
    // The last digit carries two bits that are not used: a second spelling.
    let last = bits.len() - 1;
    let digits = b"abcdefghijklmnopqrstuvwxyz234567";
    let digit = digits
        .iter()
        .position(|digit| *digit == bits[last])
        .unwrap();
    bits[last] = digits[digit | 1];
    let mut mistyped = good.clone();
    mistyped[20] = if mistyped[20] == b'a' { b'b' } else { b'a' };
    for (what, bytes) in [
        ("mistyped", mistyped),
        ("its last digit spelt in another way", bits),
        ("a digit too few", good[..last].to_vec()),
        ("without a checksum", text(&body(1))),
        (
            "five bytes of checksum",
            text(&[&summed(&body(1))[..], &[0]].concat()),
        ),
        (
            "a digit that base32 has not",
            [&good[..last], b"1"].concat(),
        ),
        ("not UTF-8", [&good[..last], b"\xff"].concat()),
    ] {
        shelf.add("checkpoint string", what, &bytes, "malformed");
    }
}

/// A recovery code of this secret.
fn code(secret: &[u8; 20]) -> String {
    let sum = blake3::hash(secret);
    let bits = secret.iter().chain(sum.as_bytes()).flat_map(|byte| {
        let byte = *byte;
        (0..8).rev().map(move |place| byte >> place & 1)
    });
    let bits: Vec<u8> = bits.take(180).collect();
    let digit = |bits: &[u8]| {
        bits.iter()
            .fold(0, |number, bit| number << 1 | usize::from(*bit))
    };
    let digits = bits
        .chunks(5)
        .map(|bits| char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit(bits)]));
    digits.collect()
}

fn secrets(shelf: &mut Shelf) {
    let secret: [u8; 20] = std::array::from_fn(|at| at as u8 * 11);
    let good = code(&secret);
    shelf.add("recovery code", "in capitals", good.as_bytes(), "accepted");
    let sloppy = format!(
        " {} - ",
        good.to_lowercase().replace('0', "o").replace('1', "l")
    );
    shelf.add(
        "recovery code",
        "as people type",
        sloppy.as_bytes(),
        "accepted",
    );
    let mistyped = format!(
        "{}{}",
        if good.starts_with('7') { "8" } else { "7" },
        &good[1..]
    );
    for (what, text) in [
        ("mistyped", mistyped),
        ("a digit too many", format!("{good}0")),
        ("a digit too few", good[..35].to_owned()),
        ("nothing", String::new()),
    ] {
        shelf.add("recovery code", what, text.as_bytes(), "bad secret");
    }
    for (what, text, expect) in [
        ("a word", &b"horse"[..], "accepted"),
        ("nothing", b"", "bad secret"),
        ("a line end only", b"\r\n", "bad secret"),
        ("not UTF-8", b"caf\xe9", "bad secret"),
    ] {
        shelf.add("passphrase", what, text, expect);
    }
    let secret = [0x99; 32];
    let sum = blake3::hash(&secret);
    let file = |bytes: &[u8]| data_encoding::BASE32_NOPAD.encode(bytes);
    let good = file(&[&secret[..], &sum.as_bytes()[..4]].concat());
    let titled = format!("# a key file\r\n\n{good}\r\n");
    shelf.add("key file", "with a title", titled.as_bytes(), "accepted");
    for (what, text) in [
        ("a checksum that is wrong", file(&[0x99; 36])),
        ("without a checksum", file(&secret)),
        (
            "a byte too many",
            file(&[&secret[..], &sum.as_bytes()[..5]].concat()),
        ),
        ("in small letters", good.to_lowercase()),
        ("a photo", "\u{89}PNG".to_owned()),
        ("nothing but a title", "# Coffre key file".to_owned()),
        ("more than 1 KiB", format!("#{}\n{good}", " ".repeat(1024))),
        ("nothing", String::new()),
    ] {
        shelf.add("key file", what, text.as_bytes(), "bad secret");
    }
}

fn object_names(shelf: &mut Shelf) {
    let (device, hash) = ("1".repeat(32), "2".repeat(32));
    for (what, name) in [
        ("the vault's header", "vault".to_owned()),
        ("a key slot", format!("keys/{device}")),
        (
            "a commit",
            format!("commits/{device}/fffffffffffffffe.{hash}"),
        ),
        (
            "an inventory",
            format!("inventory/{device}/0000000000000007.{hash}"),
        ),
    ] {
        shelf.add("object name", what, name.as_bytes(), "accepted");
    }
    for (what, name) in [
        ("a NUL", "vault\0".to_owned()),
        ("a slash at its end", "vault/".to_owned()),
        ("two slashes", format!("keys//{device}")),
        ("a way upwards inside", format!("packs/../{hash}")),
        ("a pack called ..", "packs/22/..".to_owned()),
        (
            "a number with a sign",
            format!("commits/{device}/+ffffffffffffffe.{hash}"),
        ),
        (
            "a number too short",
            format!("commits/{device}/fffffffffffffff.{hash}"),
        ),
        (
            "a number too long",
            format!("commits/{device}/0fffffffffffffffe.{hash}"),
        ),
        (
            "two dots",
            format!("commits/{device}/fffffffffffffffe..{hash}"),
        ),
        ("a folder that is not known", format!("trees/{device}")),
        ("an end", format!("keys/{device}.tmp")),
        ("a line end", "vault\n".to_owned()),
        ("1000 bytes", "a".repeat(1000)),
    ] {
        shelf.add("object name", what, name.as_bytes(), "malformed");
    }
    shelf.add("object name", "not UTF-8", b"vault\xff", "malformed");
}
