//! The HTTP clients for what is not an object store.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// The client of this process: it trusts what the machine trusts, so that a company's proxy is trusted
/// where the machine does; a status is no error; a connection is to be had within 20 seconds; credentials
/// do not follow a redirect to another host. The process's TLS implementation must have been chosen.
pub fn web_agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| config(Duration::from_secs(600), 10).build().new_agent())
}

/// A client like [`web_agent`] for addresses that the project's authors or the replies of others give: it
/// follows no redirect (its user does, or does not), and connects to addresses of this machine and of
/// private networks only where `private` says so. Names are resolved once, and what is connected to is
/// what was looked at.
pub fn guarded_agent(private: bool, timeout: Duration) -> Agent {
    let guard = Guard { inner: DefaultResolver::default(), private };
    Agent::with_parts(config(timeout, 0).build(), DefaultConnector::default(), guard)
}

fn config(
    timeout: Duration,
    redirects: u32,
) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    static ROOTS: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        Arc::new(found.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect())
    });
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(roots.clone()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_global(Some(timeout))
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
}

/// Refuses addresses that are not public.
#[derive(Debug)]
struct Guard {
    inner: DefaultResolver,
    private: bool,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let proxy = config.proxy().is_some_and(|proxy| Some(proxy.host()) == uri.host());
        // The user's own proxy may stand anywhere.
        if self.private || proxy || found.iter().all(|address| is_public(address.ip())) {
            return Ok(found);
        }
        let why = format!(
            "`{}` is an address of this machine or of a private network",
            uri.host().unwrap_or_default()
        );
        Err(ureq::Error::Io(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why)))
    }
}

/// Whether an address is one of the public internet: not of this machine, its links, private networks
/// (RFC 1918, RFC 6598, RFC 4193) or of other special use (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = match segments {
        // Mapped, translated (RFC 6052) and 6to4 addresses are the address within.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some((high, low))
        }
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = v4 {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // What is given out to the internet is 2000::/3.
    segments[0] & 0xe000 == 0x2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_apart() {
        for (address, public) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("8.8.8.8", true),
            ("100.128.0.1", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2606:4700::1111", true),
            ("::ffff:8.8.8.8", true),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
