//! Errors, metadata and paths, as OpenDAL has them.

use std::path::Path;

use coffre::Error as VaultError;
use coffre::FileKind;
use coffre::Metadata as FileMetadata;
use coffre::Refusal;
use opendal_core::Error;
use opendal_core::ErrorKind;
use opendal_core::Metadata;
use opendal_core::MetadataBuilder;
use opendal_core::raw::Timestamp;

/// The name of the service.
pub const SCHEME: &str = "coffre";

/// What OpenDAL calls it. The vault's own error is the source.
pub(crate) fn error(error: VaultError) -> Error {
    let kind = match &error {
        VaultError::Refused(refusal) | VaultError::At { refusal, .. } => match refusal {
            Refusal::NoEntry => ErrorKind::NotFound,
            Refusal::Exists => ErrorKind::AlreadyExists,
            Refusal::NotDirectory => ErrorKind::NotADirectory,
            Refusal::IsDirectory => ErrorKind::IsADirectory,
            Refusal::ReadOnly | Refusal::NotPermitted => ErrorKind::PermissionDenied,
            Refusal::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Unexpected,
        },
        VaultError::Denied { .. } => ErrorKind::PermissionDenied,
        VaultError::Unsupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Unexpected,
    };
    let passes = matches!(
        error,
        VaultError::Unreachable { .. } | VaultError::DiskRefuses { .. } | VaultError::Busy { .. }
    );
    let converted = Error::new(kind, error.to_string()).set_source(error);
    match passes {
        true => converted.set_temporary(),
        false => converted,
    }
}

/// Whether it says that there is nothing at a path.
pub(crate) fn is_nothing(error: &VaultError) -> bool {
    matches!(
        error.refusal(),
        Some(Refusal::NoEntry | Refusal::NotDirectory)
    )
}

/// As seen through symbolic links, or a link itself that leads nowhere.
pub(crate) fn metadata(found: &FileMetadata) -> Metadata {
    let mut metadata = match found.kind {
        FileKind::Regular => MetadataBuilder::file(found.size),
        FileKind::Directory => MetadataBuilder::dir(),
        _ => MetadataBuilder::unknown(),
    };
    // Times that OpenDAL cannot say are left out.
    if let Ok(modified) = Timestamp::new(found.mtime.seconds, found.mtime.nanos as i32) {
        metadata.last_modified(modified);
    }
    if found.kind == FileKind::Regular {
        metadata.etag(etag(found));
    }
    metadata.build()
}

/// Another one for whatever content a path has had: a replacement has another inode, and every change in place another version.
/// Times would not do: a kernel that holds content back may tell them before it.
fn etag(found: &FileMetadata) -> String {
    format!("\"{:x}-{:x}\"", found.inode.0, found.version)
}

/// A folder's path without its slash, a file's as it is.
pub(crate) fn file(path: &str) -> &Path {
    Path::new(path.trim_end_matches('/'))
}
