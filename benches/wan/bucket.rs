//! What an S3 server stores: objects in memory, and uploads in parts that are not finished.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound;

use bytes::Bytes;
use bytes::BytesMut;
use hyper::HeaderMap;

use crate::ask::Listing;
use crate::ask::Version;

/// An object.
#[derive(Debug, Clone)]
pub struct Object {
    pub content: Bytes,
    /// Those that the server keeps for the client: its own, and the kind of content.
    pub headers: HeaderMap,
    /// Differs for each content. Looks like that of an object of several parts, so nobody takes it for a hash.
    pub tag: String,
}

/// All objects of one bucket.
#[derive(Default)]
pub struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<u64, Upload>,
    /// How often something was stored.
    stored: u64,
}

#[derive(Default)]
struct Upload {
    headers: HeaderMap,
    parts: BTreeMap<u32, Bytes>,
}

/// When all objects were stored, as far as clients are told; what is measured here does not ask.
pub const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const DATE_IN_XML: &str = "2026-01-01T00:00:00.000Z";

/// Names in an answer that ask for it: whatever may not stand in an address.
const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl Bucket {
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Stores an object; answers its tag.
    pub fn put(&mut self, key: String, content: Bytes, headers: &HeaderMap) -> String {
        let tag = self.tag();
        let object = Object {
            content,
            headers: kept(headers),
            tag: tag.clone(),
        };
        self.objects.insert(key, object);
        tag
    }

    /// Stores a copy, with new headers if the client says so; `None` if there is nothing to copy.
    pub fn copy(&mut self, from: &str, to: String, headers: &HeaderMap) -> Option<String> {
        let mut object = self.objects.get(from)?.clone();
        let directive = headers.get("x-amz-metadata-directive");
        if directive.is_some_and(|directive| directive == "REPLACE") {
            object.headers = kept(headers);
        }
        object.tag = self.tag();
        let tag = object.tag.clone();
        self.objects.insert(to, object);
        Some(tag)
    }

    pub fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    pub fn start_upload(&mut self, headers: &HeaderMap) -> u64 {
        self.stored += 1;
        let upload = Upload {
            headers: kept(headers),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(self.stored, upload);
        self.stored
    }

    /// Keeps a part; `None` if there is no such upload.
    pub fn put_part(&mut self, upload: u64, number: u32, content: Bytes) -> Option<String> {
        let tag = self.tag();
        self.uploads.get_mut(&upload)?.parts.insert(number, content);
        Some(tag)
    }

    /// Makes an object of the parts; `None` if there is no such upload.
    pub fn finish_upload(&mut self, upload: u64, key: String) -> Option<String> {
        let upload = self.uploads.remove(&upload)?;
        let mut content = BytesMut::new();
        for part in upload.parts.into_values() {
            content.extend_from_slice(&part);
        }
        Some(self.put(key, content.freeze(), &upload.headers))
    }

    pub fn abort_upload(&mut self, upload: u64) {
        self.uploads.remove(&upload);
    }

    /// Objects whose names hold some letters.
    pub fn count(&self, part: &str) -> usize {
        self.objects.keys().filter(|key| key.contains(part)).count()
    }

    /// Bytes of all objects.
    pub fn size(&self) -> u64 {
        let lengths = self.objects.values().map(|object| object.content.len());
        lengths.sum::<usize>() as u64
    }

    /// The answer to a request for names.
    pub fn list(&self, listing: &Listing) -> String {
        let Page { found, last } = self.page(listing);
        let name = |name: &str| match listing.encoded {
            true => percent_encoding::utf8_percent_encode(name, ENCODED).to_string(),
            false => escaped(name),
        };
        let mut body = String::new();
        for found in &found {
            let _ = match found {
                Found::Folder(prefix) => write!(
                    body,
                    "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                    name(prefix)
                ),
                Found::Object(key, object) => write!(
                    body,
                    "<Contents><Key>{}</Key><LastModified>{DATE_IN_XML}</LastModified><ETag>\"{}\"</ETag>\
                     <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    name(key),
                    object.tag,
                    object.content.len()
                ),
            };
        }
        let next = match (&last, listing.version) {
            (None, _) => String::new(),
            (Some(last), Version::One) => format!("<NextMarker>{}</NextMarker>", name(last)),
            (Some(last), Version::Two) => format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                escaped(last)
            ),
        };
        let encoding = match listing.encoded {
            true => "<EncodingType>url</EncodingType>",
            false => "",
        };
        format!(
            "<ListBucketResult><Name>bucket</Name><Prefix>{}</Prefix><Delimiter>{}</Delimiter>{encoding}\
             <MaxKeys>{}</MaxKeys><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>{next}{body}</ListBucketResult>",
            name(&listing.prefix),
            name(&listing.delimiter),
            listing.most,
            found.len(),
            last.is_some(),
        )
    }

    fn page(&self, listing: &Listing) -> Page<'_> {
        let mut found = Vec::new();
        let mut last = String::new();
        let from = listing.after.as_str().max(&listing.prefix);
        let mut rest = self
            .objects
            .range::<str, _>((Bound::Included(from), Bound::Unbounded));
        while let Some((key, object)) = rest.next() {
            let Some(inside) = key.strip_prefix(&listing.prefix) else {
                break;
            };
            // A folder that was told, and all that is in it.
            let told = listing.after.len() > listing.prefix.len()
                && end_of_folder(&listing.after, &listing.delimiter).is_some()
                && listing.after.ends_with(&listing.delimiter)
                && key.starts_with(&listing.after);
            if *key <= listing.after || told {
                continue;
            }
            if found.len() == listing.most {
                let last = Some(last);
                return Page { found, last };
            }
            match end_of_folder(inside, &listing.delimiter) {
                None => {
                    found.push(Found::Object(key, object));
                    last.clone_from(key);
                }
                Some(end) => {
                    let folder = &key[..listing.prefix.len() + end];
                    found.push(Found::Folder(folder));
                    last = folder.to_owned();
                    // Behind every name that begins with it.
                    let behind = format!("{folder}{}", char::MAX);
                    rest = self
                        .objects
                        .range::<str, _>((Bound::Excluded(behind.as_str()), Bound::Unbounded));
                }
            }
        }
        Page { found, last: None }
    }

    fn tag(&mut self) -> String {
        self.stored += 1;
        format!("{:032x}-1", self.stored)
    }
}

