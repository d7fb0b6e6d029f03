//! Code for both directions: the names of the methods, the reading of params by position, and the
//! error that names the wrong position.

use core::fmt;

use super::guess::Guess;
use super::hex::HexError;
use super::json::{Envelope, JsonError, Value};
use super::text::Text;
use crate::limits::{ID_BYTES_MAX, METHOD_NAME_BYTES_MAX};

/// A method of Stratum V1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Method {
    /// `mining.configure`, BIP-0310.
    Configure,
    /// `mining.subscribe`
    Subscribe,
    /// `mining.authorize`
    Authorize,
    /// `mining.extranonce.subscribe`, of NiceHash.
    ExtranonceSubscribe,
    /// `mining.suggest_difficulty`
    SuggestDifficulty,
    /// `mining.suggest_target`
    SuggestTarget,
    /// `mining.submit`
    Submit,
    /// `mining.get_transactions`
    GetTransactions,
    /// `mining.ping`
    Ping,
    /// `client.get_version`
    GetVersion,
    /// `mining.notify`
    Notify,
    /// `mining.set_difficulty`
    SetDifficulty,
    /// `mining.set_extranonce`, of NiceHash.
    SetExtranonce,
    /// `mining.set_version_mask`, BIP-0310.
    SetVersionMask,
    /// `client.reconnect`
    Reconnect,
    /// `client.show_message`
    ShowMessage,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 16] = [
        Self::Configure,
        Self::Subscribe,
        Self::Authorize,
        Self::ExtranonceSubscribe,
        Self::SuggestDifficulty,
        Self::SuggestTarget,
        Self::Submit,
        Self::GetTransactions,
        Self::Ping,
        Self::GetVersion,
        Self::Notify,
        Self::SetDifficulty,
        Self::SetExtranonce,
        Self::SetVersionMask,
        Self::Reconnect,
        Self::ShowMessage,
    ];

    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configure => "mining.configure",
            Self::Subscribe => "mining.subscribe",
            Self::Authorize => "mining.authorize",
            Self::ExtranonceSubscribe => "mining.extranonce.subscribe",
            Self::SuggestDifficulty => "mining.suggest_difficulty",
            Self::SuggestTarget => "mining.suggest_target",
            Self::Submit => "mining.submit",
            Self::GetTransactions => "mining.get_transactions",
            Self::Ping => "mining.ping",
            Self::GetVersion => "client.get_version",
            Self::Notify => "mining.notify",
            Self::SetDifficulty => "mining.set_difficulty",
            Self::SetExtranonce => "mining.set_extranonce",
            Self::SetVersionMask => "mining.set_version_mask",
            Self::Reconnect => "client.reconnect",
            Self::ShowMessage => "client.show_message",
        }
    }

    /// Returns the method called `name`.
    #[inline]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_bytes(name.as_bytes())
    }

    /// Compares with the most frequent names first, in words of a fixed size.
    #[inline(always)]
    fn from_bytes(name: &[u8]) -> Option<Self> {
        one(name, b"mining.submit", Self::Submit)
            .or_else(|| one(name, b"mining.subscribe", Self::Subscribe))
            .or_else(|| Self::from_rare_bytes(name))
    }

    /// Compares by length first: few names have the same length.
    #[inline(never)]
    fn from_rare_bytes(name: &[u8]) -> Option<Self> {
        match name.len() {
            11 => one(name, b"mining.ping", Self::Ping),
            13 => one(name, b"mining.notify", Self::Notify),
            16 => one(name, b"mining.authorize", Self::Authorize)
                .or_else(|| one(name, b"mining.configure", Self::Configure))
                .or_else(|| one(name, b"client.reconnect", Self::Reconnect)),
            18 => one(name, b"client.get_version", Self::GetVersion),
            19 => one(name, b"client.show_message", Self::ShowMessage),
            21 => one(name, b"mining.set_difficulty", Self::SetDifficulty)
                .or_else(|| one(name, b"mining.set_extranonce", Self::SetExtranonce))
                .or_else(|| one(name, b"mining.suggest_target", Self::SuggestTarget)),
            23 => one(name, b"mining.get_transactions", Self::GetTransactions)
                .or_else(|| one(name, b"mining.set_version_mask", Self::SetVersionMask)),
            25 => one(name, b"mining.suggest_difficulty", Self::SuggestDifficulty),
            27 => one(name, b"mining.extranonce.subscribe", Self::ExtranonceSubscribe),
            _ => None,
        }
    }

    /// Returns the method with the name `text`, with or without escapes.
    #[inline(always)]
    pub(super) fn from_text(text: Text<'_>) -> Option<Self> {
        match text.plain_bytes() {
            Some(plain) => Self::from_bytes(plain),
            None => Self::from_name(&text.decode::<METHOD_NAME_BYTES_MAX>().ok()?),
        }
    }
}

