//! Each fault as seen from both ends of a connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// An injector in front of a listener, with one connection through both.
struct Line {
    faults: Faults,
    near: TcpStream,
    far: TcpStream,
}

impl Line {
    #[track_caller]
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let faults = Faults::start("127.0.0.1:0".parse().unwrap(), to, 7).unwrap();
        let near = TcpStream::connect(faults.address).unwrap();
        let (far, _) = listener.accept().unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
            end.set_nodelay(true).unwrap();
        }
        let mut line = Self { faults, near, far };
        assert_eq!(line.carried(b"hello"), b"hello");
        line
    }

    fn send(&mut self, bytes: &[u8]) {
        self.near.write_all(bytes).unwrap();
    }

    fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.far.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends `bytes` and returns their form at the far end.
    fn carried(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive(bytes.len())
    }

    /// Injects a fault and waits until it has taken effect.
    fn inject(&self, text: &str) {
        self.faults.inject(text.parse().unwrap());
        let _ = self.faults.counts();
    }
}

/// How a connection ends: by FIN or by RST.
#[track_caller]
fn end(stream: &mut TcpStream) -> Result<(), io::ErrorKind> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => panic!("the connection goes on"),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn cut_and_reset_end_both_sides_and_others_are_taken() {
    for (word, expected) in [("cut", Ok(())), ("reset", Err(io::ErrorKind::ConnectionReset))] {
        let mut line = Line::new();
        line.inject(word);
        assert_eq!(end(&mut line.near), expected, "{word}");
        assert_eq!(end(&mut line.far), expected, "{word}");
        TcpStream::connect(line.faults.address).unwrap();
        let counts = line.faults.counts();
        assert_eq!((counts.cut, counts.reset), if word == "cut" { (1, 0) } else { (0, 1) });
        assert_eq!(counts.faults[word], 1);
    }
}

#[test]
fn a_delay_holds_bytes_for_so_long_and_keeps_all() {
    let mut line = Line::new();
    line.inject("delay 300");
    let start = clock::now();
    assert_eq!(line.carried(b"late"), b"late");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_delay_holds_no_later_bytes_up() {
    let mut line = Line::new();
    line.inject("delay 1000");
    let start = clock::now();
    // Forty reads at least: one after the other they would take as many seconds.
    let sent: Vec<u8> = (0..40 * 16_384_u32).map(|number| (number / 1_000) as u8).collect();
    line.send(&sent);
    line.inject("pass");
    line.send(b"end");
    assert!(line.receive(sent.len()) == sent, "in their order");
    assert_eq!(line.receive(3), b"end");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn a_trickle_is_no_faster_than_asked_and_ends_with_pass() {
    let mut line = Line::new();
    line.inject("trickle 100");
    let start = clock::now();
    line.send(&[9; 10_000]);
    assert_eq!(line.receive(30), [9; 30]);
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    line.inject("pass");
    assert_eq!(line.receive(9_970), [9; 9_970], "the rest comes at once");
    assert!(start.elapsed() < Duration::from_secs(50));
}

#[test]
fn corrupt_turns_one_bit() {
    let mut line = Line::new();
    line.inject("corrupt");
    let turned: u32 = line.carried(&[0; 100]).iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(u64::from(turned), line.faults.counts().corrupted);
    assert!(turned > 0);
    line.inject("pass");
    assert_eq!(line.carried(&[0; 100]), [0; 100]);
}

#[test]
fn half_open_holds_one_way_or_both_and_loses_nothing() {
    let mut line = Line::new();
    line.inject("half-open up");
    line.send(b"held");
    line.far.write_all(b"not held").unwrap();
    let mut bytes = [0; 8];
    line.near.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"not held");
    line.far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(line.far.read(&mut [0]).is_err(), "nothing passes");
    line.far.set_read_timeout(Some(PATIENCE)).unwrap();
    line.inject("half-open both");
    assert!(TcpStream::connect(line.faults.address).is_ok(), "connections are taken");
    line.inject("pass");
    assert_eq!(line.receive(4), b"held");
}

#[test]
fn refuse_closes_all_and_takes_none_until_pass() {
    let mut line = Line::new();
    line.inject("refuse");
    assert_eq!(end(&mut line.near), Ok(()));
    let refused = TcpStream::connect(line.faults.address).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
    line.inject("pass");
    TcpStream::connect(line.faults.address).unwrap();
}

#[test]
fn the_end_of_one_side_is_carried_to_the_other() {
    let mut line = Line::new();
    line.near.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(end(&mut line.far), Ok(()));
    line.far.write_all(b"the other way stands").unwrap();
    let mut bytes = [0; 20];
    line.near.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"the other way stands");
}

#[test]
fn lines_are_read_or_refused() {
    for text in ["cut", "reset", "delay 5", "trickle 1", "corrupt", "half-open", "refuse", "pass"] {
        assert_eq!(text.parse::<Fault>().unwrap().name(), text.split(' ').next().unwrap());
    }
    for text in ["", "cut now", "delay", "delay x", "half-open sideways", "reset 1 2"] {
        assert!(text.parse::<Fault>().unwrap_err().contains("allowed cut"), "{text}");
    }
    let planned: Planned = "2.5 half-open down".parse().unwrap();
    assert_eq!(planned.at, Duration::from_millis(2_500));
    assert_eq!(planned.fault, Fault::HalfOpen(Way::Down));
    assert!("soon reset".parse::<Planned>().is_err());
}

#[test]
fn a_seed_draws_the_same_faults_and_all_kinds() {
    let draw = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| Fault::draw(&mut random)).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let names: std::collections::BTreeSet<_> = draw(1).iter().map(|fault| fault.name()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
}