enum Found<'a> {
    Object(&'a str, &'a Object),
    Folder(&'a str),
}

struct Page<'a> {
    found: Vec<Found<'a>>,
    /// Where the next page begins, if there is one.
    last: Option<String>,
}

/// Where a name that lies deeper leaves this folder.
fn end_of_folder(inside: &str, delimiter: &str) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    Some(inside.find(delimiter)? + delimiter.len())
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let own = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-amz-meta-") || *name == "content-type");
    own.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// As text of XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The names in a request that removes many.
pub fn names_in(xml: &str) -> impl Iterator<Item = String> + '_ {
    let keys = xml.split("<Key>").skip(1);
    let keys = keys.filter_map(|rest| rest.split_once("</Key>"));
    keys.map(|(key, _)| {
        key.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&#39;", "'")
            .replace("&#34;", "\"")
            .replace("&amp;", "&")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All names that pages of two give, folders among them.
    fn listed(bucket: &Bucket, prefix: &str, delimiter: &str) -> Vec<String> {
        let mut listing = Listing {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            most: 2,
            ..Listing::default()
        };
        let mut names = Vec::new();
        loop {
            let Page { found, last } = bucket.page(&listing);
            names.extend(found.iter().map(|found| match found {
                Found::Object(name, _) | Found::Folder(name) => (*name).to_owned(),
            }));
            match last {
                Some(last) => listing.after = last,
                None => return names,
            }
        }
    }

    #[test]
    fn pages_make_up_the_listing() {
        let mut bucket = Bucket::default();
        for key in ["a/1", "a/2", "a/3", "b", "c/1", "c/x/1", "c/x/2", "d", "e"] {
            bucket.put(key.into(), Bytes::new(), &HeaderMap::new());
        }
        assert_eq!(listed(&bucket, "", "/"), ["a/", "b", "c/", "d", "e"]);
        assert_eq!(listed(&bucket, "c/", "/"), ["c/1", "c/x/"]);
        assert_eq!(listed(&bucket, "a/", ""), ["a/1", "a/2", "a/3"]);
        assert_eq!(listed(&bucket, "", "").len(), 9);
    }

    #[test]
    fn parts_are_put_together_in_their_order() {
        let mut bucket = Bucket::default();
        let upload = bucket.start_upload(&HeaderMap::new());
        bucket.put_part(upload, 10, Bytes::from_static(b"end"));
        bucket.put_part(upload, 9, Bytes::from_static(b"the "));
        assert!(bucket.finish_upload(upload, "key".into()).is_some());
        assert_eq!(bucket.get("key").unwrap().content, "the end");
        assert!(bucket.finish_upload(upload, "key".into()).is_none());
    }
}
