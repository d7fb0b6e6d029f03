//! The names that shares are submitted under, and the pools' verdicts on them.
//!
//! In the mode *single* the whole farm is one worker: the user of the pool's settings. Nothing else
//! here is used. In the mode *per-worker* each miner's own worker is authorized on its link,
//! besides the link's login. Its shares are submitted under that name.
//!
//! [`upstream_name`] maps a miner's name to the name at the pool. A name stays unchanged if it is
//! the account of the pool's user, alone or with a dot after it; otherwise it becomes
//! `account.name`. A result that is too long is no name: cutting it could name another worker
//! (F17).
//!
//! [`Standing`] holds the verdicts on a miner's names on its last links. Each is tagged with the
//! link's connection, so that a reconnect asks again. [`Authorizations`] are the requests of one
//! link without an answer. Their ids lie above those of shares. When every place is taken, the next
//! name waits.
//!
//! It writes no line and moves no share: `proxy::workers` does.

use crate::limits::{
    AUTHORIZATION_STEP, AUTHORIZATIONS_MAX, GRANTED_REFUSED_MIN, HOST_BYTES_MAX, KEPT_NAMES_MAX,
    NAMED_REFUSED_MIN, NAMES_JUDGED_AFTER, STANDING_LINKS_MAX, WORKER_NAME_BYTES_MAX,
    WORKERS_PER_MINER_MAX,
};
use crate::table::MinerHandle;
use crate::time::{Duration, Instant};
use crate::upstream::LinkIndex;

/// The name that shares are submitted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Identity {
    /// The farm's name: the pool's user in the settings.
    #[default]
    Single,
    /// The name of each miner's own worker.
    PerWorker,
}

/// The name of a worker at a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerName(heapless::String<WORKER_NAME_BYTES_MAX, u8>);

impl WorkerName {
    /// The link's login, without a name of its own.
    pub const LOGIN: Self = Self(heapless::String::new());

    /// A hash of the name's bytes (FNV-1a): two names rarely have the same.
    fn fingerprint(&self) -> u32 {
        let mix = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        self.0.bytes().fold(0x811c_9dc5, mix)
    }

    /// Returns the name; `None` for the link's login.
    pub fn get(&self) -> Option<&str> {
        if self.0.is_empty() { None } else { Some(&self.0) }
    }
}

/// The name under which a waiting share is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The link's login.
    Login,
    /// Its miner's name with this number.
    Miner(u8),
    /// A name kept when its miner left, by its place in [`KeptNames`].
    Kept(u8),
}

/// Names of departed miners with waiting shares.
///
/// When it is full, the shares of the next departing miner go out under the link's login. It
/// belongs to the same operator, and no share is lost for its name.
#[derive(Debug, Default)]
pub struct KeptNames(heapless::Vec<WorkerName, KEPT_NAMES_MAX, u8>);

impl KeptNames {
    /// Keeps a name, and returns its new reference. A name with `is_used` is not dropped for it.
    pub(crate) fn keep(&mut self, name: WorkerName, is_used: impl Fn(u8) -> bool) -> Named {
        if let Some(place) = self.0.iter().position(|known| *known == name) {
            return u8::try_from(place).map_or(Named::Login, Named::Kept);
        }
        let place = if self.0.is_full() {
            (0..self.0.len()).find(|place| u8::try_from(*place).is_ok_and(|place| !is_used(place)))
        } else {
            self.0.push(WorkerName::LOGIN).ok().and(self.0.len().checked_sub(1))
        };
        let Some((place, kept)) = place.and_then(|place| Some((place, self.0.get_mut(place)?)))
        else {
            return Named::Login;
        };
        *kept = name;
        u8::try_from(place).map_or(Named::Login, Named::Kept)
    }

    /// Returns a kept name.
    pub(crate) fn get(&self, place: u8) -> Option<&WorkerName> {
        self.0.get(usize::from(place))
    }
}

/// An account at a pool: the owner of a block.
///
/// A port of a host speaks TLS or plain text, so the scheme adds nothing. Two ports of a host may
/// be two pools, and so may two host names; they are never treated as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The pool's host in the settings.
    pub host: heapless::String<HOST_BYTES_MAX>,
    /// Its port there; 0 if unknown, which equals no other account.
    pub port: u16,
    /// The whole user in the settings: `account.worker` and `account.other` have separate sessions.
    pub user: heapless::String<WORKER_NAME_BYTES_MAX>,
}

impl Account {
    /// Says whether both are known to be the same account at the same pool.
    pub fn is_same(&self, other: &Self) -> bool {
        self.port != 0
            && self.port == other.port
            && self.user == other.user
            && is_same_host(&self.host, &other.host)
    }
}