#[inline(always)]
fn one<const N: usize>(name: &[u8], known: &[u8; N], method: Method) -> Option<Method> {
    let whole = <&[u8; N]>::try_from(name).is_ok_and(|name| name == known);
    whole.then_some(method)
}

/// Why a line is not a message, from either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ParseError {
    /// The line opens like another protocol.
    NotStratum(Guess),
    /// The line is not JSON, or not within our bounds.
    Json(JsonError),
    /// The id is an array, an object or too long; it is not echoed.
    Id {
        /// The longest id that is echoed, in bytes.
        limit: u8,
    },
    /// There is neither a method nor an answer, or the method is not a string.
    Method,
    /// The params are not an array.
    NotAnArray {
        /// The method.
        method: Method,
    },
    /// Params are missing.
    TooFewParams {
        /// The method.
        method: Method,
        /// Params found.
        got: u8,
        /// Params needed.
        need: u8,
    },
    /// A param has a wrong type or value.
    Params {
        /// The method.
        method: Method,
        /// The position of the param, from 0.
        at: u8,
    },
    /// A param is not the hex field that it must be.
    Hex {
        /// The method.
        method: Method,
        /// The position of the param, from 0.
        at: u8,
        /// The error in the hex.
        error: HexError,
    },
}

impl ParseError {
    /// The error for an id that is not echoed.
    pub(super) const ID: Self = Self::Id { limit: ID_BYTES_MAX as u8 };
}

impl From<JsonError> for ParseError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// The params of a message, read by position.
#[derive(Clone, Copy)]
pub(super) struct Params<'e, 'a> {
    method: Method,
    envelope: &'e Envelope<'a>,
}

impl<'e, 'a> Params<'e, 'a> {
    /// Takes the params of `method`; missing or null params are none.
    #[inline(always)]
    pub(super) fn of(method: Method, envelope: &'e Envelope<'a>) -> Result<Self, ParseError> {
        match envelope.params() {
            None | Some(Value::Null | Value::Array(_)) => Ok(Self { method, envelope }),
            Some(_) => Err(ParseError::NotAnArray { method }),
        }
    }

    /// Checks that there are at least `need` params.
    #[inline(always)]
    pub(super) fn at_least(self, need: u8) -> Result<Self, ParseError> {
        let got = u8::try_from(self.envelope.params_count()).unwrap_or(u8::MAX);
        if got < need {
            return Err(ParseError::TooFewParams { method: self.method, got, need });
        }
        Ok(self)
    }

