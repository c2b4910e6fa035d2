//! What a store's errors mean to the reader.

use object_store::Error as StoreError;
use tidemill_core::{Error, ErrorKind};

/// The kind of an error of a store.
pub fn kind_of(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. } => ErrorKind::NotFound,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            ErrorKind::Denied
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Io,
    }
}

/// What a store of ours says itself.
fn own(error: StoreError) -> std::result::Result<Error, StoreError> {
    use StoreError::{Generic, NotFound, NotSupported, PermissionDenied, Precondition};
    let is_own = match &error {
        Generic { source, .. }
        | NotFound { source, .. }
        | NotSupported { source }
        | PermissionDenied { source, .. }
        | Precondition { source, .. } => source.is::<Error>(),
        _ => false,
    };
    match error {
        Generic { source, .. }
        | NotFound { source, .. }
        | NotSupported { source }
        | PermissionDenied { source, .. }
        | Precondition { source, .. }
            if is_own =>
        {
            match source.downcast::<Error>() {
                Ok(error) => Ok(*error),
                Err(source) => Err(Generic { store: "store", source }),
            }
        }
        other => Err(other),
    }
}

/// An error of a store, with what can be done about it.
pub fn explain(error: StoreError, what: &str, path: &str) -> Error {
    let error = match own(error) {
        Ok(error) => return error,
        Err(error) => error,
    };
    let kind = kind_of(&error);
    let text = texts(&error);
    let said = |part: &str| text.contains(part);
    let hint = if said("NoSuchBucket")
        || said("The specified bucket does not exist")
        || said("ContainerNotFound")
    {
        Some("the bucket does not exist: create it, or mend its name")
    } else if said("InvalidAccessKeyId")
        || said("SignatureDoesNotMatch")
        || said("Server failed to authenticate the request")
    {
        Some("the store does not know this key, or the secret of the key is wrong")
    } else if said("169.254.169.254") || said("metadata.google.internal") {
        Some(
            "there are no credentials: none in the options, none in the environment, no profile, \
             and this machine has no role (a public bucket is read with `skip_signature: true`)",
        )
    } else if said("without LOCATION") || said("PermanentRedirect") {
        Some("the bucket is in another region: set `region`")
    } else if said("ETag Header missing") {
        Some(
            "what answers there does not speak the protocol of this kind of store (it gives objects no ETag)",
        )
    } else if said("ExpiredToken") {
        Some("the session's token has expired: get a new one")
    } else if said("scheme is not") || said("URL scheme is not allowed") {
        Some("the endpoint speaks plain HTTP: set `allow_http: true` if that is meant")
    } else if said("Connection refused") || said("dns error") {
        Some("nothing answers at the endpoint: is its address right, and the server running?")
    } else if kind == ErrorKind::Denied {
        Some("these credentials may not do that: look at the policy of the bucket")
    } else {
        None
    };
    let error = Error::new(kind, what).with("path", path).because(error);
    match hint {
        Some(hint) => error.with("hint", hint),
        None => error,
    }
}

/// The error and what it came from, as one text.
fn texts(error: &dyn std::error::Error) -> String {
    let mut all = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        all.push('\n');
        all.push_str(&error.to_string());
        cause = error.source();
    }
    all
}
