//! What an address names.

use std::fmt;

use tidemill_core::{Error, ErrorKind, Result};
use url::Url;

/// Whose protocol a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what is compatible.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage and Data Lake Storage.
    Azure,
}

/// A prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose protocol.
    pub service: Service,
    /// The bucket, or container.
    pub bucket: String,
    /// The account, where the address names it (Azure).
    pub account: Option<String>,
    /// What objects' names begin with, without slashes around it; empty for the whole bucket.
    pub prefix: String,
    scheme: String,
}

/// Whether this is an address rather than a path of the file system.
pub fn is_address(location: &str) -> bool {
    match location.split_once("://") {
        Some(("file", _)) | None => false,
        Some((scheme, _)) => {
            !scheme.is_empty()
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        }
    }
}

impl Address {
    /// Reads `s3://bucket/prefix`, `s3a://…`, `gs://bucket/prefix`, `gcs://…`,
    /// `az://container/prefix`, `abfss://container@account.dfs.core.windows.net/prefix`.
    ///
    /// # Errors
    /// Kind `Config` for an address without a bucket or with a login in it, `Unsupported` for one of
    /// another service.
    pub fn parse(text: &str) -> Result<Address> {
        let url = Url::parse(text).map_err(|error| {
            Error::new(ErrorKind::Config, "the address of an object store cannot be read")
                .with("address", tidemill_core::scrub(text))
                .because(error)
        })?;
        let service = match url.scheme() {
            "s3" | "s3a" => Service::S3,
            "gs" | "gcs" => Service::Google,
            "az" | "azure" | "abfs" | "abfss" | "adl" | "wasb" | "wasbs" => Service::Azure,
            "hdfs" | "webhdfs" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "HDFS cannot be used as a lake: it has no conditional put. Its files are read through \
                     a connection of `type: webhdfs`, or an NFS or FUSE mount as a folder",
                )
                .with("address", text));
            }
            "sftp" | "ftp" | "ftps" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "a server of files is no object store: it has no conditional put, which a lake \
                     needs; its files are read and written through a connection",
                )
                .with("address", tidemill_core::scrub(text))
                .with(
                    "hint",
                    format!("`type: {}` in connections.yml", url.scheme().trim_end_matches('s')),
                ));
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("there is no object store for `{other}://`"),
                )
                .with("hint", "use s3://, gs://, az:// or abfss://"));
            }
        };
        let shown = || format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or(""), url.path());
        if url.password().is_some() || (service != Service::Azure && !url.username().is_empty()) {
            return Err(Error::new(ErrorKind::Config, "an address holds no login")
                .with("address", shown())
                .with("hint", "give keys as options, or in the environment"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::new(ErrorKind::Config, "an address has no `?` and no `#`")
                .with("address", shown()));
        }
        let host = url.host_str().unwrap_or("");
        // abfss://container@account.dfs.core.windows.net/prefix
        let (bucket, account) = match (service, url.username()) {
            (Service::Azure, container) if !container.is_empty() => {
                let account = host.split('.').next().unwrap_or(host);
                (container.to_owned(), Some(account.to_owned()))
            }
            _ => (host.to_owned(), None),
        };
        if bucket.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the address names no bucket")
                .with("address", shown())
                .with("hint", format!("write `{}://bucket/prefix`", url.scheme())));
        }
        let prefix = object_store::path::Path::from_url_path(url.path()).map_err(|error| {
            Error::new(ErrorKind::Config, "the address of an object store cannot be read")
                .with("address", shown())
                .because(error)
        })?;
        Ok(Address {
            service,
            bucket,
            account,
            prefix: prefix.as_ref().to_owned(),
            scheme: url.scheme().to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{}://{}@{account}", self.scheme, self.bucket)?,
            None => write!(f, "{}://{}", self.scheme, self.bucket)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// Whether a server's address is on this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, service, bucket, account, prefix) in [
            ("s3://lake", Service::S3, "lake", None, ""),
            ("s3a://lake/a/b/", Service::S3, "lake", None, "a/b"),
            ("gs://x/y z", Service::Google, "x", None, "y z"),
            ("gcs://x/y", Service::Google, "x", None, "y"),
            ("az://box/y", Service::Azure, "box", None, "y"),
            ("abfss://box@acme.dfs.core.windows.net/y", Service::Azure, "box", Some("acme"), "y"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.service, service, "{text}");
            assert_eq!(address.bucket, bucket, "{text}");
            assert_eq!(address.account.as_deref(), account, "{text}");
            assert_eq!(address.prefix, prefix, "{text}");
        }
        assert_eq!(Address::parse("s3://lake/a/").unwrap().to_string(), "s3://lake/a");
    }

    #[test]
    fn what_is_no_address() {
        for (text, part) in [
            ("s3:///x", "no bucket"),
            ("s3://key:secret@bucket/x", "no login"),
            ("s3://bucket/x?versionId=1", "no `?`"),
            ("nfs://host/x", "no object store for `nfs://`"),
            ("ftp://host/x", "no conditional put"),
            ("sftp://host/x", "`type: sftp`"),
            ("hdfs://name/x", "HDFS"),
        ] {
            let report = Address::parse(text).unwrap_err().report();
            assert!(report.contains(part), "{text}: {report}");
            assert!(!report.contains("secret"), "{report}");
        }
        for (text, yes) in [
            ("s3://x", true),
            ("/a/b", false),
            ("file:///a", false),
            ("C:\\x", false),
            ("a/b://c", false),
        ] {
            assert_eq!(is_address(text), yes, "{text}");
        }
    }

    #[test]
    fn this_machine() {
        for (url, yes) in [
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000", true),
            ("http://[::1]:9000", true),
            ("http://10.0.0.1", false),
            ("http://localhost.evil.org", false),
        ] {
            assert_eq!(is_loopback(url), yes, "{url}");
        }
    }
}
