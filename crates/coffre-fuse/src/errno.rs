//! Errors of the library as the numbers that programs know.

use coffre::Error;
use coffre::Refusal;
use fuser::Errno;

/// The number for an error. What the store or the local disk did wrong is told in the log as well.
pub(crate) fn errno(error: &Error) -> Errno {
    match error {
        Error::Refused(refusal) | Error::At { refusal, .. } => of_refusal(*refusal),
        Error::Io { source, .. } => {
            log::error!("{error}");
            of_system(source)
        }
        // The log was told when it began; every write until it ends would be told again.
        Error::DiskRefuses { source, .. } => of_system(source),
        Error::Busy { .. } => Errno::EBUSY,
        other => {
            log::error!("{}", other.without_path());
            Errno::EIO
        }
    }
}

fn of_system(error: &std::io::Error) -> Errno {
    match error.raw_os_error() {
        Some(code) if code == Errno::ENOSPC.code() || code == Errno::EDQUOT.code() => Errno::ENOSPC,
        _ => Errno::EIO,
    }
}

fn of_refusal(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::NoEntry => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotDirectory => Errno::ENOTDIR,
        Refusal::IsDirectory => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::Invalid => Errno::EINVAL,
        Refusal::NameTooLong => Errno::ENAMETOOLONG,
        Refusal::NoAttribute => Errno::ENODATA,
        Refusal::TooLarge => Errno::E2BIG,
        Refusal::FileTooLarge => Errno::EFBIG,
        Refusal::NoSpace => Errno::ENOSPC,
        Refusal::TooManyLinks => Errno::EMLINK,
        Refusal::BadHandle => Errno::EBADF,
        Refusal::ReadOnly => Errno::EROFS,
        Refusal::NotPermitted => Errno::EPERM,
        Refusal::NothingThere => Errno::ENXIO,
        Refusal::Unsupported => Errno::EOPNOTSUPP,
        Refusal::Loop => Errno::ELOOP,
        Refusal::Stale => Errno::ESTALE,
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_an_input_output_error_and_refusals_keep_their_meaning() {
        let missing = Error::Missing {
            object: "packs/00/00".into(),
            path: None,
        };
        assert_eq!(errno(&missing).code(), 5);
        assert_eq!(errno(&Error::from(Refusal::NoEntry)).code(), 2);
        assert_eq!(errno(&Error::from(Refusal::NotEmpty)).code(), 39);
        let full = Error::io("write", "journal", std::io::Error::from_raw_os_error(28));
        assert_eq!(errno(&full).code(), 28);
    }
}
