//! The name on the local network, between two network namespaces joined by a virtual cable.
#![cfg(feature = "gateway")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

mod gateway;
mod skips;

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Folder, Gateway, program};
use socket2::{Domain, Socket, Type};

/// Time limit to find a gateway by its name.
const FOUND_MAX: Duration = Duration::from_secs(60);

/// Two namespaces with one end of a cable each; removed on drop.
struct Cable {
    ends: [String; 2],
}

impl Cable {
    /// Creates it, with 10.215.0.1 and 10.215.0.2 at its ends; `None` without the permission.
    /// Concurrent tests have separate cables.
    fn lay(net: u8) -> Option<Self> {
        let id = std::process::id();
        let ends = ["lma", "lmb"].map(|prefix| format!("{prefix}{id}{net}"));
        let cable = Self { ends };
        let [a, b] = &cable.ends;
        let steps = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("-n {a} link add cable type veth peer name cable netns {b}"),
            format!("-n {a} addr add 10.215.0.1/24 dev cable"),
            format!("-n {b} addr add 10.215.0.2/24 dev cable"),
            format!("-n {a} link set cable up"),
            format!("-n {b} link set cable up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(cable)
    }

    /// A command of the program, at one end.
    fn program(&self, end: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[end]]).arg(program().get_program());
        command
    }

    /// Listens at the second end for the goodbye of a name, in a separate process; returns once
    /// that process receives packets.
    fn listener(&self, name: &str) -> Goodbye {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[1]]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "a_goodbye_is_heard", "--nocapture"]).env(NAME, name);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.by_ref().any(|line| line.unwrap().ends_with("it listens")));
        Goodbye { child, said }
    }

    /// A command of a test of this file, at one end.
    fn tester(&self, end: usize, test: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[end]]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).stdout(Stdio::piped());
        command
    }

    /// Sends a request to the gateway at the second end by a name, from the first; returns the
    /// answer's first line.
    #[track_caller]
    fn status_of(&self, name: &str) -> String {
        let output = self.tester(0, "a_page_is_asked_for").env(ASKED, name).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let heard = text.lines().find_map(|line| line.strip_prefix("it heard "));
        heard.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    fn gateway(&self, end: usize, name: &str) -> Gateway {
        let mut command = self.program(end);
        command.args(["run", "--no-state", "--listen", "0.0.0.0:3333"]);
        command.args(["--status", "0.0.0.0:8080"]);
        command.args(["--pool", "stratum+tcp://127.0.0.1:9", "--user", "farm"]);
        command.env("LOKA_MDNS__NAME", name);
        Gateway::spawn(command)
    }

    /// Runs `ctl find` until it finds the expected gateways.
    #[track_caller]
    fn find(&self, end: usize, is_it: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let output =
                self.program(end).args(["ctl", "find", "--seconds", "2"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            if is_it(&text) {
                return text;
            }
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(begun.elapsed() < FOUND_MAX, "found: {text:?} {error}");
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            ip(&format!("netns del {end}"));
        }
    }
}

fn ip(line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The variable that turns [`a_goodbye_is_heard`] into the listening process.
const NAME: &str = "MDNS_TEST_GOODBYE_OF";

/// A process that listens to multicast.
struct Goodbye {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Goodbye {
    /// Waits until it has heard the goodbye.
    #[track_caller]
    fn wait(mut self) {
        let is_heard = self.said.any(|line| line.unwrap().ends_with("it said goodbye"));
        assert!(is_heard, "no goodbye within {FOUND_MAX:?}");
    }
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_goodbye_is_heard() {
    let Ok(name) = std::env::var(NAME) else { return };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 5353)).into()).unwrap();
    let group = Ipv4Addr::new(224, 0, 0, 251);
    socket.join_multicast_v4(&group, &Ipv4Addr::new(10, 215, 0, 2)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(FOUND_MAX)).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nit listens").unwrap();
    // The name as a label, and a pointer of class IN that is good for no second more.
    let label = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    let ended = [0, 12, 0, 1, 0, 0, 0, 0];
    let mut packet = [0; 9000];
    loop {
        let length = socket.recv(&mut packet).unwrap();
        let has = |part: &[u8]| packet[..length].windows(part.len()).any(|bytes| bytes == part);
        if has(&label) && has(&ended) {
            writeln!(out, "\nit said goodbye").unwrap();
            return;
        }
    }
}

/// Skips the test with the reason, if it cannot run.
fn cable(net: u8) -> Option<Cable> {
    let cable = Cable::lay(net);
    if cable.is_none() {
        skips::skipped("a network namespace is not permitted");
    }
    cable
}

#[test]
fn a_gateway_is_found_by_its_name_and_two_of_one_name_are_told_apart() {
    let Some(cable) = cable(0) else { return };
    let first = cable.gateway(0, "loka");
    let text = cable.find(1, |text| text.contains("loka.local"));
    assert!(text.contains("miners 10.215.0.1:3333"), "{text}");
    assert!(text.contains("http://loka.local:8080"), "{text}");

    let mut second = cable.gateway(1, "loka");
    second.wait_for_line("is another's on this network; the name here is now \"loka-2.local.\"");
    let text = cable.find(1, |text| text.lines().count() == 2 && text.contains("loka-2.local"));
    let line_of = |host: &str| text.lines().find(|line| line.starts_with(host)).unwrap_or(&text);
    assert!(line_of("loka.local").contains("10.215.0.1:3333"), "{text}");
    assert!(line_of("loka-2.local").contains("10.215.0.2:3333"), "{text}");

    // The page answers to the name that the conflict gave it, and to no other.
    assert_eq!(cable.status_of("loka-2.local"), "HTTP/1.1 200 OK");
    assert_eq!(cable.status_of("loka-3.local"), "HTTP/1.1 403 Forbidden");

    drop(first);
    let text = cable.find(1, |text| text.lines().count() == 1);
    assert!(text.starts_with("loka-2.local"), "{text}");
}

/// The variable that turns [`a_page_is_asked_for`] into the requesting process.
const ASKED: &str = "MDNS_TEST_ASKS_BY";

#[test]
fn a_page_is_asked_for() {
    let Ok(name) = std::env::var(ASKED) else { return };
    let mut stream = TcpStream::connect("10.215.0.2:8080").unwrap();
    let request = format!("GET /api/v1/session HTTP/1.1\r\nhost: {name}:8080\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let answer = BufReader::new(stream).lines().next().unwrap().unwrap();
    writeln!(std::io::stdout(), "\nit heard {answer}").unwrap();
}

/// The variable that turns [`a_flood_is_sent`] into the flooding process.
const FLOOD: &str = "MDNS_TEST_FLOODS";

#[test]
fn a_flood_is_sent() {
    if std::env::var(FLOOD).is_err() {
        return;
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 5353)).into()).unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::new(10, 215, 0, 2)).unwrap();
    let to = SocketAddr::from(([224, 0, 0, 251], 5353)).into();
    for number in 0_u32.. {
        // An answer with forty addresses of names that nobody asked for, for an hour each.
        let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 40, 0, 0, 0, 0];
        for record in 0..40_u32 {
            let label = format!("n{number:08x}{record:02x}");
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend(label.as_bytes());
            packet.extend([5, b'l', b'o', b'c', b'a', b'l', 0, 0, 1, 0x80, 1]);
            packet.extend([0, 0, 0x0e, 0x10, 0, 4, 10, 215, 7, 7]);
        }
        socket.send_to(&packet, &to).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The private memory of a process, in KiB.
