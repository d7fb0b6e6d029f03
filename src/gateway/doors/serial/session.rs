//! One open port: bytes to requests, answers to bytes, in the order of arrival.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::console::{Console, Prompt};
use loka_stratum::control::{Item, Refused, Request, Role};
use loka_stratum::frame::{self, Body, Frame, Received, Receiver, WIRE_BYTES_MAX};
use loka_stratum::limits::{
    FRAME_BYTES_MAX, SERIAL_ANSWER_BYTES_MAX, SERIAL_GREETING_INTERVAL, SERIAL_SILENCE,
    SERIAL_UNREAD_MAX,
};
use loka_stratum::time::Instant;
use serial2_tokio::SerialPort;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::gateway::base::answer::{Actor, Answer, Whence};
use crate::gateway::base::clock;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::operate::control::{Candidate, Control};

/// Bytes per read.
const READ_BYTES: usize = 256;

/// Time between two checks for news to tell the console.
const TICK: Duration = Duration::from_secs(1);

/// Seconds left before a commit is rolled back, at which the console is reminded.
const REMINDERS: [u16; 3] = [60, 30, 10];

/// One port while it is open.
pub struct Session<'a> {
    port: &'a SerialPort,
    control: &'a Rc<Control>,
    actor: Actor,
    receiver: Receiver,
    console: Console,
    /// The candidate of this operator; the console and tools on the line share it.
    candidate: Candidate,
    answered: &'a mut Answered,
    seconds_left: Option<u16>,
    /// The page's places last told to the console.
    page: Vec<String>,
    /// When Enter at an empty prompt was last answered with the greeting.
    greeted: Option<Instant>,
}

/// The sequence number of the framed request carried out last, and the frames of its answer. A tool
/// that missed them repeats the request, maybe after the port was reopened.
pub type Answered = Option<(u32, Vec<u8>)>;

/// A request copied out of the receive buffer.
struct Stored {
    bytes: [u8; FRAME_BYTES_MAX],
}

impl Stored {
    fn new(request: &Request<'_>) -> Option<Self> {
        let mut bytes = [0; FRAME_BYTES_MAX];
        postcard::to_slice(request, &mut bytes).ok()?;
        Some(Self { bytes })
    }

    fn request(&self) -> Option<Request<'_>> {
        postcard::take_from_bytes(&self.bytes).ok().map(|(request, _)| request)
    }
}

/// Outgoing bytes of one answer. When it is full, further items are dropped and the answer's end
/// says so.
#[derive(Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    more: Notify,
    /// Bytes added for this answer so far.
    count: Cell<usize>,
    is_cut: Cell<bool>,
}

impl Outbox {
    /// Adds bytes, if the answer's limit allows it.
    fn push(&self, bytes: &[u8]) -> bool {
        let count = self.count.get() + bytes.len();
        if self.is_cut.get() || count > SERIAL_ANSWER_BYTES_MAX {
            self.is_cut.set(true);
            return false;
        }
        self.count.set(count);
        self.bytes.borrow_mut().extend_from_slice(bytes);
        self.more.notify_one();
        true
    }

    /// Adds the bytes that end an answer, beyond the limit.
    fn push_end(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(bytes);
    }

    /// Writes all bytes; drops them if the peer reads nothing for a while.
    async fn drain(&self, port: &SerialPort) -> io::Result<()> {
        let patience = Duration::from_micros(SERIAL_UNREAD_MAX.as_micros());
        loop {
            let chunk = {
                let bytes = self.bytes.borrow();
                bytes.get(..bytes.len().min(READ_BYTES)).unwrap_or_default().to_vec()
            };
            if chunk.is_empty() {
                return Ok(());
            }
            match timeout(patience, port.write(&chunk)).await {
                Ok(count) => {
                    let count = count?;
                    self.bytes.borrow_mut().drain(..count);
                }
                Err(_) => {
                    log::debug(Kind::Serial, format_args!("nobody reads; an answer was dropped"));
                    self.bytes.borrow_mut().clear();
                    return Ok(());
                }
            }
        }
    }

    /// Writes bytes as they are added. A lost port is reported by the write of the answer's end: a
    /// request is carried out whether or not anybody reads.
    async fn carry(&self, port: &SerialPort) -> Infallible {
        loop {
            self.more.notified().await;
            if self.drain(port).await.is_err() {
                pending::<()>().await;
            }
        }
    }
}

impl<'a> Session<'a> {
    /// Begins a session on a newly opened port.
    pub fn new(port: &'a SerialPort, control: &'a Rc<Control>, answered: &'a mut Answered) -> Self {
        Self {
            port,
            control,
            actor: Actor { role: Role::Admin, from: Whence::Serial },
            receiver: Receiver::new(),
            console: Console::new(),
            candidate: Candidate::default(),
            answered,
            seconds_left: None,
            page: Vec::new(),
            greeted: None,
        }
    }