/// Host names ignore case, and a final dot only marks a complete name.
fn is_same_host(one: &str, other: &str) -> bool {
    let bare = |host: &str| host.strip_suffix('.').unwrap_or(host).len();
    let (one, other) = (one.as_bytes().get(..bare(one)), other.as_bytes().get(..bare(other)));
    one.zip(other).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Maps a miner's name to its name at a pool whose settings have `user`; `None` if the result is
/// too long.
pub fn upstream_name(user: &str, worker: &str) -> Option<WorkerName> {
    let account = user.split('.').next().unwrap_or(user);
    let is_whole =
        worker.strip_prefix(account).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut name = heapless::String::new();
    if !is_whole {
        name.push_str(account).ok()?;
        name.push('.').ok()?;
    }
    name.push_str(worker).ok()?;
    Some(WorkerName(name))
}

/// One connection of a link; verdicts of an earlier connection do not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConnection {
    /// The link.
    pub link: LinkIndex,
    /// The number of its connection.
    pub number: u16,
}

/// A pool's verdict on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It was not asked for.
    Unasked,
    /// It was asked for; there is no answer yet.
    Asked,
    /// The pool takes shares under the name.
    Granted,
    /// The pool refuses shares under the name.
    Refused,
}

/// The verdicts on a miner's names on one connection of a link, a bit for each name.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: LinkConnection,
    asked: u8,
    granted: u8,
    refused: u8,
}

const _: () = assert!(WORKERS_PER_MINER_MAX <= 8, "a bit per name in a u8");

/// The verdicts on a miner's names, on the last links that served it.
#[derive(Clone, Debug, Default)]
pub struct Standing(heapless::Vec<Known, STANDING_LINKS_MAX, u8>);

impl Standing {
    /// Returns the verdict on the name numbered `worker`.
    pub fn of(&self, at: LinkConnection, worker: u8) -> Grant {
        let bit = bit_of(worker);
        match self.0.iter().find(|known| known.at == at) {
            Some(known) if known.refused & bit != 0 => Grant::Refused,
            Some(known) if known.granted & bit != 0 => Grant::Granted,
            Some(known) if known.asked & bit != 0 => Grant::Asked,
            _ => Grant::Unasked,
        }
    }

    /// Books the verdict on the name numbered `worker`. Another connection of the same link
    /// replaces the earlier one; another link replaces the oldest.
    pub fn set(&mut self, at: LinkConnection, worker: u8, grant: Grant) {
        let stale = |known: &Known| known.at.link == at.link && known.at != at;
        self.0.retain(|known| !stale(known));
        if !self.0.iter().any(|known| known.at == at) {
            if self.0.is_full() {
                self.0.remove(0);
            }
            // There is room: a full list has just lost its oldest entry.
            let _ = self.0.push(Known { at, asked: 0, granted: 0, refused: 0 });
        }
        let Some(known) = self.0.iter_mut().find(|known| known.at == at) else { return };
        let bit = bit_of(worker);
        for (bits, is_this) in [
            (&mut known.asked, grant == Grant::Asked),
            (&mut known.granted, grant == Grant::Granted),
            (&mut known.refused, grant == Grant::Refused),
        ] {
            *bits = if is_this { *bits | bit } else { *bits & !bit };
        }
    }

    /// Forgets the verdicts of one connection.
    pub fn forget(&mut self, at: LinkConnection) {
        self.0.retain(|known| known.at != at);
    }

    /// Says whether a pool refused one of the names, on a remembered connection.
    pub fn is_refused(&self) -> bool {
        self.0.iter().any(|known| known.refused != 0)
    }
}

const fn bit_of(worker: u8) -> u8 {
    match 1_u8.checked_shl(worker as u32) {
        Some(bit) => bit,
        None => 0,
    }
}

/// A pool's treatment of names on one connection: whether it takes names other than its login's.
/// The ckpool family does not (QUIRKS 52): it leaves a second authorization unanswered and refuses
/// shares of another name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names {
    granted: u16,
    refused: u16,
    unanswered: u16,
    /// The hash of the first name not granted, and whether a second name was not granted.
    first: Option<u32>,
    is_many: bool,
    /// The same for names that were explicitly refused.
    first_refused: Option<u32>,
    refuses_many: bool,
    /// When the first evidence arrived.
    since: Option<Instant>,
    /// A share under a miner's own name was accepted.
    shares_taken: bool,
    /// Such shares refused, perhaps for their name, and those whose answer names it as the reason.
    shares_refused: u16,
    shares_named: u16,
    /// The pool's answer to a second authorization of its login.
    login: Login,
}

/// A pool's answer to a second authorization of its login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Login {
    #[default]
    NotAsked,
    Asked,
    Granted,
    /// The pool refused it.
    Refused,
    /// The pool did not answer.
    Silent,
}

