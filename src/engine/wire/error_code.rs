//! The error codes of Stratum V1, as miners and pools know them.
//!
//! Source: the protocol page of slush pool; firmware distinguishes the codes 20 to 25.

/// Why a request was refused, as its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ErrorCode {
    /// Any other reason, such as an unreadable or unknown request.
    Other = 20,
    /// The job of the share is unknown, or no longer known.
    JobNotFound = 21,
    /// The share was sent before.
    Duplicate = 22,
    /// The share does not reach the difficulty of its job.
    LowDifficulty = 23,
    /// The worker is not authorized on this connection.
    Unauthorized = 24,
    /// The connection has not subscribed.
    NotSubscribed = 25,
}

impl ErrorCode {
    /// Returns the code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the error with this code, or `None` for a code other than the six.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            20 => Some(Self::Other),
            21 => Some(Self::JobNotFound),
            22 => Some(Self::Duplicate),
            23 => Some(Self::LowDifficulty),
            24 => Some(Self::Unauthorized),
            25 => Some(Self::NotSubscribed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_protocol_page() {
        for code in 0..=255_u8 {
            let error = ErrorCode::from_code(i64::from(code));
            assert_eq!(error.is_some(), (20..=25).contains(&code));
            assert!(error.is_none_or(|error| error.code() == code));
        }
        assert_eq!(ErrorCode::from_code(-3), None);
    }
}
