//! What a request to an S3 server asks for, read from its head; path-style addresses, one bucket.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::Method;
use hyper::http::request::Parts;
use serde::Serialize;

/// A request.
#[derive(Debug)]
pub enum Ask {
    Put {
        key: String,
    },
    Copy {
        from: String,
        to: String,
    },
    Get {
        key: String,
        range: Option<Span>,
    },
    Head {
        key: String,
    },
    Delete {
        key: String,
    },
    DeleteMany,
    List(Listing),
    Upload(Step),
    /// Where the bucket is.
    Location,
    /// Anything else about the bucket itself: it is there.
    Bucket,
    Unknown,
}

/// Of an object that comes in parts.
#[derive(Debug)]
pub enum Step {
    Start { key: String },
    Part { upload: u64, number: u32 },
    Finish { key: String, upload: u64 },
    Abort { upload: u64 },
}

/// A part of an object, as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// From here to there, both included.
    Between(u64, u64),
    From(u64),
    Last(u64),
}

/// Which names are listed, and how.
#[derive(Debug, Default)]
pub struct Listing {
    pub version: Version,
    pub prefix: String,
    pub delimiter: String,
    /// Names after this one.
    pub after: String,
    pub most: usize,
    /// Whether names are told as they stand in an address.
    pub encoded: bool,
}

/// Of the request for a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    One,
    Two,
}

/// Requests, by what they cost.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Requests {
    /// Of objects and of their parts.
    pub put: u64,
    pub copy: u64,
    /// To begin and to end an object of parts.
    pub post: u64,
    pub list: u64,
    pub get: u64,
    pub head: u64,
    pub delete: u64,
    /// About the bucket itself.
    pub other: u64,
}

impl Requests {
    /// Counts one.
    pub fn add(&mut self, ask: &Ask) {
        let kind = match ask {
            Ask::Put { .. } | Ask::Upload(Step::Part { .. }) => &mut self.put,
            Ask::Copy { .. } => &mut self.copy,
            Ask::Upload(Step::Start { .. } | Step::Finish { .. }) => &mut self.post,
            Ask::List(_) => &mut self.list,
            Ask::Get { .. } => &mut self.get,
            Ask::Head { .. } => &mut self.head,
            Ask::Delete { .. } | Ask::DeleteMany | Ask::Upload(Step::Abort { .. }) => {
                &mut self.delete
            }
            Ask::Location | Ask::Bucket | Ask::Unknown => &mut self.other,
        };
        *kind += 1;
    }

    /// Those since an earlier count.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            put: self.put - before.put,
            copy: self.copy - before.copy,
            post: self.post - before.post,
            list: self.list - before.list,
            get: self.get - before.get,
            head: self.head - before.head,
            delete: self.delete - before.delete,
            other: self.other - before.other,
        }
    }

    pub fn all(&self) -> u64 {
        self.at_the_price_of_put() + self.at_the_price_of_get() + self.delete
    }

    /// PUT, COPY, POST and LIST cost the same.
    pub fn at_the_price_of_put(&self) -> u64 {
        self.put + self.copy + self.post + self.list
    }

    /// GET and all others but DELETE, which is free.
    pub fn at_the_price_of_get(&self) -> u64 {
        self.get + self.head + self.other
    }
}

impl Ask {
    pub fn of(head: &Parts) -> Self {
        let query = Query::of(head);
        let path = head.uri.path().trim_start_matches('/');
        let key = path.split_once('/').map_or("", |(_, key)| key);
        if key.is_empty() {
            return of_bucket(&head.method, &query);
        }
        let key = decoded(key);
        let upload = query.number("uploadId");
        match (&head.method, upload, query.number("partNumber")) {
            (&Method::PUT, Some(upload), Some(number)) if source(&head.headers).is_none() => {
                let number = number as u32;
                Self::Upload(Step::Part { upload, number })
            }
            (&Method::PUT, None, _) => match source(&head.headers) {
                Some(from) => Self::Copy { from, to: key },
                None => Self::Put { key },
            },
            (&Method::GET, None, _) => Self::Get {
                key,
                range: head.headers.get("range").and_then(|range| {
                    let range = range.to_str().ok()?;
                    Span::read(range)
                }),
            },
            (&Method::HEAD, ..) => Self::Head { key },
            (&Method::DELETE, Some(upload), _) => Self::Upload(Step::Abort { upload }),
            (&Method::DELETE, None, _) => Self::Delete { key },
            (&Method::POST, Some(upload), _) => Self::Upload(Step::Finish { key, upload }),
            (&Method::POST, None, _) if query.has("uploads") => Self::Upload(Step::Start { key }),
            _ => Self::Unknown,
        }
    }
}

