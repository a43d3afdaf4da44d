//! Where a vault is: what users write, turned into an OpenDAL service and its options.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::Error;
use crate::error::Result;

/// Options that would put a credential on the command line.
const SECRET_OPTIONS: [&str; 9] = [
    "secret_access_key",
    "access_key_id",
    "session_token",
    "account_key",
    "sas_token",
    "password",
    "token",
    "credential",
    "key_secret",
];

/// The address of a store.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUri {
    scheme: String,
    options: BTreeMap<String, String>,
    canonical: String,
    local: Option<PathBuf>,
}

impl std::fmt::Debug for StoreUri {
    /// Without options: a profile may have put a credential among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreUri({})", self.canonical)
    }
}

impl StoreUri {
    /// An OpenDAL URI (`s3://bucket/prefix?region=…`, `webdav+http://host/path`, …) or a local path.
    pub fn parse(text: &str) -> Result<Self> {
        let is_uri = text.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        });
        if !is_uri {
            return Self::absolute(Path::new(text));
        }
        let url = Url::parse(text).map_err(|error| bad(text, &error.to_string()))?;
        if url.password().is_some() {
            return Err(Error::Usage(
                "a password in an address ends up in shell histories; put credentials into the environment or a profile".into(),
            ));
        }
        let mut options = BTreeMap::new();
        for (key, value) in url.query_pairs() {
            if SECRET_OPTIONS.contains(&key.as_ref()) {
                return Err(Error::Usage(format!(
                    "{key} in an address ends up in shell histories; put credentials into the environment or a profile"
                )));
            }
            options.insert(key.into_owned(), value.into_owned());
        }
        Self::of_url(text, &url, options)
    }

    /// A local folder.
    pub fn local(path: &Path) -> Self {
        let root = path.to_string_lossy().into_owned();
        Self {
            scheme: "fs".into(),
            canonical: format!("fs:{root}"),
            options: BTreeMap::from([("root".into(), root)]),
            local: Some(path.to_owned()),
        }
    }

    /// Scheme, host, port, bucket and root, normalised; credentials and other options ignored: names the vault
    /// in anchors.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The folder, if the store is one.
    pub fn local_path(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// With a service option added (from a profile; it may be a credential, and is never shown).
    #[must_use]
    pub fn with_option(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    pub(super) fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }

    fn absolute(path: &Path) -> Result<Self> {
        let absolute =
            std::path::absolute(path).map_err(|source| Error::io("find", path, source))?;
        // Two spellings of one folder are one vault: resolve what exists of it.
        let resolved = match absolute.canonicalize() {
            Ok(resolved) => resolved,
            Err(_) => match (
                absolute.parent().map(Path::canonicalize),
                absolute.file_name(),
            ) {
                (Some(Ok(parent)), Some(name)) => parent.join(name),
                _ => absolute,
            },
        };
        Ok(Self::local(&resolved))
    }

    fn of_url(text: &str, url: &Url, mut options: BTreeMap<String, String>) -> Result<Self> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let path = percent_decode_str(url.path())
            .decode_utf8_lossy()
            .into_owned();
        let root = format!("/{}", path.trim_matches('/'));
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let need_host = |what: &str| {
            if host.is_empty() {
                Err(bad(text, &format!("{what} is missing")))
            } else {
                Ok(host.clone())
            }
        };
        let (scheme, place) = match url.scheme() {
            "file" | "fs" => return Self::absolute(Path::new(&path)),
            "memory" => ("memory", host.clone()),
            bucket @ ("s3" | "gcs" | "obs") => {
                options.insert("bucket".into(), need_host("the bucket")?);
                (bucket, host.clone())
            }
            container @ ("azblob" | "swift") => {
                options.insert("container".into(), need_host("the container")?);
                (container, host.clone())
            }
            "webdav" | "webdav+http" => {
                let protocol = if url.scheme() == "webdav" {
                    "https"
                } else {
                    "http"
                };
                options.insert(
                    "endpoint".into(),
                    format!("{protocol}://{}{port}", need_host("the host")?),
                );
                ("webdav", format!("{host}{port}"))
            }
            "sftp" => {
                options.insert(
                    "endpoint".into(),
                    format!("ssh://{}{port}", need_host("the host")?),
                );
                if !url.username().is_empty() {
                    options.insert("user".into(), url.username().to_owned());
                }
                ("sftp", format!("{host}{port}"))
            }
            other => return Err(bad(text, &format!("no service is called {other}"))),
        };
        let endpoint = match (scheme, options.get("endpoint")) {
            ("webdav" | "sftp", _) | (_, None) => String::new(),
            (_, Some(endpoint)) => {
                let trimmed = endpoint.trim_end_matches('/').to_lowercase();
                format!(
                    "@{}",
                    trimmed
                        .split_once("://")
                        .map_or(trimmed.as_str(), |(_, host)| host)
                )
            }
        };
        if scheme == "s3" {
            // Buckets outside AWS rarely know regions, and machines outside AWS have no metadata service.
            options
                .entry("region".into())
                .or_insert_with(|| "auto".into());
            options
                .entry("disable_ec2_metadata".into())
                .or_insert_with(|| "true".into());
        }
        let canonical = format!("{scheme}:{}{endpoint}{root}", place.to_lowercase());
        options.insert("root".into(), root);
        Ok(Self {
            scheme: scheme.to_owned(),
            options,
            canonical,
            local: None,
        })
    }
}

fn bad(text: &str, why: &str) -> Error {
    let shown = text.split('?').next().unwrap_or_default();
    Error::Usage(format!("{shown} is no address of a store: {why}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_names_their_vault() {
        for (text, canonical) in [
            (
                "s3://Bucket/a/b/?region=x&endpoint=https://S3.Example.com/",
                "s3:bucket@s3.example.com/a/b",
            ),
            ("s3://bucket", "s3:bucket/"),
            ("webdav://host:8443/dav/", "webdav:host:8443/dav"),
            ("webdav+http://host/dav", "webdav:host/dav"),
            ("sftp://me@host/srv/vault", "sftp:host/srv/vault"),
            ("azblob://container/x", "azblob:container/x"),
            ("file:///no/such/place", "fs:/no/such/place"),
        ] {
            assert_eq!(
                StoreUri::parse(text).unwrap().canonical(),
                canonical,
                "{text}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let spelled = dir.path().join("a/../v");
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::create_dir(dir.path().join("v")).unwrap();
        let one = StoreUri::parse(spelled.to_str().unwrap()).unwrap();
        assert_eq!(
            one.canonical(),
            StoreUri::parse(dir.path().join("v").to_str().unwrap())
                .unwrap()
                .canonical()
        );
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_never_shown() {
        for text in [
            "s3://b/?secret_access_key=hunter2",
            "webdav://me:hunter2@host/",
        ] {
            let error = StoreUri::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let uri = StoreUri::parse("s3://b")
            .unwrap()
            .with_option("secret_access_key", "hunter2");
        assert!(!format!("{uri:?}").contains("hunter2"));
        assert!(StoreUri::parse("gopher://x").is_err());
        assert!(StoreUri::parse("s3:///x").is_err());
    }
}
