//! What a service's error means to whoever asked: absent, refused, full, or away.

use opendal::ErrorKind;

use crate::error::Error;
use crate::store::http::Answer;

/// The error of an operation on an object.
pub(super) fn failed(operation: &'static str, object: &str, error: &opendal::Error) -> Error {
    let object = object.to_owned();
    let why = plain(error);
    match answer(error) {
        Some(Answer::Full(why)) => {
            return Error::Full {
                operation,
                object,
                why,
            };
        }
        Some(Answer::Denied(why)) => {
            return Error::Denied {
                operation,
                object,
                why,
            };
        }
        None => {}
    }
    match error.kind() {
        ErrorKind::NotFound => Error::Missing { object, path: None },
        ErrorKind::PermissionDenied | ErrorKind::ConfigInvalid | ErrorKind::Unsupported => {
            Error::Denied {
                operation,
                object,
                why,
            }
        }
        _ => Error::Unreachable {
            operation,
            object,
            why,
        },
    }
}

/// What an error means where OpenDAL's kinds have no word for it.
fn answer(error: &opendal::Error) -> Option<Answer> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(answer) = inner.downcast_ref::<Answer>() {
            return Some(answer.clone());
        }
        let code = inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .map(rustix::io::Errno::from_raw_os_error);
        if let Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) = code {
            return Some(Answer::Full(inner.to_string()));
        }
        source = inner.source();
    }
    None
}

/// The kind and the innermost words: OpenDAL's full message repeats the request, and may repeat its address.
pub(super) fn plain(error: &opendal::Error) -> String {
    let mut words = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    let shown: String = words
        .split('?')
        .next()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect();
    format!("{}: {shown}", error.kind())
}
