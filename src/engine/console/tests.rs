use std::borrow::ToOwned;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::control::Role;

/// A console, what its terminal was sent, and the requests that came.
struct Session {
    console: Console,
    screen: String,
    requests: Vec<String>,
}

impl Session {
    fn new() -> Self {
        Self { console: Console::new(), screen: String::new(), requests: Vec::new() }
    }

    /// Types, and answers every request with nothing.
    fn send(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            if self.console.handle_byte(*byte, &mut self.screen) {
                let request = self.console.request().expect("it was said to be there");
                self.requests.push(format!("{request:?}"));
                self.console.handle_end(Ok(()), &mut self.screen);
            }
            if self.console.take_call() {
                self.console.prompt_again(&mut self.screen);
            }
        }
        self
    }

    fn typed(text: &str) -> Self {
        let mut session = Self::new();
        session.send(text.as_bytes());
        session
    }

    #[track_caller]
    fn asked(&self, expected: &[Request<'_>]) {
        let expected: Vec<_> = expected.iter().map(|request| format!("{request:?}")).collect();
        assert_eq!(self.requests, expected, "{:?}", self.screen);
    }

    /// What a person sees of the last line but the prompt.
    fn last_line(&self) -> &str {
        self.screen.trim_end_matches("loka> ").trim_end().rsplit("\r\n").next().unwrap()
    }
}

const SHOW: Request<'_> = Request::Show { prefix: "pool" };

#[test]
fn every_end_of_line_ends_a_line_once() {
    for end in ["\r", "\n", "\r\n"] {
        let session = Session::typed(&format!("diff{end}commit{end}"));
        session.asked(&[Request::Diff, Request::Commit]);
    }
}

#[test]
fn lines_are_edited_as_a_terminal_shows_them() {
    for (keys, line) in [
        ("shox\x7fw pool", "show pool"),
        ("how pool\x1b[Hs", "show pool"),
        ("how pool\x01s", "show pool"),
        ("show ool\x1b[D\x1b[D\x1b[Dp", "show pool"),
        ("show pppool\x1b[D\x1b[D\x1b[D\x1b[D\x1b[3~\x08", "show pool"),
        ("set x\x15show pool", "show pool"),
        ("show miners max\x17\x17pool", "show pool"),
        ("show poo\x1b[D\x1b[D\x1b[C\x05l", "show pool"),
        ("show\x1b[15~ pool", "show pool"),
    ] {
        let mut session = Session::typed(keys);
        assert_eq!(session.console.line.text().unwrap(), line, "{keys:?}");
        session.send(b"\r").asked(&[SHOW]);
        assert_eq!(screen_of(&session.screen), format!("{line}\nok\nloka> "), "{keys:?}");
    }
}

#[test]
fn a_line_is_given_up_by_control_c() {
    let mut session = Session::typed("commit\x03");
    assert_eq!(session.screen, "commit^C\r\nloka> ");
    session.send(b"show pool\r").asked(&[SHOW]);
}

/// What a terminal shows after it obeyed what it was sent: the last two lines and the prompt.
fn screen_of(sent: &str) -> String {
    let mut lines: Vec<Vec<char>> = std::vec![Vec::new()];
    let mut column = 0;
    let mut rest = sent.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\r' => column = 0,
            '\n' => lines.push(Vec::new()),
            '\x07' => {}
            '\x1b' => {
                assert_eq!(rest.next(), Some('['), "only such sequences are sent");
                let mut count = String::new();
                let end = loop {
                    match rest.next().expect("it ends") {
                        digit if digit.is_ascii_digit() => count.push(digit),
                        end => break end,
                    }
                };
                let count = count.parse().unwrap_or(1);
                match end {
                    'C' => column += count,
                    'D' => column -= count,
                    'K' => lines.last_mut().unwrap().truncate(column),
                    other => panic!("{other:?} is sent"),
                }
            }
            letter => {
                let line = lines.last_mut().unwrap();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
    }
    let text = |line: &Vec<char>| line.iter().collect::<String>();
    let skip = lines.len().saturating_sub(3);
    lines.iter().skip(skip).map(text).collect::<Vec<_>>().join("\n")
}

#[test]
fn earlier_lines_come_back_and_the_oldest_are_forgotten() {
    let mut session = Session::new();
    for number in 0..20 {
        session.send(format!("log {number}\r").as_bytes());
    }
    session.requests.clear();
    session.send(b"\x1b[A\r").send(b"\x1b[A\x1b[A\r").send(&b"\x1b[A".repeat(30)).send(b"\r");
    // The line that was brought back last is the newest of them.
    session.asked(&[
        Request::Log { count: 19 },
        Request::Log { count: 18 },
        Request::Log { count: 13 },
    ]);
}

