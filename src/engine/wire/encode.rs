//! Every line that is written, in both roles.
//!
//! Each function appends one whole line, ended by `\n` and without spaces, or nothing. Hot lines
//! are assembled from pieces. serde-json-core writes rare lines and every string from outside. A
//! name with quotes or line feeds therefore stays one string (F17, F85). The other side's ids are
//! echoed byte for byte; our own are plain numbers.
//!
//! Errors go out as `[code,"text",null]`, a form that all firmware reads (QUIRKS 14).
//!
//! ```
//! use loka_stratum::wire::encode;
//! use loka_stratum::wire::error_code::ErrorCode;
//! use loka_stratum::wire::id::Id;
//! use loka_stratum::wire::writer::Writer;
//!
//! let mut buf = [0; 128];
//! let mut out = Writer::new(&mut buf);
//! let id = Id::from_raw(br#""auth""#).unwrap_or(Id::NULL);
//! encode::result_error(id, ErrorCode::JobNotFound, "job not found", &mut out)?;
//! let line = br#"{"id":"auth","result":null,"error":[21,"job not found",null]}"#;
//! assert_eq!(out.as_slice().strip_suffix(b"\n"), Some(&line[..]));
//! # Ok::<(), loka_stratum::wire::writer::Full>(())
//! ```

use core::fmt::Write as _;

use serde::Serialize;

use super::error_code::ErrorCode;
use super::hex;
use super::id::Id;
use super::message::Method;
use super::writer::{Full, Writer};

/// A field that is hex on the wire.
#[derive(Clone, Copy, Debug)]
pub enum HexField<'a> {
    /// The digits, written unchanged.
    Digits(&'a [u8]),
    /// The bytes, written as digits.
    Bytes(&'a [u8]),
}

/// A job as [`notify`] writes it, without its branches.
#[derive(Clone, Copy, Debug)]
pub struct NotifyFields<'a> {
    /// The job id, as JSON text between its quotes.
    pub job_id: &'a str,
    /// The hash of the previous block, in the word order of Stratum.
    pub prev_hash: HexField<'a>,
    /// The parts of the coinbase's first half.
    pub coinb1: &'a [HexField<'a>],
    /// The second half of the coinbase.
    pub coinb2: HexField<'a>,
    /// The version of the header.
    pub version: u32,
    /// The target of the network, in compact form.
    pub nbits: u32,
    /// The time of the header, in seconds since 1970.
    pub ntime: u32,
    /// Whether older jobs are dead.
    pub clean_jobs: bool,
}

/// The granted extensions; `None` for an extension that the miner did not request, which gets no
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Whether versions may be rolled, and in which bits.
    pub version_rolling: Option<Option<u32>>,
    /// Whether the minimum difficulty is kept.
    pub minimum_difficulty: Option<bool>,
    /// Whether set_extranonce may be sent.
    pub subscribe_extranonce: Option<bool>,
    /// Whether the information was taken.
    pub info: Option<bool>,
}

/// A share as [`submit`] writes it.
#[derive(Clone, Copy, Debug)]
pub struct SubmitFields<'a> {
    /// The name of the worker; it is escaped.
    pub worker: &'a str,
    /// The job, as the JSON text between the quotes in the pool's line.
    pub job_id_raw: &'a str,
    /// The rolled extranonce.
    pub extranonce2: &'a [u8],
    /// The time of the header.
    pub ntime: u32,
    /// The nonce of the header.
    pub nonce: u32,
    /// The rolled version bits, if rolling was granted.
    pub version_bits: Option<u32>,
}

/// Answers with `true`.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn result_true(id: Id<'_>, out: &mut Writer<'_>) -> Result<(), Full> {
    result_raw(id, b"true", out)
}

/// Answers with an error.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn result_error(
    id: Id<'_>,
    code: ErrorCode,
    text: &str,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push(id.as_raw())?;
        out.push(b",\"result\":null,\"error\":")?;
        out.push(b"[")?;
        out.push_json(&code.code())?;
        out.push(b",")?;
        out.push_text(text)?;
        out.push(b",null]}\n")
    })
}

/// Answers `mining.subscribe`. The session is the id of both subscriptions.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn subscribe_result(
    id: Id<'_>,
    session: &str,
    extranonce1: &[u8],
    extranonce2_size: u8,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push(id.as_raw())?;
        out.push(b",\"result\":[")?;
        out.push(b"[[\"mining.set_difficulty\",")?;
        out.push_text(session)?;
        out.push(b"],[\"mining.notify\",")?;
        out.push_text(session)?;
        out.push(b"]],\"")?;
        hex::encode_into(extranonce1, out)?;
        out.push(b"\",")?;
        out.push_json(&extranonce2_size)?;
        out.push(b"],\"error\":null}\n")
    })
}

