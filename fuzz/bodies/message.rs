//! Lines of both sides: each line read is written by our encoder and read again, with the same
//! result. Each refused line is refused with a text.

use loka_stratum::wire::client::{self, Configure, Request, Submit};
use loka_stratum::wire::encode::{self, HexField, NotifyFields, SubmitFields};
use loka_stratum::wire::hex;
use loka_stratum::wire::id::Id;
use loka_stratum::wire::server::{self, Notify, Outcome, ServerLine};
use loka_stratum::wire::text::Text;
use loka_stratum::wire::writer::{Full, Writer};

/// Runs one input: each line of it.
pub fn run(data: &[u8]) {
    data.split(|byte| *byte == b'\n').for_each(check);
}

fn check(line: &[u8]) {
    match client::parse(line) {
        Ok(message) => {
            echo(message.id);
            request(&message.request);
        }
        Err(error) => {
            echo(error.id);
            assert!(!error.to_string().is_empty());
        }
    }
    match server::parse(line) {
        Ok(message) => server_line(&message),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Writes a line, without its line feed.
fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) -> Vec<u8> {
    // An escaped control character takes six bytes.
    let mut buffer = vec![0; 1 << 16];
    let mut out = Writer::new(&mut buffer);
    write(&mut out).expect("there is room for any line");
    out.as_slice().strip_suffix(b"\n").expect("a whole line").to_vec()
}

fn asked(line: &[u8]) -> Request<'_> {
    client::parse(line).unwrap_or_else(|error| panic!("our own line: {error}")).request
}

fn said(line: &[u8]) -> ServerLine<'_> {
    server::parse(line).unwrap_or_else(|error| panic!("our own line: {error}"))
}

fn decoded(text: Text<'_>) -> String {
    text.chars().collect()
}

/// An id is echoed byte for byte.
fn echo(id: Id<'_>) {
    let line = written(|out| encode::result_true(id, out));
    let ServerLine::Response(response) = said(&line) else { panic!("an answer") };
    assert_eq!(response.id.as_raw(), id.as_raw());
    assert!(matches!(response.outcome(), Outcome::Accepted));
    assert_eq!(Id::from_raw(id.as_raw()), Some(id));
}

fn request(request: &Request<'_>) {
    match request {
        Request::Submit(share) => submit(share),
        Request::Authorize(login) => {
            let worker = decoded(login.worker);
            let password = login.password.map(decoded).unwrap_or_default();
            let line = written(|out| encode::authorize(7, &worker, &password, out));
            let Request::Authorize(again) = asked(&line) else { panic!("an authorize") };
            assert_eq!(decoded(again.worker), worker);
            assert_eq!(again.password.map(decoded), Some(password));
        }
        Request::Subscribe(subscribe) => {
            let agent = subscribe.user_agent.map(decoded).unwrap_or_default();
            let session = subscribe.session_id.map(decoded);
            let line = written(|out| encode::subscribe(7, &agent, session.as_deref(), out));
            let Request::Subscribe(again) = asked(&line) else { panic!("a subscribe") };
            assert_eq!(again.user_agent.map(decoded), Some(agent));
            assert_eq!(again.session_id.map(decoded), session);
        }
        Request::Configure(Configure { version_rolling: Some(rolling), .. }) => {
            let (mask, count) = (rolling.mask, rolling.min_bit_count);
            let line = written(|out| encode::configure(7, mask, count, out));
            let Request::Configure(again) = asked(&line) else { panic!("a configure") };
            assert_eq!(again.version_rolling, Some(*rolling));
        }
        Request::SuggestDifficulty(difficulty) => {
            assert!(difficulty.is_finite() && *difficulty > 0.0);
            same_difficulty(*difficulty, |out| encode::suggest_difficulty(7, *difficulty, out));
        }
        Request::SuggestTarget(digits) => assert!(hex::check(digits).is_ok()),
        _ => {}
    }
}

/// A number reads back the same, if its digits are within our bounds.
fn same_difficulty(difficulty: f64, write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) {
    let line = written(write);
    let again = match (client::parse(&line), server::parse(&line)) {
        (Ok(line), _) if matches!(line.request, Request::SuggestDifficulty(_)) => {
            let Request::SuggestDifficulty(again) = line.request else { return };
            again
        }
        (_, Ok(ServerLine::SetDifficulty(again))) => again,
        // Without an exponent, a number far from 1 has more digits than the limit.
        (client, server) => {
            let digits = difficulty.to_string().len();
            let limit = loka_stratum::limits::NUMBER_BYTES_MAX;
            assert!(digits > limit, "{client:?} {server:?}");
            return;
        }
    };
    assert_eq!(again.to_bits(), difficulty.to_bits());
}

