//! The reason why a link ended, in words for people, with the pool's own text.
//!
//! The advice to check user and password is given only if the pool's code or text suggests it. A
//! suspended account needs no search for typing errors.

use core::fmt;

use super::{LinkClose, State};
use crate::words::Words;

/// A reason with the pool's own words.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    close: LinkClose,
    words: &'a Words,
}

impl<'a> Told<'a> {
    /// Takes a reason, and the words that came with it.
    pub fn new(close: LinkClose, words: &'a Words) -> Self {
        Self { close, words }
    }
}

/// Words in a pool's text that point to a wrong user or password.
const OF_LOGINS: [&str; 10] = [
    "user",
    "password",
    "worker",
    "address",
    "login",
    "credential",
    "wallet",
    "unauthori",
    "not authori",
    "account not",
];

/// Words in a pool's text that point elsewhere; user and password may be right.
const OF_PEOPLE: [&str; 9] = [
    "suspend",
    "banned",
    "ban ",
    "blocked",
    "blacklist",
    "disabled",
    "locked",
    "too many",
    "maintenance",
];

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { close, words } = self;
        match *close {
            LinkClose::SubscribeRefused(code) => {
                write!(f, "the pool refused to subscribe{}", Reason { code, words })
            }
            LinkClose::AuthorizeRefused(code) => {
                write!(f, "the pool refused the user{}", Reason { code, words })?;
                if is_of_login(code, words) {
                    f.write_str("; check user and password")?;
                }
                Ok(())
            }
            close if words.is_empty() => close.fmt(f),
            close => write!(f, "{close}; it said {words}"),
        }
    }
}

/// A pool's reason for a refusal, to be appended to the message.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a> {
    /// The pool's code.
    pub code: Option<i64>,
    /// The pool's text.
    pub words: &'a Words,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words;
        match (self.code, words.is_empty()) {
            (None, true) => f.write_str(", and gave no reason"),
            (None, false) => write!(f, ": {words} (no code)"),
            (Some(code), true) => write!(f, ": code {code}"),
            (Some(code), false) => write!(f, ": {words} (code {code})"),
        }
    }
}

/// Says whether a refusal is about user and password, judged by its text, and by its code unless
/// the text points elsewhere.
pub fn is_of_login(code: Option<i64>, words: &Words) -> bool {
    !words.name_any(&OF_PEOPLE) && (code == Some(24) || words.name_any(&OF_LOGINS))
}

/// Names the request after which a pool closed the connection.
pub(crate) fn closed_after(f: &mut fmt::Formatter<'_>, state: State) -> fmt::Result {
    match state {
        State::Configuring => {
            f.write_str("the pool closed the connection after mining.configure, before any answer")
        }
        State::Subscribing => {
            f.write_str("the pool closed the connection after mining.subscribe, before its answer")
        }
        _ => {
            f.write_str("the pool closed the connection after mining.authorize, before its answer")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::server::{self, Outcome, ServerLine};
    use std::format;
    use std::string::{String, ToString};

    /// What is said of an answer to mining.authorize with these two members.
    #[track_caller]
    fn told(members: &str) -> String {
        let line = format!("{{\"id\":3,{members}}}");
        let Ok(ServerLine::Response(response)) = server::parse(line.as_bytes()) else {
            panic!("{line}")
        };
        let Outcome::Refused(refusal) = response.outcome() else { panic!("{line}") };
        let close = LinkClose::AuthorizeRefused(refusal.code);
        Told::new(close, &Words::of(refusal.reason)).to_string()
    }

    #[test]
    fn f93_a_refused_login_is_told_with_the_pools_words_and_advice_that_fits() {
        let refused = "the pool refused the user";
        for (members, expected) in [
            (
                r#""result":false,"error":[24,"bc1q-example is no valid address",null]"#,
                ": \"bc1q-example is no valid address\" (code 24); check user and password",
            ),
            (r#""result":false,"error":"Account suspended""#, ": \"Account suspended\" (no code)"),
            (
                r#""result":null,"error":{"code":-401,"message":"Invalid username"}"#,
                ": \"Invalid username\" (code -401); check user and password",
            ),
            (r#""result":false,"error":[24,"User banned",null]"#, ": \"User banned\" (code 24)"),
            (
                r#""result":false,"error":["24","no",null]"#,
                ": \"no\" (code 24); check user and password",
            ),
            (r#""result":false,"error":null"#, ", and gave no reason"),
            (r#""result":false"#, ", and gave no reason"),
            (r#""result":null,"error":[24]"#, ": code 24; check user and password"),
            (r#""result":null,"error":"24""#, ": code 24; check user and password"),
            (r#""result":"Blocked","error":null"#, ": \"Blocked\" (no code)"),
            (r#""result":false,"error":[],"reject-reason":"locked""#, ": \"locked\" (no code)"),
            (
                r#""result":null,"error":{"code":"20","message":"try later"}"#,
                ": \"try later\" (code 20)",
            ),
        ] {
            assert_eq!(told(members), format!("{refused}{expected}"), "{members}");
        }
    }

    #[test]
    fn f93_a_close_in_the_handshake_names_the_request_and_what_was_said() {
        let at = |state| LinkClose::ClosedDuring(state);
        let said = Words::of(crate::wire::text::Text::EMPTY);
        assert_eq!(
            Told::new(at(State::Configuring), &said).to_string(),
            "the pool closed the connection after mining.configure, before any answer"
        );
        assert!(Told::new(at(State::Authorizing), &said).to_string().contains("mining.authorize"));
    }
}