    /// Serves the port until it is gone or no longer `is_wanted`.
    ///
    /// # Errors
    ///
    /// Why the port is gone.
    pub async fn serve(mut self, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silence = Duration::from_micros(SERIAL_SILENCE.as_micros());
        let mut bytes = [0; READ_BYTES];
        self.greet().await?;
        loop {
            tokio::select! {
                count = self.port.read(&mut bytes) => {
                    let count = count?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    for byte in bytes.get(..count).unwrap_or_default() {
                        self.handle_byte(*byte).await?;
                    }
                    // A flood of bytes must not starve the other tasks.
                    tokio::task::yield_now().await;
                }
                () = sleep(silence), if !self.receiver.is_text() => {
                    self.receiver.handle_silence();
                }
                _ = tick.tick() => {
                    if !is_wanted() {
                        return Ok(());
                    }
                    self.remind().await?;
                    self.tell_page().await?;
                }
            }
        }
    }

    /// Answers Enter at an empty prompt with the greeting, or with the prompt if the greeting was
    /// shown just before.
    async fn answer_call(&mut self) -> io::Result<()> {
        let now = clock::now();
        if self.greeted.is_some_and(|last| now.since(last) < SERIAL_GREETING_INTERVAL) {
            let mut text = String::new();
            self.console.prompt_again(&mut text);
            return self.write(&text).await;
        }
        self.greeted = Some(now);
        self.greet().await
    }

    /// Writes the greeting: version, state, addresses and, until the page has a password, its
    /// set-up code.
    async fn greet(&mut self) -> io::Result<()> {
        let mut text = String::new();
        self.console.set_prompt(self.prompt());
        let version = concat!("loka-stratum ", env!("CARGO_PKG_VERSION"));
        let code = self.control.access.setup_code();
        let code = code.map(|code| format!("set-up code of the page: {code}"));
        self.page = self.control.about_page();
        let page = self.page.iter().map(String::as_str);
        let troubles = self.control.troubles();
        let troubles = troubles.iter().map(String::as_str);
        let state = self.control.about_state();
        let state = state.iter().map(String::as_str);
        let about = [version].into_iter().chain(state).chain(page);
        let lines = about.chain(code.as_deref()).chain(troubles);
        self.console.greet(lines, &mut text);
        self.write(&text).await
    }

    async fn handle_byte(&mut self, byte: u8) -> io::Result<()> {
        let (seq, body) = match self.receiver.handle_byte(byte) {
            Received::Text(byte) => return self.handle_text(byte).await,
            Received::Opened => {
                self.console.drop_line();
                return Ok(());
            }
            Received::Nothing => return Ok(()),
            Received::Frame(Frame { seq, body: Ok(Body::Request(request)) }) => {
                (seq, Ok(Stored::new(&request)))
            }
            // An answer frame is our own, echoed by the other end; it is ignored.
            Received::Frame(Frame { body: Ok(_), .. }) => return Ok(()),
            Received::Frame(Frame { seq, body: Err(error) }) => (seq, Err(error)),
        };
        match body {
            Ok(Some(stored)) => self.answer_frame(seq, &stored).await,
            // A body read from a frame always fits a frame.
            Ok(None) => Ok(()),
            Err(error) => {
                let text = error.to_string();
                let end = Body::Refused { items: 0, why: Refused::Invalid(&text) };
                self.write_frame(seq, &end).await
            }
        }
    }

    async fn handle_text(&mut self, byte: u8) -> io::Result<()> {
        self.console.set_prompt(self.prompt());
        let mut text = String::new();
        let is_ready = self.console.handle_byte(byte, &mut text);
        self.write(&text).await?;
        if self.console.take_call() {
            return self.answer_call().await;
        }
        let stored = self.console.request().as_ref().and_then(Stored::new);
        if let (true, Some(stored)) = (is_ready, stored) {
            self.answer_console(&stored).await?;
        }
        Ok(())
    }

