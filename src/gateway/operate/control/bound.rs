//! Passwords and pins stay with the host that they were given for (F99).
//!
//! A user who may change a pool's address but not read its password must not learn it by naming his
//! own host, in a commit, a test or a restore. So a password goes to another host, or from TLS to
//! plain TCP, only if it is given again in the same change. A pin belongs to the host it was given
//! with.

use loka_stratum::settings::{Key, Pool, Scheme, Settings};

use super::Candidate;

/// A password or pin that would be used for another host.
#[derive(Debug)]
pub(super) struct Stray {
    /// Its key.
    pub(super) key: Key,
    /// The problem and the remedy.
    pub(super) text: String,
}

/// Lists passwords and pins from `before` that `new` would use for another host, unless the
/// candidate gives them again.
pub(super) fn strays(before: &[&Settings], new: &Settings, candidate: &Candidate) -> Vec<Stray> {
    let default = Pool::default();
    let mut strays = Vec::new();
    for (index, pool) in new.pools.iter().enumerate() {
        let all = || before.iter().flat_map(|settings| settings.pools.iter());
        let password = pool.password.expose();
        // The default password is not a secret.
        let is_secret = !password.is_empty() && pool.password != default.password;
        if let Some(key) = Key::named("pool", "password", index)
            && is_secret
            && !candidate.gives(key, password)
        {
            let givers = || all().filter(|known| known.password == pool.password);
            let fits = |known: &Pool| is_host(known, pool) && !is_weaker(known, pool);
            if !givers().any(fits) {
                let text = password_text(key, givers().next(), pool);
                strays.push(Stray { key, text });
            }
        }
        if let Some(key) = Key::named("pool", "pins", index)
            && !pool.pins.is_empty()
            && !candidate.sets(key)
            && !all().any(|known| known.pins == pool.pins && is_host(known, pool))
        {
            let host = pool.url.host();
            let title = key.title();
            let text = format!(
                "{title}: a key that was given for another host does not vouch for {host}; give the \
                 keys of {host} in the same change, or unset {key}"
            );
            strays.push(Stray { key, text });
        }
    }
    strays
}

fn is_host(known: &Pool, pool: &Pool) -> bool {
    known.url.host().eq_ignore_ascii_case(pool.url.host())
}

/// Says whether a password would move from TLS to plain TCP.
fn is_weaker(known: &Pool, pool: &Pool) -> bool {
    known.url.scheme() == Scheme::Tls && pool.url.scheme() == Scheme::Tcp
}

fn password_text(key: Key, known: Option<&Pool>, pool: &Pool) -> String {
    let host = pool.url.host();
    let what = match known {
        Some(known) if is_host(known, pool) => {
            format!("was given for TLS, and would go to {host} in the open")
        }
        Some(known) if !known.url.host().is_empty() => {
            format!("was given for {}, and would go to {host}", known.url.host())
        }
        _ => format!("was given before there was an address, and would go to {host}"),
    };
    format!("{}: {what}; give it again in the same change, or unset {key}", key.title())
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_stratum::control::Role;

    const A: &str = "stratum+ssl://a.example:3334";
    const SECRET: &str = "secret of a.example";
    const PIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn settings(values: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in values {
            settings.set(Key::parse(key).unwrap(), value).unwrap();
        }
        settings
    }

    /// Two pools with passwords; the first has a pin.
    fn before() -> Settings {
        settings(&[
            ("pool.1.url", A),
            ("pool.1.user", "farm"),
            ("pool.1.password", SECRET),
            ("pool.1.pins", PIN),
            ("pool.2.url", "stratum+tcp://b.example:3333"),
            ("pool.2.user", "farm"),
            ("pool.2.password", "secret of b.example"),
        ])
    }

    /// Returns the stray keys of a change; an edit without a value is an unset.
    fn of(before: &Settings, edits: &[(&str, Option<&str>)]) -> Vec<String> {
        let mut candidate = Candidate::default();
        for (key, value) in edits {
            match value {
                Some(value) => candidate.set(before, key, value, Role::Operator).unwrap(),
                None => candidate.unset(before, key, Role::Operator).unwrap(),
            }
        }
        let new = candidate.apply(before).unwrap();
        let strays = strays(&[before], &new, &candidate);
        for stray in &strays {
            assert!(!stray.text.contains("secret"), "{}", stray.text);
            assert!(stray.text.contains("in the same change"), "{}", stray.text);
        }
        strays.iter().map(|stray| stray.key.to_string()).collect()
    }

    #[test]
    fn f99_a_password_and_a_pin_do_not_follow_an_address_to_another_host() {
        let before = before();
        let url = |url| ("pool.1.url", Some(url));
        let both = ["pool.1.password", "pool.1.pins"];
        for other in [
            "stratum+ssl://evil.example:3334",
            "stratum+ssl://a.example.evil.example:3334",
            "stratum+ssl://192.0.2.1:3334",
            // The host of another pool with another password.
            "stratum+ssl://b.example:3334",
        ] {
            assert_eq!(of(&before, &[url(other)]), both, "{other}");
        }
        for same in ["stratum+ssl://a.example:443", "stratum+ssl://A.EXAMPLE:3334"] {
            assert_eq!(of(&before, &[url(same)]), [""; 0], "{same}");
        }
        let open = "stratum+tcp://a.example:3333";
        assert_eq!(of(&before, &[url(open)]), ["pool.1.password"], "in the open");
        let evil = url("stratum+ssl://evil.example:1");
        let given = ("pool.1.password", Some("another"));
        let again = ("pool.1.password", Some(SECRET));
        let (no_word, no_pins) = (("pool.1.password", None), ("pool.1.pins", None));
        assert_eq!(of(&before, &[evil, given, no_pins]), [""; 0]);
        assert_eq!(of(&before, &[again, evil, no_pins]), [""; 0], "its owner may");
        assert_eq!(of(&before, &[evil, no_word, ("pool.1.pins", Some(PIN))]), [""; 0]);
    }

    #[test]
    fn f99_pools_that_move_up_keep_their_own_and_no_detour_carries_one_away() {
        let before = before();
        assert_eq!(of(&before, &[("pool.1", None)]), [""; 0], "the second is the first");
        let evil = "stratum+ssl://evil.example:1";
        // A password given before a removal was given to another pool.
        let detour = [("pool.1.password", Some("x")), ("pool.1", None), ("pool.1.url", Some(evil))];
        assert_eq!(of(&before, &detour), ["pool.1.password"]);
        // A password set before any address belongs to no host.
        let early = settings(&[("pool.1.password", SECRET)]);
        assert_eq!(of(&early, &[("pool.1.url", Some(evil))]), ["pool.1.password"]);
        // Values of the environment are not part of the change.
        let mut new = before.clone();
        new.set(Key::parse("pool.2.url").unwrap(), evil).unwrap();
        let strays = strays(&[&before], &new, &Candidate::default());
        assert_eq!(strays.len(), 1);
        assert_eq!(of(&settings(&[("pool.1.url", A)]), &[("pool.1.url", Some(evil))]), [""; 0]);
    }
}