/// Answers `mining.configure`, BIP-0310.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn configure_result(id: Id<'_>, granted: &Granted, out: &mut Writer<'_>) -> Result<(), Full> {
    let digits = granted.version_rolling.flatten().map(hex::digits);
    let result = Extensions {
        version_rolling: granted.version_rolling.map(|mask| mask.is_some()),
        mask: digits.as_ref().and_then(|digits| core::str::from_utf8(digits).ok()),
        minimum_difficulty: granted.minimum_difficulty,
        subscribe_extranonce: granted.subscribe_extranonce,
        info: granted.info,
    };
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push(id.as_raw())?;
        out.push(b",\"result\":")?;
        out.push_json(&result)?;
        out.push(b",\"error\":null}\n")
    })
}

/// Sets the difficulty; a whole number is written without a point (QUIRKS 26).
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn set_difficulty(difficulty: f64, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[")?;
        push_f64(difficulty, out)?;
        out.push(b"]}\n")
    })
}

/// Sets the bits that may be rolled, BIP-0310.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn set_version_mask(mask: u32, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"")?;
        out.push(&hex::digits(mask))?;
        out.push(b"\"]}\n")
    })
}

/// Sets extranonce1 and the size of extranonce2 in bytes, from the next notify on.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn set_extranonce(
    extranonce1: &[u8],
    extranonce2_size: u8,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"")?;
        hex::encode_into(extranonce1, out)?;
        out.push(b"\",")?;
        out.push_json(&extranonce2_size)?;
        out.push(b"]}\n")
    })
}

/// Hands out a job.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn notify<'b>(
    job: &NotifyFields<'_>,
    branches: impl IntoIterator<Item = HexField<'b>>,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"")?;
        out.push(job.job_id.as_bytes())?;
        out.push(b"\",\"")?;
        push_hex(job.prev_hash, out)?;
        out.push(b"\",\"")?;
        for part in job.coinb1 {
            push_hex(*part, out)?;
        }
        out.push(b"\",\"")?;
        push_hex(job.coinb2, out)?;
        out.push(b"\",[")?;
        for (index, branch) in branches.into_iter().enumerate() {
            out.push(if index == 0 { b"\"" } else { b",\"" })?;
            push_hex(branch, out)?;
            out.push(b"\"")?;
        }
        out.push(b"],\"")?;
        out.push(&hex::digits(job.version))?;
        out.push(b"\",\"")?;
        out.push(&hex::digits(job.nbits))?;
        out.push(b"\",\"")?;
        out.push(&hex::digits(job.ntime))?;
        out.push(if job.clean_jobs { b"\",true]}\n" } else { b"\",false]}\n" })
    })
}

/// Shows a message to people at the miner.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn show_message(text: &str, out: &mut Writer<'_>) -> Result<(), Full> {
    notification(Method::ShowMessage, (text,), out)
}

/// Asks the miner to reconnect to the same host and port.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn reconnect(out: &mut Writer<'_>) -> Result<(), Full> {
    notification(Method::Reconnect, NONE, out)
}

/// Asks the miner to reconnect to another place after `wait_secs` seconds.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn reconnect_to(
    host: &str,
    port: u16,
    wait_secs: u32,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    notification(Method::Reconnect, (host, port, wait_secs), out)
}

/// Asks the other side for a sign of life.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn ping(id: u32, out: &mut Writer<'_>) -> Result<(), Full> {
    request(id, Method::Ping, NONE, out)
}

/// Asks the miner for its name and version.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn get_version(id: u32, out: &mut Writer<'_>) -> Result<(), Full> {
    request(id, Method::GetVersion, NONE, out)
}

/// Asks the pool for version rolling in the bits of `mask`, at least `min_bit_count` of them,
/// BIP-0310.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn configure(id: u32, mask: u32, min_bit_count: u8, out: &mut Writer<'_>) -> Result<(), Full> {
    let digits = hex::digits(mask);
    let mask = core::str::from_utf8(&digits).unwrap_or_default();
    request(id, Method::Configure, (("version-rolling",), Rolling { mask, min_bit_count }), out)
}

/// Subscribes, and resumes `session` if there is one.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn subscribe(
    id: u32,
    user_agent: &str,
    session: Option<&str>,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    match session {
        Some(session) => request(id, Method::Subscribe, (user_agent, session), out),
        None => request(id, Method::Subscribe, (user_agent,), out),
    }
}