impl Names {
    /// Takes the pool's answer for a name; `None` after a timeout. A miner that reconnects counts
    /// as one name.
    pub fn handle_answer(&mut self, name: &WorkerName, granted: Option<bool>, now: Instant) {
        if granted != Some(true) {
            let sum = name.fingerprint();
            self.is_many |= sum != *self.first.get_or_insert(sum);
            if granted.is_some() {
                self.refuses_many |= sum != *self.first_refused.get_or_insert(sum);
            }
        }
        let count = match granted {
            Some(true) => &mut self.granted,
            Some(false) => &mut self.refused,
            None => &mut self.unanswered,
        };
        *count = count.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// Takes the pool's answer for the login itself.
    pub fn handle_login(&mut self, granted: Option<bool>) {
        self.login = match granted {
            Some(true) => Login::Granted,
            Some(false) => Login::Refused,
            None => Login::Silent,
        };
    }

    /// Notes an accepted share under a miner's own name.
    pub fn handle_taken(&mut self) {
        self.shares_taken = true;
    }

    /// Notes a share that the pool refused, perhaps for its name; `is_named` if its answer says so.
    pub fn handle_refused(&mut self, is_named: bool) {
        self.shares_refused = self.shares_refused.saturating_add(1);
        self.shares_named = self.shares_named.saturating_add(u16::from(is_named));
    }

    /// Says whether the pool granted a name, or accepted a share under one.
    pub fn are_taken(&self) -> bool {
        self.granted > 0 || self.shares_taken
    }

    /// Returns `true`, once, if the login must be authorized again. The answer tells a pool with
    /// one name per connection from a pool that refuses a single name.
    pub fn wants_login(&mut self, now: Instant) -> bool {
        let is_due = self.login == Login::NotAsked
            && self.granted == 0
            && !self.shares_taken
            && self.since.is_some_and(|since| now.since(since) >= AUTHORIZATION_STEP);
        if is_due {
            self.login = Login::Asked;
        }
        is_due
    }

    /// Says whether the pool takes no name but its login's, by the evidence so far. An unanswered
    /// request counts only if shares were answered since: a stalled connection answers nothing.
    pub fn is_one(&self, now: Instant) -> bool {
        if self.shares_taken {
            return false;
        }
        if self.granted > 0 {
            return self.shares_named >= GRANTED_REFUSED_MIN;
        }
        let is_settled = self.since.is_some_and(|since| now.since(since) >= NAMES_JUDGED_AFTER);
        let login_not_granted = matches!(self.login, Login::Refused | Login::Silent);
        // Without an answer the shares decide: some pools judge each share by its name.
        let is_of_all = self.is_many || self.login != Login::Granted;
        let by_shares = self.unanswered > 0
            && is_of_all
            && (self.shares_refused >= NAMED_REFUSED_MIN
                || self.shares_refused > 0 && login_not_granted);
        let login_refused = self.refused > 0 && self.login == Login::Refused;
        let by_answers = self.refuses_many && is_settled || login_refused;
        by_shares || by_answers
    }
}

/// The party that a name is authorized for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A connected miner, by the number of its name.
    Miner {
        /// The miner.
        miner: MinerHandle,
        /// The number of its name.
        worker: u8,
    },
    /// A waiting share, by its request id: its miner may have left.
    Share {
        /// Its request id.
        request: u32,
    },
    /// No party: the link's login again, to learn whether the pool takes a second name at all.
    Login,
}

/// A request without an answer yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: u32,
    asker: Asker,
    since: Instant,
}

/// Request ids of authorizations start here; those of shares are below (F42).
pub const FIRST_AUTHORIZATION: u32 = 1 << 30;

/// Number of these ids; all fit 31 bits, since some pools keep ids in signed numbers.
const AUTHORIZATION_IDS: u32 = 1 << 30;

/// The authorizations of one link.
#[derive(Debug, Default)]
pub struct Authorizations {
    asked: heapless::Vec<Asked, AUTHORIZATIONS_MAX, u8>,
    /// Miners that joined lately. When it is full, all miners are walked instead.
    wanted: heapless::Deque<(MinerHandle, u8), AUTHORIZATIONS_MAX>,
    /// The slot at which the walk over all miners continues.
    walk_from: Option<usize>,
    /// The link serves its lane, and all its miners were checked since.
    serves: bool,
    count: u32,
}

impl Authorizations {
    /// Forgets all requests, for a new connection.
    pub fn clear(&mut self) {
        *self = Self { count: self.count, ..Self::default() };
    }

    /// Notes whether the link serves its lane; when it starts to, all miners are walked.
    pub fn set_serves(&mut self, serves: bool) {
        if serves && !self.serves {
            self.walk_from = Some(0);
        }
        self.serves = serves;
    }

    /// Queues a miner's name for authorization.
    pub fn want(&mut self, miner: MinerHandle, worker: u8) {
        if self.wanted.push_back((miner, worker)).is_err() {
            self.walk_from = Some(0);
        }
    }