fn memory_kib(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).expect("it is there");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

#[test]
fn f97_records_that_nobody_asked_for_are_not_kept_and_the_name_is_found_among_them() {
    const KIB_MAX: u64 = 2048;
    let Some(cable) = cable(3) else { return };
    let gateway = cable.gateway(0, "loka");
    cable.find(1, |text| text.contains("loka.local"));
    let before = memory_kib(gateway.id());
    let mut flood = cable.tester(1, "a_flood_is_sent").env(FLOOD, "1").spawn().unwrap();
    for _ in 0..3 {
        cable.find(1, |text| text.contains("loka.local"));
    }
    let after = memory_kib(gateway.id());
    let _ = flood.kill();
    let _ = flood.wait();
    assert!(after <= before + KIB_MAX, "{before} KiB, then {after} KiB");
}

#[test]
fn f86_a_gateway_without_a_name_is_not_found() {
    let output = program().args(["ctl", "find", "--seconds", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a time that is none");
    let Some(cable) = cable(1) else { return };
    let _gateway = cable.gateway(0, "off");
    let output = cable.program(1).args(["ctl", "find", "--seconds", "2"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no gateway told its name within 2 s; mdns.name must not be off"));
}

#[test]
fn a_name_that_is_changed_or_ends_says_goodbye() {
    let Some(cable) = cable(2) else { return };
    let folder = Folder::new("mdns");
    let file = folder.0.join("settings.toml");
    let name = |name: &str| std::fs::write(&file, format!("[mdns]\nname = {name:?}\n")).unwrap();
    name("loka");
    let mut command = cable.program(0);
    command.args(["run", "--listen", "0.0.0.0:3333", "--status", "0.0.0.0:8080", "--config"]);
    command.arg(&file).args(["--pool", "stratum+tcp://127.0.0.1:9", "--user", "farm"]);
    let mut gateway = Gateway::spawn(command);
    cable.find(1, |text| text.contains("loka.local"));

    let old = cable.listener("loka");
    name("other");
    old.wait();
    let text = cable.find(1, |text| text.contains("other.local"));
    assert_eq!(text.lines().count(), 1, "{text}");

    let other = cable.listener("other");
    gateway.signal("TERM");
    other.wait();
    assert!(gateway.wait().success());
}