    async fn answer_console(&mut self, stored: &Stored) -> io::Result<()> {
        let outbox = Outbox::default();
        let mut console = std::mem::take(&mut self.console);
        let mut out = |item: Item<'_>| {
            let mut text = String::new();
            console.handle_item(&item, &mut text);
            outbox.push(text.as_bytes());
        };
        let end = self.ask(stored, &outbox, &mut out).await;
        let mut text = String::new();
        if outbox.is_cut.get() {
            let item = Item::Text("the answer goes on; ask for less of it");
            console.handle_item(&item, &mut text);
        }
        console.set_prompt(self.prompt());
        let end = end.as_ref().copied().map_err(|refused| refused as &dyn fmt::Display);
        console.handle_end(end, &mut text);
        self.console = console;
        outbox.push_end(text.as_bytes());
        outbox.drain(self.port).await
    }

    async fn answer_frame(&mut self, seq: u32, stored: &Stored) -> io::Result<()> {
        if let Some((_, answer)) = self.answered.as_ref().filter(|(last, _)| *last == seq) {
            // The answer was lost: it is sent again, and nothing is carried out twice.
            let outbox = Outbox::default();
            outbox.push_end(answer);
            return outbox.drain(self.port).await;
        }
        let outbox = Outbox::default();
        let mut answer = Vec::new();
        let mut items = 0_u16;
        let mut out = |item: Item<'_>| {
            let body = Body::Item { index: items, item: frame::fit_item(item) };
            let mut wire = [0; WIRE_BYTES_MAX];
            let Ok(bytes) = frame::encode(seq, &body, &mut wire) else { return };
            if items < u16::MAX && outbox.push(bytes) {
                answer.extend_from_slice(bytes);
                items += 1;
            }
        };
        let end = self.ask(stored, &outbox, &mut out).await;
        let end = match end {
            Ok(()) if outbox.is_cut.get() => {
                Err(Refused::Conflict("the answer goes on; ask for less of it".to_owned()))
            }
            end => end,
        };
        let mut wire = [0; WIRE_BYTES_MAX];
        let end = match &end {
            Ok(()) => frame::encode(seq, &Body::Done { items }, &mut wire),
            Err(refused) => {
                let why = refused.with_text(frame::fit);
                frame::encode(seq, &Body::Refused { items, why }, &mut wire)
            }
        };
        let end = end.unwrap_or_default();
        answer.extend_from_slice(end);
        outbox.push_end(end);
        *self.answered = Some((seq, answer));
        outbox.drain(self.port).await
    }

    /// Carries out a request, and writes its answer as it comes.
    async fn ask(
        &mut self,
        stored: &Stored,
        outbox: &Outbox,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let Some(request) = stored.request() else {
            return Err(Refused::Invalid("nothing was asked".to_owned()));
        };
        let ask = self.control.ask(&self.actor, &mut self.candidate, &request, out);
        let answer = tokio::select! {
            biased;
            answer = ask => answer,
            never = outbox.carry(self.port) => match never {},
        };
        self.seconds_left = self.control.seconds_left();
        answer
    }

    /// Tells the console unasked about changes.
    async fn remind(&mut self) -> io::Result<()> {
        let before = std::mem::replace(&mut self.seconds_left, self.control.seconds_left());
        let text = match (before, self.seconds_left) {
            (Some(before), Some(now)) => {
                let is_due = |at: &&u16| before > **at && now <= **at;
                let Some(_) = REMINDERS.iter().find(is_due) else { return Ok(()) };
                format!("the commit is taken back in {now} s unless confirmed")
            }
            (Some(_), None) => {
                "the commit waits no longer: it was taken back, or confirmed elsewhere".to_owned()
            }
            (None, _) => return Ok(()),
        };
        self.notice(&text).await
    }

    /// Tells the console the page's new place, as after DHCP.
    async fn tell_page(&mut self) -> io::Result<()> {
        let page = self.control.about_page();
        if page == self.page || !self.receiver.is_text() {
            return Ok(());
        }
        for line in &page {
            self.notice(line).await?;
        }
        self.page = page;
        Ok(())
    }

    async fn notice(&mut self, text: &str) -> io::Result<()> {
        if !self.receiver.is_text() {
            return Ok(());
        }
        let mut out = String::new();
        self.console.set_prompt(self.prompt());
        self.console.handle_notice(text, &mut out);
        self.write(&out).await
    }

    fn prompt(&self) -> Prompt {
        let is_changed = !self.candidate.is_empty();
        Prompt { is_changed, seconds_left: self.control.seconds_left() }
    }

    async fn write(&self, text: &str) -> io::Result<()> {
        let outbox = Outbox::default();
        outbox.push_end(text.as_bytes());
        outbox.drain(self.port).await
    }

    async fn write_frame(&self, seq: u32, body: &Body<'_>) -> io::Result<()> {
        let mut wire = [0; WIRE_BYTES_MAX];
        let Ok(bytes) = frame::encode(seq, body, &mut wire) else { return Ok(()) };
        let outbox = Outbox::default();
        outbox.push_end(bytes);
        outbox.drain(self.port).await
    }
}
