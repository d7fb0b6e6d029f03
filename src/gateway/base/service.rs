//! The DNS-SD service of a gateway (RFC 6763): its type and the keys of its TXT record.
//!
//! `mdns` publishes them, `ctl find` queries them.

/// The type of the service, in the domain of mDNS.
pub const STRATUM: &str = "_stratum._tcp.local.";

/// Key of the product's name.
pub const PRODUCT: &str = "product";

/// Key of the version.
pub const VERSION: &str = "version";

/// Key of the page's address.
pub const PAGE: &str = "page";