/// Authorizes a worker.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn authorize(id: u32, worker: &str, password: &str, out: &mut Writer<'_>) -> Result<(), Full> {
    request(id, Method::Authorize, (worker, password), out)
}

/// Submits a share.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn submit(id: u32, share: &SubmitFields<'_>, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push_json(&id)?;
        out.push(b",\"method\":\"mining.submit\",\"params\":[")?;
        out.push_text(share.worker)?;
        out.push(b",\"")?;
        out.push(share.job_id_raw.as_bytes())?;
        out.push(b"\",\"")?;
        hex::encode_into(share.extranonce2, out)?;
        out.push(b"\",\"")?;
        out.push(&hex::digits(share.ntime))?;
        out.push(b"\",\"")?;
        out.push(&hex::digits(share.nonce))?;
        if let Some(bits) = share.version_bits {
            out.push(b"\",\"")?;
            out.push(&hex::digits(bits))?;
        }
        out.push(b"\"]}\n")
    })
}

/// Suggests a difficulty to the pool.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn suggest_difficulty(id: u32, difficulty: f64, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push_json(&id)?;
        out.push(b",\"method\":\"mining.suggest_difficulty\",\"params\":[")?;
        push_f64(difficulty, out)?;
        out.push(b"]}\n")
    })
}

/// Asks the pool for set_extranonce.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn extranonce_subscribe(id: u32, out: &mut Writer<'_>) -> Result<(), Full> {
    request(id, Method::ExtranonceSubscribe, NONE, out)
}

/// Answers `mining.ping`.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn pong(id: Id<'_>, out: &mut Writer<'_>) -> Result<(), Full> {
    result_raw(id, b"\"pong\"", out)
}

/// Answers `client.get_version`.
///
/// # Errors
///
/// [`Full`]; then nothing is written.
pub fn version_result(id: Id<'_>, version: &str, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push(id.as_raw())?;
        out.push(b",\"result\":")?;
        out.push_text(version)?;
        out.push(b",\"error\":null}\n")
    })
}

/// The result of a configure, without extensions that were not requested.
#[derive(Serialize)]
struct Extensions<'a> {
    #[serde(rename = "version-rolling", skip_serializing_if = "Option::is_none")]
    version_rolling: Option<bool>,
    #[serde(rename = "version-rolling.mask", skip_serializing_if = "Option::is_none")]
    mask: Option<&'a str>,
    #[serde(rename = "minimum-difficulty", skip_serializing_if = "Option::is_none")]
    minimum_difficulty: Option<bool>,
    #[serde(rename = "subscribe-extranonce", skip_serializing_if = "Option::is_none")]
    subscribe_extranonce: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<bool>,
}

/// The options of `version-rolling`.
#[derive(Serialize)]
struct Rolling<'a> {
    #[serde(rename = "version-rolling.mask")]
    mask: &'a str,
    #[serde(rename = "version-rolling.min-bit-count")]
    min_bit_count: u8,
}

/// A message with a method; the id of a notification is null.
#[derive(Serialize)]
struct Call<P> {
    id: Option<u32>,
    method: &'static str,
    params: P,
}

/// Params that are an empty array.
const NONE: [u8; 0] = [];

fn request(
    id: u32,
    method: Method,
    params: impl Serialize,
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    call(&Call { id: Some(id), method: method.name(), params }, out)
}

fn notification(method: Method, params: impl Serialize, out: &mut Writer<'_>) -> Result<(), Full> {
    call(&Call { id: None, method: method.name(), params }, out)
}

fn call(call: &Call<impl Serialize>, out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push_json(call)?;
        out.push(b"\n")
    })
}

fn result_raw(id: Id<'_>, result: &[u8], out: &mut Writer<'_>) -> Result<(), Full> {
    out.line(|out| {
        out.push(b"{\"id\":")?;
        out.push(id.as_raw())?;
        out.push(b",\"result\":")?;
        out.push(result)?;
        out.push(b",\"error\":null}\n")
    })
}

fn push_hex(field: HexField<'_>, out: &mut Writer<'_>) -> Result<(), Full> {
    match field {
        HexField::Digits(digits) => out.push(digits),
        HexField::Bytes(bytes) => hex::encode_into(bytes, out),
    }
}

/// Writes a number in full, never with an exponent, so that it reads back the same. A non-finite
/// number is not JSON; it is written as 0, which every reader refuses as a difficulty.
fn push_f64(number: f64, out: &mut Writer<'_>) -> Result<(), Full> {
    let number = if number.is_finite() { number } else { 0.0 };
    write!(out, "{number}").map_err(|_| Full)
}

#[cfg(test)]
mod tests;
