//! The sessions through the production proxy: miners' lines against a farm with a live pool, pools'
//! lines against a link.
//!
//! The lines were recorded between other partners, so jobs and shares are unknown here. The tests
//! check three things: each request of a miner has exactly one answer under its own id, byte for
//! byte; a pool's handshake reaches the state of its lines; and every job reaches the miners. Each
//! session is sent whole, in every split into two reads, and one byte at a time (F01).

use std::collections::{HashMap, HashSet};

use loka_stratum::limits::LINK_STEP_MAX;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkClose, LinkIndex, State};
use loka_stratum::wire::client::{self, Request};
use loka_stratum::wire::server::{self, Outcome, ServerLine};
use loka_stratum::work::extranonce::Geometry;
use loka_stratum::work::target::{NBits, Target};
use serde_json::{Value, json};

use super::farm::{self, Farm, TRIVIAL, notify, parse, set_difficulty};
use super::{Line, Session, Side, sessions};

fn said_by(session: &Session, side: Side) -> Vec<&Line> {
    session.lines.iter().filter(|line| line.from == side).collect()
}

// ---- miners ----------------------------------------------------------------------------------

/// The split of a text into reads.
fn pieces(text: &str, cut: Cut) -> Vec<Vec<u8>> {
    let bytes = format!("{text}\n").into_bytes();
    match cut {
        Cut::Whole => vec![bytes],
        Cut::At(at) => {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            vec![first.to_vec(), second.to_vec()]
        }
        Cut::Bytes => bytes.chunks(1).map(<[u8]>::to_vec).collect(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    At(usize),
    Bytes,
}

/// Every cut that is distinct for at least one of the lines.
fn cuts<'l>(lines: impl Iterator<Item = &'l str>) -> impl Iterator<Item = Cut> {
    let longest = lines.map(str::len).max().unwrap_or(0);
    (1..=longest).map(Cut::At).chain([Cut::Bytes])
}

/// A miner that reconnects when its budget is used up, since a file may have more odd lines than a
/// connection's budget.
struct Player {
    farm: Farm,
    link: LinkIndex,
    miner: MinerHandle,
}

impl Player {
    fn new() -> Self {
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        let miner = Self::connect(&mut farm);
        Self { farm, link, miner }
    }

    /// A connection that has already sent a valid line, so it is no scanner.
    fn connect(farm: &mut Farm) -> MinerHandle {
        let miner = farm.connect();
        farm.send(miner, r#"{"id":0,"method":"mining.ping","params":[]}"#);
        miner
    }

    fn begin(&mut self) {
        self.farm.proxy.handle_disconnect(self.miner);
        // Miner ids rest until the pool has another job.
        self.farm.pool_says(self.link, &notify("next", 1, true));
        self.miner = Self::connect(&mut self.farm);
    }

    /// Sends a line and returns the answers.
    fn say(&mut self, text: &str, cut: Cut) -> Vec<String> {
        let mut heard = vec![];
        let mut closed = false;
        for piece in pieces(text, cut) {
            let (more, close) = self.farm.bytes(self.miner, &piece);
            heard.extend(more);
            closed |= close.is_some();
        }
        if closed {
            self.begin();
        }
        heard.retain(|line| parse(line)["method"].is_null());
        heard
    }

    /// Plays a session from the start and returns the answers to each line, without the miner's own
    /// id.
    fn play(&mut self, lines: &[&Line], cut: Cut) -> Vec<Vec<Value>> {
        self.begin();
        let without_id = |line: &String| {
            let mut answer = parse(line);
            if answer["result"].is_array() {
                answer["result"][1].take();
            }
            answer
        };
        let answers = lines.iter().map(|line| self.say(&line.text, cut));
        answers.map(|answers| answers.iter().map(without_id).collect()).collect()
    }
}

#[test]
fn every_request_of_a_miner_has_one_answer_under_its_own_id() {
    for session in sessions() {
        let mut player = Player::new();
        for line in said_by(&session, Side::Miner) {
            let place = format!("{}:{}", session.path.display(), line.number);
            let answers = player.say(&line.text, Cut::Whole);
            let (id, wanted) = match client::parse(line.text.as_bytes()) {
                Ok(message) => {
                    // An answer is not answered, nor is a suggestion that has no id.
                    let silent = match message.request {
                        Request::Response => true,
                        Request::SuggestDifficulty(_) => message.id.is_null(),
                        _ => false,
                    };
                    (message.id, usize::from(!silent))
                }
                Err(error) => (error.id, 1),
            };
            assert_eq!(answers.len(), wanted, "{place}: {answers:?}");
            if let Some(answer) = answers.first() {
                let id = str::from_utf8(id.as_raw()).unwrap();
                assert!(answer.contains(&format!("\"id\":{id},")), "{place}: {id} in {answer}");
            }
        }
        assert!(player.farm.proxy.ledger().check());
    }
}

#[test]
fn a_miner_in_pieces_has_the_same_answers() {
    for session in sessions() {
        let lines = said_by(&session, Side::Miner);
        let mut player = Player::new();
        let whole = player.play(&lines, Cut::Whole);
        for cut in cuts(lines.iter().map(|line| line.text.as_str())) {
            let answers = player.play(&lines, cut);
            assert_eq!(answers, whole, "{} {cut:?}", session.path.display());
        }
    }
}

#[test]
fn a_miner_that_says_all_at_once_has_the_same_answers() {
    for session in sessions() {
        let lines = said_by(&session, Side::Miner);
        let mut player = Player::new();
        let one_by_one: Vec<Value> =
            player.play(&lines, Cut::Whole).into_iter().flatten().collect();
        let text = lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\r\n");
        let all = Line { number: 0, from: Side::Miner, text };
        let at_once = player.play(&[&all], Cut::Whole).concat();
        // Where the budget ended one connection after another, the first is compared.
        let same = one_by_one.iter().zip(&at_once).take_while(|(one, other)| one == other).count();
        assert_eq!(same, at_once.len(), "{}", session.path.display());
        assert!(same == one_by_one.len() || same > 3, "{}", session.path.display());
    }
}

// ---- pools -----------------------------------------------------------------------------------

/// Minimum length of a job's line.
const LONG: usize = 300;

const CONFIGURE: &str = "mining.configure";
const SUBSCRIBE: &str = "mining.subscribe";
const AUTHORIZE: &str = "mining.authorize";

/// A pool's line for our link: an answer has the id of our own request.
struct Told {
    text: String,
    /// The method that it answers, if it is one of the handshake's.
    answers: Option<&'static str>,
}

/// Reads a pool's lines, and replaces the recorded miner's ids by ours.
fn told(session: &Session) -> Vec<Told> {
    let mut asked: HashMap<String, &'static str> = HashMap::new();
    let mut told = vec![];
    for line in &session.lines {
        match line.from {
            Side::Miner => {
                let Ok(message) = client::parse(line.text.as_bytes()) else { continue };
                let id = String::from_utf8(message.id.as_raw().to_vec()).unwrap();
                let method = match message.request {
                    Request::Configure(_) => CONFIGURE,
                    Request::Subscribe(_) => SUBSCRIBE,
                    Request::Authorize(_) => AUTHORIZE,
                    _ => "another",
                };
                asked.insert(id, method);
            }
            Side::Pool => told.push(with_our_id(&line.text, &asked)),
        }
    }
    told
}

fn with_our_id(text: &str, asked: &HashMap<String, &'static str>) -> Told {
    let plain = Told { text: text.to_owned(), answers: None };
    let Ok(ServerLine::Response(response)) = server::parse(text.as_bytes()) else { return plain };
    let id = str::from_utf8(response.id.as_raw()).unwrap();
    let (method, ours) = match asked.get(id) {
        Some(&CONFIGURE) => (Some(CONFIGURE), "1"),
        Some(&SUBSCRIBE) => (Some(SUBSCRIBE), "2"),
        Some(&AUTHORIZE) => (Some(AUTHORIZE), "3"),
        // An answer to something that the link did not ask.
        _ => (None, "70000"),
    };
    let at = text.rfind(&format!("\"id\":{id}")).map(|at| at + 5);
    let at = at.or_else(|| text.rfind(&format!("\"id\": {id}")).map(|at| at + 6)).unwrap();
    let text = [&text[..at], ours, &text[at + id.len()..]].concat();
    Told { text, answers: method }
}

/// A link's received handshake answers since its opening.
#[derive(Default)]
struct Known {
    subscribed: bool,
    authorized: bool,
    job: bool,
}

impl Known {
    fn hear(&mut self, told: &Told) {
        match server::parse(told.text.as_bytes()) {
            Ok(ServerLine::Response(response)) => match told.answers {
                Some(SUBSCRIBE) => self.subscribed |= response.subscribe().is_ok(),
                Some(AUTHORIZE) => {
                    self.authorized |= matches!(response.outcome(), Outcome::Accepted);
                }
                _ => {}
            },
            Ok(ServerLine::Notify(notify)) => {
                self.job |= self.subscribed && Target::from_nbits(NBits(notify.nbits)).is_ok();
            }
            _ => {}
        }
    }

    fn is_live(&self) -> bool {
        self.subscribed && self.authorized && self.job
    }
}

/// A farm whose link receives the pools' lines, with one listening miner.
struct Listener {
    farm: Farm,
    link: LinkIndex,
    miner: MinerHandle,
}

impl Listener {
    fn new() -> Self {
        let mut options = farm::options(1);
        // The minimum, so that every recorded pool has room for it.
        options.geometry = Geometry::new(1, 2);
        options.links.retry_min = Duration::from_millis(1);
        options.links.retry_max = Duration::from_millis(1);
        // A session that comes back with its job goes on with it; a keep-alive between two plays
        // would make them differ.
        options.keepalive = Duration::from_secs(1 << 30);
        let mut farm = Farm::sized(4, 1, options);
        let (miner, _) = farm.miner("farm.s19");
        let link = farm.dialled();
        Self { farm, link, miner }
    }

    /// Reopens the link.
    fn redial(&mut self) {
        if self.state() != State::Idle {
            self.farm.pool_lost(self.link);
        }
        // The engine itself closes a link that was silent for too long.
        while self.farm.proxy.poll_hangup(self.farm.now).is_some() {}
        self.farm.wait(Duration::from_millis(2));
        self.link = self.farm.dialled();
    }

    fn state(&self) -> State {
        self.farm.proxy.links().get(self.link).unwrap().state()
    }

    /// Sends the link a line; if the link ends, it is reopened.
    fn tell(&mut self, told: &Told, cut: Cut) -> Option<LinkClose> {
        if told.answers == Some(SUBSCRIBE) && self.state() == State::Configuring {
            // This pool answers no configure, or later.
            self.farm.wait(LINK_STEP_MAX + Duration::from_secs(1));
        }
        let mut close = None;
        for piece in pieces(&told.text, cut) {
            if let Err(reason) = self.farm.pool_bytes(self.link, &piece) {
                close = Some(reason);
                break;
            }
        }
        close
    }

    /// The miner's received lines, without the job ids, which all differ, and the jobs' times,
    /// which are later for repeated work.
    fn heard(&mut self) -> Vec<Value> {
        let mut heard: Vec<Value> =
            self.farm.due(self.miner).iter().map(|line| parse(line)).collect();
        for line in heard.iter_mut().filter(|line| line["method"] == "mining.notify") {
            line["params"][0].take();
            line["params"][7].take();
        }
        heard
    }

    /// Plays a session from the start and returns the result of each line.
    fn play(&mut self, lines: &[Told], cut: Cut) -> Vec<(Option<LinkClose>, State, Vec<Value>)> {
        // A pool may ask to reconnect once a minute.
        if lines.iter().any(|told| told.text.contains("client.reconnect")) {
            self.farm.now = self.farm.now + Duration::from_secs(61);
        }
        self.redial();
        self.heard();
        let mut outcomes = vec![];
        for told in lines {
            let close = self.tell(told, cut);
            outcomes.push((close, self.state(), self.heard()));
            if close.is_some() {
                self.redial();
            }
        }
        outcomes
    }
}

#[test]
fn a_pools_handshake_leads_where_its_lines_say() {
    let mut live = 0;
    for session in sessions() {
        let lines = told(&session);
        let mut listener = Listener::new();
        let mut known = Known::default();
        for told in &lines {
            known.hear(told);
            let place = format!("{}: {}", session.path.display(), told.text);
            match listener.tell(told, Cut::Whole) {
                None => {
                    let is_live = listener.state() == State::Live;
                    assert_eq!(is_live, known.is_live(), "{place}");
                    live += usize::from(is_live && told.text.contains("mining.notify"));
                }
                Some(close) => {
                    check_close(close, told, &place);
                    known = Known::default();
                    listener.farm.wait(Duration::from_secs(61));
                    listener.redial();
                }
            }
        }
    }
    assert!(live > 0, "no job of a live pool");
}

/// A link ends only after a line that demands it.
#[track_caller]
fn check_close(close: LinkClose, told: &Told, place: &str) {
    let json: Value = serde_json::from_str(&told.text).unwrap_or_default();
    let good = match close {
        LinkClose::LooksLikeHttp => json.is_null(),
        LinkClose::Reconnect => json["method"] == "client.reconnect",
        LinkClose::SubscribeRefused(_) => {
            told.answers == Some(SUBSCRIBE) && !json["error"].is_null()
        }
        LinkClose::SubscribeMalformed => told.answers == Some(SUBSCRIBE),
        LinkClose::AuthorizeRefused(_) => told.answers == Some(AUTHORIZE),
        LinkClose::Incompatible(_) => told.text.contains("extranonce") || json["result"].is_array(),
        _ => false,
    };
    assert!(good, "{place}: {close:?}");
}

#[test]
fn a_pool_in_pieces_does_the_same() {
    for session in sessions() {
        let mut lines = told(&session);
        // Jobs are many and long; they are cut below, and two make a session as well.
        let mut jobs = 0;
        lines.retain(|told| {
            jobs += usize::from(told.text.len() > LONG);
            told.text.len() <= LONG || jobs <= 2
        });
        let mut listener = Listener::new();
        // A link remembers the session before; from the second time on that is the same.
        listener.play(&lines, Cut::Whole);
        let whole = listener.play(&lines, Cut::Whole);
        let short = lines.iter().map(|told| told.text.as_str()).filter(|line| line.len() <= LONG);
        for cut in cuts(short) {
            let outcomes = listener.play(&lines, cut);
            assert!(outcomes == whole, "{} {cut:?}", session.path.display());
        }
    }
}

#[test]
fn a_job_in_pieces_is_the_same_job() {
    for session in sessions() {
        let mut listener = Listener::new();
        listener.farm.handshake(listener.link, "c0ffee01", 8);
        for line in said_by(&session, Side::Pool) {
            let Ok(ServerLine::Notify(_)) = server::parse(line.text.as_bytes()) else { continue };
            // The first job of a session is clean in any case.
            listener.farm.pool_says(listener.link, &line.text);
            listener.farm.due(listener.miner);
            let mut heard = |cut| {
                let told = Told { text: line.text.clone(), answers: None };
                assert_eq!(listener.tell(&told, cut), None);
                let mut heard = listener.farm.due(listener.miner).concat();
                // The id that miners know it by is another each time, and its time is later.
                let time_end = heard.rfind("\",").unwrap();
                heard.replace_range(time_end - 8..time_end, "");
                heard.replace_range(ID_AT..ID_AT + 8, "");
                heard
            };
            let whole = heard(Cut::Whole);
            // Other tests cut the framer's input at every byte; here larger steps save time.
            let step = if line.text.len() > 4096 { 997 } else { 1 };
            for at in (1..=line.text.len()).step_by(step) {
                assert!(
                    heard(Cut::At(at)) == whole,
                    "{}:{} {at}",
                    session.path.display(),
                    line.number
                );
            }
            assert!(heard(Cut::Bytes) == whole);
        }
    }
}

/// The position of a job's id in a notify.
const ID_AT: usize = r#"{"id":null,"method":"mining.notify","params":[""#.len();

#[test]
fn every_job_reaches_the_miners_as_the_pool_gave_it() {
    let mut jobs = 0;
    for session in sessions() {
        let mut listener = Listener::new();
        listener.farm.handshake(listener.link, "c0ffee01", 8);
        listener.farm.pool_says(listener.link, &set_difficulty(TRIVIAL));
        let mut seen = HashSet::new();
        for line in said_by(&session, Side::Pool) {
            let Ok(ServerLine::Notify(_)) = server::parse(line.text.as_bytes()) else { continue };
            let place = format!("{}:{}", session.path.display(), line.number);
            listener.farm.pool_says(listener.link, &line.text);
            let sent = &parse(&line.text)["params"];
            let heard = listener.farm.due(listener.miner);
            let heard = farm::notified(&heard);
            let coinb1 = sent[2].as_str().unwrap().to_owned() + "c0ffee01" + "0000000000";
            assert_eq!(heard[2], coinb1, "{place}");
            for same in [1, 3, 4, 5, 6] {
                assert_eq!(heard[same], sent[same], "{place}: param {same}");
            }
            // Work that the pool sends again is given a later time.
            let is_new = seen.insert(json!([sent[1], sent[2], sent[3], sent[4]]).to_string());
            let (time, given) = (heard[7].as_str().unwrap(), sent[7].as_str().unwrap());
            assert!(time == given || !is_new && time > given, "{place}: {time} for {given}");
            let clean = sent.as_array().unwrap().last().unwrap();
            assert!(heard[8] == *clean || heard[8] == true, "{place}");
            jobs += 1;
        }
    }
    assert!(jobs > 0, "no job");
}
