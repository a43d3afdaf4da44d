//! Whether a new passphrase is worth the name: a rough, low estimate of how many guesses it takes.
//!
//! The provider holds the key slots and may guess for years, at about a guess a second for each core.

use std::collections::BTreeSet;

/// What a passphrase must be worth, in bits.
const ENOUGH: f64 = 60.0;
/// Different words that are enough by themselves, if somebody chose them at random.
const WORDS: usize = 4;
/// What a piece that everybody uses is worth, in bits.
const COMMON_PIECE: f64 = 7.0;
/// A letter of something built like `Wintersummer2024!` is worth this part of a random one.
const WORDY: f64 = 0.6;

/// Pieces that come first in every guesser's list.
const COMMON: &[&str] = &[
    "password",
    "passwort",
    "passphrase",
    "letmein",
    "welcome",
    "dragon",
    "monkey",
    "football",
    "baseball",
    "princess",
    "sunshine",
    "superman",
    "iloveyou",
    "trustno",
    "master",
    "shadow",
    "michael",
    "charlie",
    "secret",
    "changeme",
    "default",
    "admin",
    "root",
    "test",
    "hello",
    "login",
    "coffre",
    "cloud",
    "drive",
    "qwertz",
    "qwerty",
    "azerty",
    "asdfgh",
    "zxcvbn",
    "yxcvbn",
    "hunter",
];

/// Whether a passphrase is too weak for a vault, whose provider may guess for years: `None` if it is good enough, otherwise
/// what to do. A newline at its end does not count.
///
/// ```
/// assert!(coffre::weakness("hunter2").is_some());
/// assert!(coffre::weakness("correct horse battery staple").is_none());
/// ```
pub fn weakness(passphrase: &str) -> Option<String> {
    let passphrase = passphrase.trim_end_matches(['\r', '\n']);
    if words(passphrase) >= WORDS || bits(passphrase) >= ENOUGH {
        return None;
    }
    Some(format!(
        "this passphrase is weak (about {:.0} of {ENOUGH:.0} bits): whoever holds the stored objects can try passphrases \
         for years. Use {WORDS} random words or more, or 12 random characters; --weak accepts it all the same",
        bits(passphrase)
    ))
}

/// Different words of three letters or more that are not on everybody's list.
fn words(passphrase: &str) -> usize {
    let words: BTreeSet<String> = passphrase
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3)
        .map(str::to_lowercase)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .collect();
    words.len()
}

fn bits(passphrase: &str) -> f64 {
    let mut rest = passphrase.to_lowercase();
    let mut bits = 0.0;
    for piece in COMMON {
        let parts = rest.matches(piece).count();
        if parts > 0 {
            bits += COMMON_PIECE;
            rest = rest.replace(piece, "");
        }
    }
    let each = pool(passphrase).log2() * if is_wordy(passphrase) { WORDY } else { 1.0 };
    bits + each * surprises(&rest) as f64
}

/// Letters that do not simply repeat or continue (`aaa`, `abc`, `321`) what stands before them.
fn surprises(text: &str) -> usize {
    let letters: Vec<char> = text.chars().collect();
    let mut count = letters.len().min(1);
    let mut seen = BTreeSet::new();
    for pair in letters.windows(2) {
        let [before, letter] = pair else { continue };
        let step = i64::from(u32::from(*letter)) - i64::from(u32::from(*before));
        if step.abs() > 1 && seen.insert((*before, *letter)) {
            count += 1;
        }
    }
    count
}

fn pool(passphrase: &str) -> f64 {
    let has = |test: fn(char) -> bool| passphrase.chars().any(test);
    let mut pool = 1.0;
    for (present, size) in [
        (has(|letter| letter.is_ascii_lowercase()), 26.0),
        (has(|letter| letter.is_ascii_uppercase()), 26.0),
        (has(|letter| letter.is_ascii_digit()), 10.0),
        (
            has(|letter| letter.is_ascii() && !letter.is_ascii_alphanumeric()),
            20.0,
        ),
        (has(|letter| !letter.is_ascii()), 40.0),
    ] {
        if present {
            pool += size;
        }
    }
    pool
}

/// Letters, then perhaps digits, then perhaps a sign: what people make of a word.
fn is_wordy(passphrase: &str) -> bool {
    let rest = passphrase.trim_start_matches(char::is_alphabetic);
    let sign = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    rest.len() < passphrase.len() && sign.chars().count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_first_is_refused() {
        for weak in [
            "",
            "password",
            "Password123!",
            "qwertz12345",
            "hunter2",
            "aaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz",
            "12345678901234567890",
            "Summer2026!",
            "wintersummer2024",
            "test test test test",
            "passwordpasswordpassword",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
    }

    #[test]
    fn random_words_and_random_letters_are_accepted() {
        for good in [
            "correct horse battery staple",
            "glockenspiel-lantern-orbit-thimble",
            "kX9#vq2Lm!tR",
            "u8Zr0pYw4sQd1",
            "été brume falaise tonnerre",
        ] {
            assert!(weakness(good).is_none(), "{good}: {}", bits(good));
        }
    }
}
