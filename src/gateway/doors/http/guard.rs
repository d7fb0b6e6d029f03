//! Checks of a request's origin, host and rights before it is carried out.
//!
//! A browser sends any request that any page makes, and adds our cookie if the request goes to us.
//! First, the `Host` must be one of our names, so a foreign name pointed at our address is refused.
//! Second, a change must come from a page of ours: its `Origin` is ours, no form can send its type,
//! and it carries a token that only a page able to read our answers knows (F75). No answer has a
//! CORS header, so no other page can read one.

use std::net::IpAddr;

use embedded_svc::http::Method;
use embedded_svc::http::server::asynch::Headers;
use loka_stratum::control::Role;
use loka_stratum::settings::Settings;

use super::answer::Fault;
use crate::gateway::access::{Access, Session, Token};
use crate::gateway::base::clock;

/// The name of the session cookie.
pub const COOKIE: &str = "loka_session";

/// The name of the cookie that marks a browser after its first log-in.
pub const DEVICE: &str = "loka_device";

/// The header with the CSRF token.
pub const CSRF: &str = "x-loka-csrf";

/// The header that names the answer's session, by a prefix of its CSRF token.
pub const SESSION: &str = "x-loka-session";

/// Digits of that prefix: enough to tell sessions apart, too few to use one.
const MARK_DIGITS: usize = 8;

/// The origin of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The peer's address.
    pub address: IpAddr,
    /// The connection uses our TLS.
    pub is_tls: bool,
}

/// A session and its token, as a request carries them.
#[derive(Clone, Copy, Debug)]
pub struct Bearer {
    /// The token.
    pub token: Token,
    /// Its session.
    pub session: Session,
}

impl Peer {
    /// Says whether a password may be sent: over TLS, or within this machine.
    pub fn is_private(&self) -> bool {
        self.is_tls || self.address.to_canonical().is_loopback()
    }

    /// Returns the session of a request. A session opened over TLS is not accepted over plain HTTP,
    /// where an eavesdropper could have its token.
    pub fn bearer(&self, head: &impl Headers, access: &Access) -> Option<Bearer> {
        let token = Token::parse(cookie(head, COOKIE)?)?;
        let session = access.session(&token, clock::now())?;
        (self.is_private() || session.is_setup).then_some(Bearer { token, session })
    }

    /// Checks that a request is meant for us, and that a change comes from a page of ours.
    /// `is_told` says whether a label is our name in mDNS, which may differ from the settings.
    ///
    /// # Errors
    ///
    /// The offending header.
    pub fn check_origin(
        &self,
        method: Method,
        head: &impl Headers,
        settings: &Settings,
        is_told: &dyn Fn(&str) -> bool,
    ) -> Result<(), Fault> {
        let host = head.header("host").unwrap_or_default();
        if !is_our_host(host, settings, is_told) {
            let allowed = "an IP address, localhost, NAME.local (mdns.name), or one of web.hosts";
            return Err(Fault::new(403, format!("host: got {:?}, allowed {allowed}", cut(host))));
        }
        if !changes_something(method) {
            return Ok(());
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        if let Some(origin) = head.header("origin")
            && !origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
        {
            let text = format!("origin: got {:?}, allowed {scheme}://{host}", cut(origin));
            return Err(Fault::new(403, text));
        }
        match head.header("sec-fetch-site") {
            None | Some("same-origin" | "none") => Ok(()),
            Some(site) => {
                let text = format!("sec-fetch-site: got {:?}, allowed same-origin", cut(site));
                Err(Fault::new(403, text))
            }
        }
    }
}

/// Returns the value of a cookie.
pub fn cookie<'h>(head: &'h impl Headers, name: &str) -> Option<&'h str> {
    let cookies = head.header("cookie")?.split(';').map(str::trim);
    cookies.filter_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('=')).next()
}

impl Bearer {
    /// Checks that the session's role suffices.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn check_role(&self, needs: Role) -> Result<(), Fault> {
        if self.session.role >= needs {
            return Ok(());
        }
        let (got, needs) = (self.session.role.name(), needs.name());
        Err(Fault::new(403, format!("role: got {got}, allowed {needs} and above")))
    }

    /// Returns the prefix that names the session.
    pub fn mark(&self) -> String {
        self.token.csrf().chars().take(MARK_DIGITS).collect()
    }

    /// Checks the CSRF token.
    ///
    /// # Errors
    ///
    /// It is missing or wrong.
    pub fn check_csrf(&self, head: &impl Headers) -> Result<(), Fault> {
        if self.token.is_csrf(head.header(CSRF).unwrap_or_default()) {
            return Ok(());
        }
        let text = "is not the session's; GET /api/v1/session has it as csrf";
        Err(Fault::new(403, format!("{CSRF}: the token {text}")))
    }
}

/// Checks the content type of a body.
///
/// # Errors
///
/// It is another type.
pub fn check_type(head: &impl Headers, wanted: &str) -> Result<(), Fault> {
    let kind = head.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Fault::new(415, format!("content-type: got {:?}, allowed {wanted}", cut(kind))))
}