    /// Returns the param at a position; null if it is missing. Positions that the scan did not keep
    /// count as missing; [`Self::last`] reaches them.
    #[inline(always)]
    pub(super) fn value(self, at: u8) -> Value<'a> {
        self.envelope.param(usize::from(at)).unwrap_or(Value::Null)
    }

    /// Returns the last param and its position.
    pub(super) fn last(self) -> (u8, Value<'a>) {
        let count = self.envelope.params_count();
        let at = count.saturating_sub(1);
        let value = match (self.envelope.param(at), self.envelope.params()) {
            (Some(value), _) => Some(value),
            (None, Some(Value::Array(params))) => params.elements().last(),
            (None, _) => None,
        };
        (u8::try_from(at).unwrap_or(u8::MAX), value.unwrap_or(Value::Null))
    }

    /// Returns the string at a position.
    #[inline(always)]
    pub(super) fn text(self, at: u8) -> Result<Text<'a>, ParseError> {
        self.envelope.param_text(usize::from(at)).ok_or(self.wrong(at))
    }

    /// Returns the string at a position, or `None` if it is null or missing.
    #[inline(always)]
    pub(super) fn optional_text(self, at: u8) -> Result<Option<Text<'a>>, ParseError> {
        match self.envelope.param_text(usize::from(at)) {
            Some(text) => Ok(Some(text)),
            None if self.envelope.param_is_null(usize::from(at)) => Ok(None),
            None => Err(self.wrong(at)),
        }
    }

    /// Decodes the digits at a position by `read`.
    pub(super) fn hex<T>(
        self,
        at: u8,
        read: impl FnOnce(&'a [u8]) -> Result<T, HexError>,
    ) -> Result<T, ParseError> {
        read(self.text(at)?.as_bytes()).map_err(|error| self.bad_hex(at, error))
    }

    /// Makes the error for a param with wrong hex.
    #[cold]
    pub(super) const fn bad_hex(self, at: u8, error: HexError) -> ParseError {
        ParseError::Hex { method: self.method, at, error }
    }

    /// Makes the error for a param.
    #[cold]
    pub(super) const fn wrong(self, at: u8) -> ParseError {
        ParseError::Params { method: self.method, at }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStratum(guess) => write!(f, "not stratum but {guess}; check the port"),
            Self::Json(error) => error.fmt(f),
            Self::Id { limit } => {
                write!(
                    f,
                    "id must be null, a number, a string or a boolean of at most {limit} bytes"
                )
            }
            Self::Method => f.write_str("neither a method nor an answer"),
            Self::NotAnArray { method } => write!(f, "{method}: params must be an array"),
            Self::TooFewParams { method, got, need } => {
                write!(f, "{method}: got {got} params, need at least {need}")
            }
            Self::Params { method, at } => {
                write!(f, "{method}: param {at} has a wrong type or value")
            }
            Self::Hex { method, at, error } => write!(f, "{method}: param {at}: {error}"),
        }
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn every_name_is_known_and_nothing_near_it() {
        for method in Method::ALL {
            let name = method.name();
            assert_eq!(Method::from_name(name), Some(method));
            assert!(name.len() <= METHOD_NAME_BYTES_MAX);
            for (at, _) in name.char_indices() {
                assert_eq!(Method::from_name(&name[..at]), None);
                let (before, after) = name.split_at(at);
                assert_eq!(Method::from_name(&format!("{before}~{}", &after[1..])), None);
            }
            assert_eq!(Method::from_name(&format!("{name} ")), None);
            assert_eq!(Method::from_name(&name.to_ascii_uppercase()), None);
        }
        let longest = Method::ALL.map(|method| method.name().len()).into_iter().max();
        assert_eq!(longest, Some(METHOD_NAME_BYTES_MAX));
    }

    #[test]
    fn errors_name_method_position_and_way_out() {
        let shown = |error: ParseError| format!("{error}");
        let method = Method::Submit;
        assert_eq!(
            shown(ParseError::TooFewParams { method, got: 4, need: 5 }),
            "mining.submit: got 4 params, need at least 5"
        );
        assert_eq!(
            shown(ParseError::Params { method, at: 3 }),
            "mining.submit: param 3 has a wrong type or value"
        );
        assert_eq!(
            shown(ParseError::Hex { method, at: 5, error: HexError::Odd { len: 7 } }),
            "mining.submit: param 5: odd count of hex digits: 7"
        );
        assert_eq!(
            shown(ParseError::NotStratum(Guess::Tls)),
            "not stratum but tls; check the port"
        );
        assert_eq!(
            shown(ParseError::ID),
            "id must be null, a number, a string or a boolean of at most 64 bytes"
        );
    }
}
