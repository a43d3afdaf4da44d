//! Paths of a vault on the command line and in JSON: bytes, shown as text wherever they are text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::Deserialize;
use serde::Serialize;

/// A path or name. In JSON a string, or an array of bytes where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Spelling", into = "Spelling")]
pub struct Name(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelling {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Name> for Spelling {
    fn from(name: Name) -> Self {
        match String::from_utf8(name.0) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes(error.into_bytes()),
        }
    }
}

impl From<Spelling> for Name {
    fn from(spelling: Spelling) -> Self {
        match spelling {
            Spelling::Text(text) => Self(text.into_bytes()),
            Spelling::Bytes(bytes) => Self(bytes),
        }
    }
}

impl From<&OsStr> for Name {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Name {
    /// `self/name`.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = self.0.clone();
        if bytes.last() != Some(&b'/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The folder and the last component; `None` for the root and what ends in `.` or `..`.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        let trimmed = trim_end(&self.0);
        let at = trimmed.iter().rposition(|byte| *byte == b'/');
        let (folder, last) = match at {
            Some(at) => trimmed.split_at(at + 1),
            None => (&b"/"[..], trimmed),
        };
        match last {
            b"" | b"." | b".." => None,
            _ => Some((Self(folder.to_vec()), last)),
        }
    }

    /// Whether the user says by a trailing slash that it is a folder.
    pub fn is_folder(&self) -> bool {
        self.0.last() == Some(&b'/')
    }
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_suffix(b"/") {
        bytes = rest;
    }
    bytes
}

/// Control characters of a hostile name must not reach the terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in String::from_utf8_lossy(&self.0).chars() {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?;
            } else {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name(text.as_bytes().to_vec())
    }

    #[test]
    fn the_last_component_is_split_off() {
        assert_eq!(name("/a/b").split(), Some((name("/a/"), &b"b"[..])));
        assert_eq!(name("b/").split(), Some((name("/"), &b"b"[..])));
        assert_eq!(name("/").split(), None);
        assert_eq!(name("a/..").split(), None);
        assert_eq!(name("/a").join(b"b"), name("/a/b"));
        assert_eq!(name("/").join(b"b"), name("/b"));
    }

    #[test]
    fn any_bytes_survive_json() {
        for bytes in [&b"caf\xc3\xa9"[..], &b"caf\xe9"[..]] {
            let name = Name(bytes.to_vec());
            let text = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), name);
        }
        assert_eq!(serde_json::to_string(&name("a")).unwrap(), "\"a\"");
        assert_eq!(name("a\u{1b}[2J").to_string(), "a\\u{1b}[2J");
    }
}
