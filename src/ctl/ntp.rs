//! `time`: asks an NTP server for the time and prints it.
//!
//! For board images without an NTP client: a script sets the clock by it (`xtask/image/rc.time`),
//! so this command needs no right to set it. One question, one answer, to the second, which is
//! enough for certificates (RFC 5905, formerly SNTP). The answer is not signed; a time before this
//! program was written is refused.

use std::fmt;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use crate::gateway::base::clock;
use crate::gateway::base::say::{say, say_error};

/// The port of the protocol.
const PORT: u16 = 123;

/// Deadline for a server's answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Bytes of a question and of an answer without extensions.
const PACKET_BYTES: usize = 48;

/// First byte of a question: version 4, from a client.
const QUESTION: u8 = 0x23;

/// The lower three bits of an answer's first byte: from a server.
const FROM_SERVER: u8 = 4;

/// The upper two bits of an answer whose server does not know the time.
const UNKNOWN: u8 = 3;

/// Highest stratum of a synchronised server.
const STRATUM_MAX: u8 = 15;

/// Seconds from 1900, the protocol's epoch, to 1970.
const EPOCH: u64 = 2_208_988_800;

/// Seconds after which the protocol's 32-bit count wraps, next in 2036.
const ERA: u64 = 1 << 32;

/// Protocol seconds below this belong to the era that begins in 2036.
const NEXT_ERA_SECONDS: u64 = ERA / 4;

/// Why an answer gives no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Short { bytes: usize },
    NotAnAnswer,
    OtherQuestion,
    Unsynchronised { stratum: u8 },
    Early { seconds: u64 },
}

/// Flags of `time`.
#[derive(clap::Args)]
pub struct TimeArgs {
    /// Name or address of the server (NTP); with a port where it is not 123.
    #[arg(value_name = "SERVER")]
    pub server: String,
}

/// Prints the seconds since 1970; exit code 1 if the server gives no time.
pub fn run(args: &TimeArgs) -> ExitCode {
    match ask(&args.server) {
        Ok(seconds) => {
            say(format_args!("{seconds}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say_error(format_args!("{}: {error}", args.server));
            ExitCode::FAILURE
        }
    }
}

fn ask(server: &str) -> io::Result<u64> {
    let addresses = if server.parse::<std::net::SocketAddr>().is_ok() {
        server.to_socket_addrs()?
    } else {
        (server, PORT).to_socket_addrs()?.collect::<Vec<_>>().into_iter()
    };
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let answer = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(address)?;
            exchange(&socket)
        });
        match answer {
            Ok(seconds) => return Ok(seconds),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn exchange(socket: &UdpSocket) -> io::Result<u64> {
    // The server repeats the nonce, so an off-path attacker cannot answer.
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let mut question = [0; PACKET_BYTES];
    question[0] = QUESTION;
    question[40..].copy_from_slice(&nonce);
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.send(&question)?;
    let mut answer = [0; PACKET_BYTES];
    let bytes = socket.recv(&mut answer)?;
    read(answer.get(..bytes).unwrap_or_default(), nonce).map_err(io::Error::other)
}

/// Parses the time of an answer.
fn read(answer: &[u8], nonce: [u8; 8]) -> Result<u64, Refused> {
    let answer: &[u8; PACKET_BYTES] =
        answer.try_into().map_err(|_| Refused::Short { bytes: answer.len() })?;
    let (first, stratum) = (answer[0], answer[1]);
    if first & 7 != FROM_SERVER {
        return Err(Refused::NotAnAnswer);
    }
    if answer[24..32] != nonce {
        return Err(Refused::OtherQuestion);
    }
    if first >> 6 == UNKNOWN || !(1..=STRATUM_MAX).contains(&stratum) {
        return Err(Refused::Unsynchronised { stratum });
    }
    let since_1900 =
        u64::from(u32::from_be_bytes([answer[40], answer[41], answer[42], answer[43]]));
    // Rounds half a second up.
    let since_1900 = since_1900 + u64::from(answer[44] >> 7);
    match since_1900.checked_sub(EPOCH) {
        Some(seconds) if seconds >= clock::FLOOR.as_secs() => Ok(seconds),
        _ if since_1900 < NEXT_ERA_SECONDS => Ok(since_1900 + ERA - EPOCH),
        seconds => Err(Refused::Early { seconds: seconds.unwrap_or(0) }),
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { bytes } => write!(f, "got {bytes} bytes, {PACKET_BYTES} are an answer"),
            Self::NotAnAnswer => f.write_str("got something that is no answer of a time server"),
            Self::OtherQuestion => f.write_str("got the answer to another question"),
            Self::Unsynchronised { stratum } => {
                write!(f, "the server does not know the time itself (stratum {stratum})")
            }
            Self::Early { seconds } => {
                write!(
                    f,
                    "got {} as the time, before this program",
                    clock::Utc(Duration::from_secs(*seconds))
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T02:00:00Z.
    const NOW: u64 = 1_795_226_400;
    const NONCE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    fn answer(seconds: u64, nonce: [u8; 8]) -> [u8; PACKET_BYTES] {
        let mut answer = [0; PACKET_BYTES];
        answer[0] = 0x24;
        answer[1] = 2;
        answer[24..32].copy_from_slice(&nonce);
        answer[40..44].copy_from_slice(&((seconds + EPOCH) as u32).to_be_bytes());
        answer
    }

    #[test]
    fn an_answer_is_read_to_the_second_also_after_2036() {
        assert_eq!(read(&answer(NOW, NONCE), NONCE), Ok(NOW));
        let mut late = answer(NOW, NONCE);
        late[44] = 0x80;
        assert_eq!(read(&late, NONCE), Ok(NOW + 1));
        // 2040-01-01T00:00:00Z.
        assert_eq!(read(&answer(2_208_988_800, NONCE), NONCE), Ok(2_208_988_800));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_refused() {
        let good = answer(NOW, NONCE);
        assert_eq!(read(&good[..47], NONCE), Err(Refused::Short { bytes: 47 }));
        assert_eq!(read(&good, [0; 8]), Err(Refused::OtherQuestion));
        let mut question = good;
        question[0] = QUESTION;
        assert_eq!(read(&question, NONCE), Err(Refused::NotAnAnswer));
        let mut unknown = good;
        unknown[0] = 0xe4;
        assert_eq!(read(&unknown, NONCE), Err(Refused::Unsynchronised { stratum: 2 }));
        let mut kiss = good;
        kiss[1] = 0;
        assert_eq!(read(&kiss, NONCE), Err(Refused::Unsynchronised { stratum: 0 }));
        // 2020-01-01T00:00:00Z.
        let early = read(&answer(1_577_836_800, NONCE), NONCE).unwrap_err();
        assert_eq!(read(&answer(0, NONCE), NONCE), Err(Refused::Early { seconds: 0 }));
        assert_eq!(early.to_string(), "got 2020-01-01T00:00:00Z as the time, before this program");
    }

    #[test]
    fn a_server_is_asked_and_its_answer_used() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let mut question = [0; 64];
            let (bytes, from) = server.recv_from(&mut question).unwrap();
            assert_eq!((bytes, question[0]), (PACKET_BYTES, QUESTION));
            let nonce = question[40..48].try_into().unwrap();
            server.send_to(&answer(NOW, nonce), from).unwrap();
        });
        assert_eq!(ask(&address).unwrap(), NOW);
        serving.join().unwrap();
    }
}