    /// Returns the next queued name.
    pub fn next_wanted(&mut self) -> Option<(MinerHandle, u8)> {
        self.wanted.pop_front()
    }

    /// Returns the slot at which the walk over all miners continues.
    pub fn walk_from(&self) -> Option<usize> {
        self.walk_from
    }

    /// Notes the progress of the walk.
    pub fn set_walk(&mut self, from: Option<usize>) {
        self.walk_from = from;
    }

    /// Says whether no name is due to be asked for.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.walk_from.is_none()
    }

    /// Says whether an answer must arrive before the next request.
    pub fn is_full(&self) -> bool {
        self.asked.is_full()
    }

    /// Notes a request that is being sent, and returns its id.
    pub fn ask(&mut self, asker: Asker, now: Instant) -> u32 {
        let request = FIRST_AUTHORIZATION | self.count;
        self.count = self.count.wrapping_add(1) % AUTHORIZATION_IDS;
        // There is room: the caller has checked.
        let _ = self.asked.push(Asked { request, asker, since: now });
        request
    }

    /// Says whether a request with this id was sent on any connection.
    pub fn was_sent(&self, request: u32) -> bool {
        request.checked_sub(FIRST_AUTHORIZATION).is_some_and(|count| count < self.count)
    }

    /// Returns the party that an answered request was sent for.
    pub fn answered(&mut self, request: u32) -> Option<Asker> {
        let at = self.asked.iter().position(|asked| asked.request == request)?;
        Some(self.asked.swap_remove(at).asker)
    }

    /// Returns the party of a request that has waited for `limit`, and forgets the request.
    pub fn overdue(&mut self, limit: Duration, now: Instant) -> Option<Asker> {
        let at = self.asked.iter().position(|asked| now.since(asked.since) >= limit)?;
        Some(self.asked.swap_remove(at).asker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, worker: &str, expected: &str) {
        let name = upstream_name(user, worker).unwrap();
        assert_eq!(name.get(), Some(expected));
    }

    #[test]
    fn a_name_is_sent_as_it_is_or_below_the_account() {
        check("farm.gateway", "farm.s19", "farm.s19");
        check("farm.gateway", "farm", "farm");
        check("farm", "farm.hall.s19", "farm.hall.s19");
        check("farm.gateway", "s19", "farm.s19");
        check("farm.gateway", "farmer.s19", "farm.farmer.s19");
        check("farm.gateway", "other.s19", "farm.other.s19");
        check("bc1qxyz", "bc1qxyz.a\"b", "bc1qxyz.a\"b");
    }

    #[test]
    fn f17_a_name_is_never_cut() {
        let room = WORKER_NAME_BYTES_MAX - "farm.".len();
        assert!(upstream_name("farm.gateway", &"w".repeat(room)).is_some());
        assert!(upstream_name("farm.gateway", &"w".repeat(room + 1)).is_none());
    }

    #[test]
    fn what_was_said_holds_for_one_connection() {
        let at = |link, number| LinkConnection { link: LinkIndex(link), number };
        let mut standing = Standing::default();
        standing.set(at(0, 1), 0, Grant::Asked);
        standing.set(at(0, 1), 0, Grant::Granted);
        standing.set(at(0, 1), 7, Grant::Refused);
        assert_eq!(standing.of(at(0, 1), 0), Grant::Granted);
        assert_eq!(standing.of(at(0, 1), 7), Grant::Refused);
        assert_eq!(standing.of(at(0, 2), 0), Grant::Unasked);
        standing.set(at(1, 1), 0, Grant::Asked);
        assert_eq!(standing.of(at(0, 1), 0), Grant::Granted);
        standing.set(at(0, 2), 1, Grant::Asked);
        assert_eq!(standing.of(at(0, 1), 0), Grant::Unasked);
        assert_eq!(standing.of(at(1, 1), 0), Grant::Asked);
        assert!(!standing.is_refused());
    }

    #[test]
    fn requests_are_bounded_and_their_ids_no_shares() {
        let mut all = Authorizations::default();
        let asker = Asker::Share { request: 16 };
        let start = Instant::ZERO;
        let mut sent = 0;
        while !all.is_full() {
            assert!(all.ask(asker, start) >= FIRST_AUTHORIZATION);
            sent += 1;
        }
        assert_eq!(sent, AUTHORIZATIONS_MAX);
        assert_eq!(all.answered(FIRST_AUTHORIZATION), Some(asker));
        assert_eq!(all.answered(FIRST_AUTHORIZATION), None);
        let limit = Duration::from_secs(1);
        assert_eq!(all.overdue(limit, start), None);
        assert_eq!(all.overdue(limit, start + limit), Some(asker));
        all.clear();
        assert_eq!(all.ask(asker, start), FIRST_AUTHORIZATION | AUTHORIZATIONS_MAX as u32);
    }
}