/// Says whether a method may change state.
pub fn changes_something(method: Method) -> bool {
    !matches!(method, Method::Get | Method::Head)
}

/// Says whether a `Host` is one of ours. Every IP address is: a page loaded from an address has
/// that address as its origin, so no foreign script runs under it.
fn is_our_host(host: &str, settings: &Settings, is_told: &dyn Fn(&str) -> bool) -> bool {
    let Some(name) = without_port(host) else { return false };
    let name = name.strip_suffix('.').unwrap_or(name);
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is = |ours: &str| name.eq_ignore_ascii_case(ours);
    let is_local = |label: &str| is(&format!("{label}.local"));
    name.parse::<std::net::Ipv4Addr>().is_ok()
        || is("localhost")
        || settings.mdns.name.as_ref().is_some_and(|label| is_local(label.as_str()))
        || label_of(name).is_some_and(is_told)
        || settings.web.hosts.iter().any(|ours| is(ours.as_str()))
}

/// Returns the label of an mDNS name.
fn label_of(name: &str) -> Option<&str> {
    let (label, domain) = name.split_once('.')?;
    domain.eq_ignore_ascii_case("local").then_some(label)
}

fn without_port(host: &str) -> Option<&str> {
    let at = host.find(']').map_or(0, |end| end + 1);
    match host.get(at..)?.split_once(':') {
        None => Some(host),
        Some((name, port)) => {
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            is_port.then(|| host.get(..at + name.len())).flatten()
        }
    }
}

/// Truncates a text that a message repeats.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Head<'a>(&'a [(&'a str, &'a str)]);

    impl Headers for Head<'_> {
        fn header(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        }
    }

    fn settings() -> Settings {
        let mut settings = Settings::default();
        for (key, text) in [("web.hosts", "gw.farm.example"), ("mdns.name", "loka")] {
            settings.set(loka_stratum::settings::Key::parse(key).unwrap(), text).unwrap();
        }
        settings
    }

    #[test]
    fn f75_only_our_names_are_ours() {
        let settings = settings();
        for host in [
            "192.168.8.1",
            "192.168.8.1:8080",
            "[fe80::1]",
            "[fe80::1]:443",
            "localhost:8080",
            "LOKA.local",
            "loka.local.:443",
            "gw.farm.example",
        ] {
            assert!(is_our_host(host, &settings, &|_| false), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "192.168.8.1.evil.example",
            "evil.example:8080",
            "farm.example",
            "gw.farm.example.evil.example",
            "localhost.evil.example",
            "localhost:",
            "localhost:80:80",
            "localhost@evil.example",
            "evil.example#localhost",
            "[fe80::1",
            "[evil.example]",
            "[fe80::1]evil.example",
            "loka",
            "0x7f.1",
        ] {
            assert!(!is_our_host(host, &settings, &|_| false), "{host}");
        }
        assert!(!is_our_host("loka.local", &Settings::default(), &|_| false));
    }

    #[test]
    fn f97_the_name_that_a_conflict_gave_us_is_ours() {
        let is_told = |label: &str| label.eq_ignore_ascii_case("loka-2");
        let settings = settings();
        for host in ["loka-2.local", "LOKA-2.local:8443", "loka-2.local.", "loka.local"] {
            assert!(is_our_host(host, &settings, &is_told), "{host}");
        }
        for host in ["loka-3.local", "loka-2", "loka-2.local.evil.example", "x.loka-2.local"] {
            assert!(!is_our_host(host, &settings, &is_told), "{host}");
        }
    }

    #[test]
    fn f75_what_changes_something_must_come_from_a_page_of_ours() {
        let settings = settings();
        let host = ("host", "192.168.8.1");
        let check = |is_tls, method, headers: &[_]| {
            let peer = Peer { address: "192.168.8.2".parse().unwrap(), is_tls };
            let all: Vec<_> = [host].into_iter().chain(headers.iter().copied()).collect();
            peer.check_origin(method, &Head(&all), &settings, &|_| false).is_ok()
        };
        let ours = ("origin", "https://192.168.8.1");
        assert!(check(true, Method::Post, &[]), "a program has no origin");
        assert!(check(true, Method::Post, &[ours]));
        assert!(check(true, Method::Post, &[ours, ("sec-fetch-site", "same-origin")]));
        for origin in [
            "http://192.168.8.1",
            "https://192.168.8.1:8443",
            "https://evil.example",
            "null",
            "",
            "https://192.168.8.1.evil.example",
        ] {
            assert!(!check(true, Method::Post, &[("origin", origin)]), "{origin}");
            assert!(!check(true, Method::Delete, &[("origin", origin)]), "{origin}");
        }
        assert!(!check(false, Method::Post, &[ours]), "of the other port");
        for site in ["cross-site", "same-site", "other"] {
            assert!(!check(true, Method::Post, &[("sec-fetch-site", site)]), "{site}");
            assert!(check(true, Method::Get, &[("sec-fetch-site", site)]), "a link from {site}");
        }
    }
}