fn of_bucket(method: &Method, query: &Query) -> Ask {
    match *method {
        Method::POST if query.has("delete") => Ask::DeleteMany,
        Method::GET if query.has("location") => Ask::Location,
        Method::GET if query.has("versioning") || query.has("uploads") => Ask::Unknown,
        Method::GET => Ask::List(Listing::of(query)),
        Method::HEAD | Method::PUT => Ask::Bucket,
        _ => Ask::Unknown,
    }
}

impl Listing {
    fn of(query: &Query) -> Self {
        let version = match query.text("list-type").as_str() {
            "2" => Version::Two,
            _ => Version::One,
        };
        // A token of ours is the last name that was told.
        let after = ["continuation-token", "start-after", "marker"].map(|name| query.text(name));
        Self {
            version,
            prefix: query.text("prefix"),
            delimiter: query.text("delimiter"),
            after: after.into_iter().max().unwrap_or_default(),
            most: query.number("max-keys").map_or(1000, |most| most as usize),
            encoded: query.text("encoding-type") == "url",
        }
    }
}

impl Span {
    fn read(header: &str) -> Option<Self> {
        let (from, to) = header.strip_prefix("bytes=")?.split_once('-')?;
        match (from.parse().ok(), to.parse().ok()) {
            (Some(from), Some(to)) => Some(Self::Between(from, to)),
            (Some(from), None) => Some(Self::From(from)),
            (None, Some(length)) => Some(Self::Last(length)),
            (None, None) => None,
        }
    }

    /// From where to where in an object of a length; `None` if it has no such part.
    pub fn within(self, length: usize) -> Option<std::ops::Range<usize>> {
        let range = match self {
            Self::Between(from, to) => from as usize..(to as usize + 1).min(length),
            Self::From(from) => from as usize..length,
            // Longer than the object: all of it.
            Self::Last(last) => length.saturating_sub(last as usize)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What a copy is a copy of.
fn source(headers: &HeaderMap) -> Option<String> {
    let source = headers.get("x-amz-copy-source")?.to_str().ok()?;
    let (_, key) = source.trim_start_matches('/').split_once('/')?;
    Some(decoded(key))
}

/// A body without the frames that some clients send it in, each with its length in front.
pub fn unframed(headers: &HeaderMap, body: Bytes) -> Option<Bytes> {
    let kind = headers.get("x-amz-content-sha256");
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"STREAMING-")) {
        return Some(body);
    }
    let mut content = Vec::with_capacity(body.len());
    let mut rest = &body[..];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let length = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        if length == 0 {
            return Some(content.into());
        }
        let chunk = end + 2..end + 2 + length;
        content.extend_from_slice(rest.get(chunk.clone())?);
        rest = rest.get(chunk.end + 2..)?;
    }
}

struct Query(Vec<(String, String)>);

impl Query {
    fn of(head: &Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// Nothing where it is not told.
    fn text(&self, name: &str) -> String {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_longer_than_the_object_is_all_of_it() {
        let within = |header, length| Span::read(header).unwrap().within(length);
        assert_eq!(within("bytes=-300", 100), Some(0..100));
        assert_eq!(within("bytes=-30", 100), Some(70..100));
        assert_eq!(within("bytes=10-19", 100), Some(10..20));
        assert_eq!(within("bytes=90-900", 100), Some(90..100));
        assert_eq!(within("bytes=100-", 100), None);
    }

    #[test]
    fn frames_are_taken_off() {
        let mut headers = HeaderMap::new();
        let told = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".parse().unwrap();
        headers.insert("x-amz-content-sha256", told);
        let framed =
            Bytes::from_static(b"3\r\nabc\r\n2;chunk-signature=0\r\nde\r\n0\r\nx:y\r\n\r\n");
        assert_eq!(unframed(&headers, framed.clone()).unwrap(), "abcde");
        assert_eq!(unframed(&HeaderMap::new(), framed.clone()).unwrap(), framed);
        assert_eq!(unframed(&headers, Bytes::from_static(b"9\r\nabc")), None);
    }
}