fn submit(share: &Submit<'_>) {
    let mut room = vec![0; share.extranonce2.as_bytes().len()];
    let number = |text: Text<'_>| hex::u32_be(text.as_bytes());
    let bits = share.version_bits.map(number).transpose();
    let extranonce2 = hex::decode(share.extranonce2.as_bytes(), &mut room);
    let (Ok(ntime), Ok(nonce)) = (number(share.ntime), number(share.nonce)) else { return };
    let (Ok(version_bits), Ok(extranonce2)) = (bits, extranonce2) else { return };
    let worker = decoded(share.worker);
    let job_id_raw = share.job_id.as_raw();
    let fields =
        SubmitFields { worker: &worker, job_id_raw, extranonce2, ntime, nonce, version_bits };
    let line = written(|out| encode::submit(7, &fields, out));
    let Request::Submit(again) = asked(&line) else { panic!("a submit") };
    assert_eq!(decoded(again.worker), worker);
    assert_eq!(again.job_id.as_raw(), job_id_raw);
    assert!(again.extranonce2.as_bytes().eq_ignore_ascii_case(share.extranonce2.as_bytes()));
    assert_eq!((number(again.ntime), number(again.nonce)), (Ok(ntime), Ok(nonce)));
    assert_eq!(again.version_bits.map(number).transpose(), Ok(version_bits));
}

fn server_line(message: &ServerLine<'_>) {
    match message {
        ServerLine::Notify(job) => notify(job),
        ServerLine::SetDifficulty(difficulty) => {
            assert!(difficulty.is_finite() && *difficulty > 0.0);
            same_difficulty(*difficulty, |out| encode::set_difficulty(*difficulty, out));
        }
        ServerLine::SetExtranonce { extranonce1, extranonce2_size } => {
            let Ok(size) = u8::try_from(*extranonce2_size) else { return };
            let mut room = vec![0; extranonce1.as_bytes().len()];
            let bytes = hex::decode(extranonce1.as_bytes(), &mut room).expect("hex was checked");
            let line = written(|out| encode::set_extranonce(bytes, size, out));
            let ServerLine::SetExtranonce { extranonce1: again, extranonce2_size } = said(&line)
            else {
                panic!("a set_extranonce")
            };
            assert!(again.as_bytes().eq_ignore_ascii_case(extranonce1.as_bytes()));
            assert_eq!(extranonce2_size, u64::from(size));
        }
        ServerLine::SetVersionMask(mask) => {
            let line = written(|out| encode::set_version_mask(*mask, out));
            assert!(matches!(said(&line), ServerLine::SetVersionMask(again) if again == *mask));
        }
        ServerLine::ShowMessage(text) => {
            let text = decoded(*text);
            let line = written(|out| encode::show_message(&text, out));
            let ServerLine::ShowMessage(again) = said(&line) else { panic!("a show_message") };
            assert_eq!(decoded(again), text);
        }
        ServerLine::Reconnect { host: Some(host), port: Some(port), wait_secs: Some(wait) } => {
            let host = decoded(*host);
            let line = written(|out| encode::reconnect_to(&host, *port, *wait, out));
            let ServerLine::Reconnect { host: again, port: p, wait_secs: w } = said(&line) else {
                panic!("a reconnect")
            };
            assert_eq!((again.map(decoded), p, w), (Some(host), Some(*port), Some(*wait)));
        }
        ServerLine::Response(response) => {
            echo(response.id);
            let _ = response.outcome();
            if let Ok(subscription) = response.subscribe() {
                assert!(hex::check(subscription.extranonce1.as_bytes()).is_ok());
            }
            let _ = response.configure();
        }
        ServerLine::GetVersion { id } | ServerLine::Ping { id } => echo(*id),
        _ => {}
    }
}

fn notify(job: &Notify<'_>) {
    let coinb1 = [HexField::Digits(job.coinb1)];
    let fields = NotifyFields {
        job_id: job.job_id.as_raw(),
        prev_hash: HexField::Digits(job.prev_hash),
        coinb1: &coinb1,
        coinb2: HexField::Digits(job.coinb2),
        version: job.version,
        nbits: job.nbits,
        ntime: job.ntime,
        clean_jobs: job.clean_jobs,
    };
    let branches: Vec<&[u8]> = job.branches.iter().collect();
    assert_eq!(branches.len(), job.branches.len());
    let of = branches.iter().map(|branch| HexField::Digits(branch));
    let line = written(|out| encode::notify(&fields, of, out));
    let ServerLine::Notify(again) = said(&line) else { panic!("a notify") };
    assert_eq!(again.job_id.as_raw(), job.job_id.as_raw());
    assert_eq!(
        (again.prev_hash, again.coinb1, again.coinb2),
        (job.prev_hash, job.coinb1, job.coinb2)
    );
    assert_eq!(again.branches.iter().collect::<Vec<_>>(), branches);
    assert_eq!(
        (again.version, again.nbits, again.ntime, again.clean_jobs),
        (job.version, job.nbits, job.ntime, job.clean_jobs)
    );
}