#[test]
fn tab_completes_verbs_keys_and_words() {
    for (keys, line) in [
        ("sho\t", "show "),
        ("show min\t", "show miners."),
        ("set difficulty.sec\t", "set difficulty.seconds_per_share "),
        ("set pool.2.ur\t", "set pool.2.url "),
        ("set identity.mode per\t", "set identity.mode per-worker "),
        ("set upstream.warm t\t", "set upstream.warm true "),
        ("password op\t", "password operator "),
        ("help con\t", "help confirm "),
        ("shw\t", "shw"),
    ] {
        let session = Session::typed(keys);
        assert_eq!(session.console.line.text().unwrap(), line, "{keys:?}");
    }
    let listed = Session::typed("c\t\t").screen;
    assert!(listed.contains("\r\ncommit                        confirm"), "{listed}");
    assert!(listed.ends_with("loka> co"), "{listed}");
}

#[test]
fn help_explains_verbs_and_keys_and_fits_the_screen() {
    let session = Session::typed("help\rhelp set\rhelp pool.2.weight\rhelp miners.\rhelp x\r");
    session.asked(&[]);
    for part in [
        "set KEY VALUE    Changes a setting",
        "takes the role operator",
        "allowed: 1..10000",
        "miners.max\r\nminers.blocked_secs\r\n",
        "error: no verb or key x; help lists all",
    ] {
        assert!(session.screen.contains(part), "{part:?}: {}", session.screen);
    }
    for verb in crate::control::VERBS {
        let screen = Session::typed(&format!("help {}\r", verb.name)).screen;
        assert!(screen.contains(verb.effect), "{screen}");
    }
    for field in crate::settings::FIELDS {
        let key = SettingKey::of(field, 0).unwrap().to_string();
        let screen = Session::typed(&format!("help {key}\r")).screen;
        let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(field.effect), "{screen}");
        assert!(words.contains(&format!("allowed: {}", field.allowed)), "{screen}");
        let is_form = |line: &&str| line.trim_start().starts_with("allowed:");
        let long = screen.lines().filter(|line| !is_form(line)).find(|line| line.len() > 81);
        assert_eq!(long, None, "{key}");
    }
}

#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    let mut session = Session::typed("password admin\rs3cret\rs3cret\r");
    session.asked(&[Request::Password { role: Role::Admin, word: "s3cret" }]);
    assert!(!session.screen.contains("s3c"), "{}", session.screen);
    session.send(b"password viewer\rone\rtwo\r");
    assert_eq!(session.requests.len(), 1);
    assert_eq!(session.last_line(), "error: the two entries differ; nothing was changed");
    session.send(b"password viewer\rone\x03\x1b[A");
    assert!(session.screen.ends_with("loka> password viewer"), "{}", session.screen);
}

#[test]
fn a_pools_password_may_be_asked_for_and_is_never_brought_back() {
    let mut session = Session::typed("set pool.1.password\rhidden\rhidden\r");
    session.asked(&[Request::Set { key: "pool.1.password", value: "hidden" }]);
    assert!(!session.screen.contains("hidden"), "{}", session.screen);
    session.send(b"set pool.1.password plain\r\x1b[A");
    assert!(session.screen.ends_with("loka> \x07"), "{:?}", session.screen);
    assert_eq!(session.requests.len(), 2);
}

#[test]
fn a_reset_is_done_by_the_word_alone() {
    Session::typed("reset\rreset\r").asked(&[Request::Reset { sure: "reset" }]);
    let session = Session::typed("reset\ry\r");
    session.asked(&[]);
    assert_eq!(session.last_line(), "error: not confirmed; nothing was changed");
}

#[test]
fn the_prompt_says_what_waits() {
    let mut session = Session::new();
    session.console.set_prompt(Prompt { is_changed: true, seconds_left: Some(7) });
    session.send(b"\r");
    assert_eq!(session.screen, "\r\nloka (not committed) (confirm within 7 s)> ");
}

#[test]
fn enter_at_an_empty_prompt_asks_who_is_there() {
    let mut console = Console::new();
    let mut screen = String::new();
    for (line, is_call) in [("\r", true), (" \r", true), ("diff\r", false), ("x\r", false)] {
        for byte in line.bytes() {
            console.handle_byte(byte, &mut screen);
        }
        assert_eq!(console.take_call(), is_call, "{line:?}");
        assert!(!console.take_call(), "once");
        console.prompt_again(&mut screen);
    }
    // An empty answer to a question is an answer.
    for byte in b"password viewer\r\r" {
        console.handle_byte(*byte, &mut screen);
    }
    assert!(!console.take_call());
    screen.clear();
    console.drop_line();
    console.handle_byte(b'\r', &mut screen);
    assert!(console.take_call());
    console.greet(["loka-stratum"].into_iter(), &mut screen);
    assert!(screen.ends_with("loka-stratum\r\nhelp lists the verbs.\r\nloka> "), "{screen:?}");
}

#[test]
fn a_notice_stands_above_what_is_typed() {
    let mut session = Session::typed("\rsho");
    session.console.handle_notice("taken back", &mut session.screen);
    assert_eq!(screen_of(&session.screen), "\ntaken back\nloka> sho");
    session.send(b"w pool\r").asked(&[SHOW]);
}

#[test]
fn f73_a_line_that_is_too_long_is_dropped_whole() {
    let limit = "show ".to_owned() + &"x".repeat(CONSOLE_LINE_BYTES_MAX - 5);
    let session = Session::typed(&format!("{limit}\r"));
    assert_eq!(session.requests.len(), 1, "the limit is taken");
    let mut session = Session::typed(&format!("{limit}x\r"));
    session.asked(&[]);
    let text = "error: got a line of more than 256 bytes; the line was dropped";
    assert_eq!(session.last_line(), text);
    session.send(b"show pool\r").asked(&[SHOW]);
}

#[test]
fn f73_a_paste_of_a_megabyte_is_one_line_that_is_too_long() {
    let mut session = Session::new();
    session.send(&b"commit ".repeat(150_000));
    assert!(session.screen.len() < 300, "{} bytes are echoed", session.screen.len());
    session.send(b"\rdiff\r").asked(&[Request::Diff]);
}

#[test]
fn f73_a_line_with_noise_is_dropped_whole() {
    for noise in [&b"\x80"[..], b"\xff", b"\x00", b"\x16", b"\xc3(", b"\xed\xa0\x80", b"\x1bx"] {
        let mut session = Session::typed("com");
        session.send(noise).send(b"mit\r").asked(&[]);
        let line = session.last_line().to_owned();
        assert!(line.starts_with("error: column 4: got byte 0x"), "{noise:?}: {line}");
        session.send(b"diff\r").asked(&[Request::Diff]);
    }
}

#[test]
fn f73_noise_at_the_end_of_a_line_does_not_tie_it_to_the_next() {
    for noise in [&b"\xc3"[..], b"\x1b", b"\x1b[", b"\xe2\x82"] {
        let mut session = Session::typed("commit");
        session.send(noise).send(b"\rdiff\r").asked(&[Request::Diff]);
    }
}

#[test]
fn f73_two_commands_in_a_line_are_neither() {
    let session = Session::typed("commit confirm\rcommit; confirm\r");
    session.asked(&[]);
    let text =
        "error: column 1: unknown verb \"commit;\"; help lists the verbs; did you mean commit";
    assert_eq!(session.last_line(), text);
}

#[test]
fn f73_half_a_command_is_not_carried_out() {
    let mut session = Session::typed("commi");
    session.console.drop_line();
    session.send(b"t\r").asked(&[]);
}

#[test]
fn f73_text_of_other_languages_is_text() {
    Session::typed("show pöol\x7f\x7f\x7fool\r").asked(&[SHOW]);
}

proptest! {
    /// Any bytes, and keys and words among them more often than chance has it.
    #[test]
    fn f73_no_bytes_panic_and_every_request_was_a_whole_line(
        parts in proptest::collection::vec(
            prop_oneof![
                4 => proptest::collection::vec(any::<u8>(), 0..6),
                2 => Just(b"\r".to_vec()),
                1 => Just(b"\n".to_vec()),
                3 => proptest::sample::select(std::vec![
                    "show ", "set ", "pool.1.url ", "pool.1.password", "commit", "reset", "help ",
                    "password ", "admin", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\t", "\x17",
                    "\x15", "\x7f", "\x1b[3~", "ü",
                ]).prop_map(|text| text.as_bytes().to_vec()),
            ],
            0..60,
        )
    ) {
        let mut session = Session::new();
        for byte in parts.concat() {
            let before = session.requests.len();
            session.send(&[byte]);
            let is_end = matches!(byte, b'\r' | b'\n');
            prop_assert!(session.requests.len() <= before + usize::from(is_end));
        }
        session.send(b"\x03\rdiff\r");
        prop_assert_eq!(session.requests.last().unwrap(), "Diff");
    }

    /// A line that a byte above ASCII came into asks nothing, unless it was an end of a line.
    #[test]
    fn f73_a_turned_top_bit_asks_nothing(line in "[a-z .]{1,40}", place in 0_usize..40) {
        let mut bytes = line.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] |= 0x80;
        bytes.push(b'\r');
        let mut session = Session::new();
        session.send(&bytes).asked(&[]);
    }
}
