//! Conversations with a control that has an engine, doors and a state folder.

use super::*;
use crate::gateway::observe::system::Phase;
use crate::gateway::operate::load::{Purpose, load};
use loka_stratum::control::Origin;
use loka_stratum::proxy::Proxy;
use std::fs;
use std::path::PathBuf;
use tokio::runtime::{Builder, LocalOptions};

const ADMIN: Actor = Actor { role: Role::Admin, from: Whence::Serial };
const POOL: &str = "[[pool]]\nurl = \"stratum+tcp://127.0.0.1:1\"\nuser = \"farm\"\n";
const MORE: &str = "[listen]\naddresses = [\"127.0.0.1:0\"]\n[status]\naddress = \"off\"\n\
                    [miners]\nmax = 4\n";

/// A folder with a settings file and state, removed at the end of the test.
struct Place {
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("loka-control-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let state = folder.join("state").to_str().unwrap().to_owned();
        let place = Self { folder, environment: vec![("LOKA_STATE__DIR".to_owned(), state)] };
        place.write(&format!("{POOL}{MORE}"));
        place
    }

    fn forgetful(name: &str) -> Self {
        let mut place = Self::new(name);
        place.environment.clear();
        place
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    fn file(&self) -> PathBuf {
        self.folder.join("farm.toml")
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.join("state").join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources {
            file: Some(self.file()),
            environment: self.environment.clone(),
            ..Sources::default()
        }
    }

    /// Starts the parts of a gateway that control needs.
    fn start(&self) -> Operator {
        // A new process also starts after the old one has finished its writes.
        assert!(thread::finish(Duration::from_secs(60)));
        Operator::of(self.sources())
    }
}

/// Updates of a system that come when a test says so.
#[derive(Default)]
struct Updating {
    is_under_way: Cell<bool>,
}

impl System for Updating {
    fn report(&self) -> UpdateReport {
        UpdateReport {
            supported: false,
            why_not: None,
            version: None,
            slot: None,
            board: None,
            progress: Phase::Idle,
            last: None,
        }
    }

    fn is_under_way(&self) -> bool {
        self.is_under_way.get()
    }
}

/// No port is opened: these tests ask by no door.
struct NoPorts;

impl Ports for NoPorts {
    fn bind(&self, _: &Settings, _: &Rc<Control>) -> io::Result<Box<dyn FnOnce()>> {
        Ok(Box::new(|| ()))
    }

    fn page(&self) -> Option<SocketAddr> {
        None
    }
}

/// Creates the parts of a gateway that control needs.
pub fn control(sources: Sources) -> Rc<Control> {
    control_with(sources, Rc::<Updating>::default())
}

fn control_with(sources: Sources, system: Rc<dyn System>) -> Rc<Control> {
    let loaded = load(&sources, Purpose::Run).unwrap_or_else(|error| panic!("{error}"));
    let settings = loaded.merged.settings.clone();
    let plan = loaded.merged.plan.clone();
    let options = options::options(&settings, None, 1);
    let storage = options::storage(&plan).unwrap();
    let proxy = Proxy::new(storage, options, clock::now()).unwrap();
    let passwords =
        Rc::new(crate::gateway::access::password::Passwords::new(plan.bytes_max).unwrap());
    let admissions = crate::gateway::access::admission::Admissions::new(passwords.clone()).unwrap();
    let dialers = loaded.dialers.clone();
    let hub = Rc::new(Hub::new(proxy, plan, settings, dialers, admissions));
    let folder = hub.settings.borrow().state.dir.as_str().to_owned();
    let access = Access::open(&folder, passwords).unwrap();
    Control::new(hub, access, sources, 1, None, loaded, (Box::new(NoPorts), system))
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One operator with a candidate.
struct Operator {
    control: Rc<Control>,
    updating: Rc<Updating>,
    candidate: Candidate,
    by: Actor,
}

impl Operator {
    /// The admin of a gateway with these settings.
    fn of(sources: Sources) -> Self {
        let updating = Rc::new(Updating::default());
        let control = control_with(sources, updating.clone());
        Self { control, updating, candidate: Candidate::default(), by: ADMIN }
    }

    /// Sends a request; returns the answer's lines, the last with its end.
    async fn ask(&mut self, line: &str) -> Vec<String> {
        let request = match Request::parse(line).unwrap() {
            Request::Reset { .. } => Request::Reset { sure: "reset" },
            request => request,
        };
        let mut lines = Vec::new();
        let mut out = |item: Item<'_>| {
            lines.push(match item {
                Item::Text(text) => text.to_owned(),
                Item::Value { key, value, origin, .. } => format!("{key} = {value} ({origin})"),
                Item::Change { key, from, to, applies } => {
                    format!("{key}: {from} -> {to} {applies:?}")
                }
                Item::Problem { key, text } => format!("problem {key}: {text}"),
                Item::Provisional { seconds_left } => format!("confirm within {seconds_left} s"),
                other => format!("{other:?}"),
            });
        };
        let answer = self.control.ask(&self.by, &mut self.candidate, &request, &mut out).await;
        lines.push(match answer {
            Ok(()) => "done".to_owned(),
            Err(refused) => format!("refused: {refused}"),
        });
        lines
    }

    async fn done(&mut self, line: &str) -> Vec<String> {
        let mut lines = self.ask(line).await;
        assert_eq!(lines.pop().unwrap(), "done", "{line}: {lines:?}");
        lines
    }

    async fn refused(&mut self, line: &str) -> String {
        let lines = self.ask(line).await;
        let last = lines.last().unwrap();
        last.strip_prefix("refused: ").unwrap_or_else(|| panic!("{line}: {lines:?}")).to_owned()
    }

    /// Shows one key: its value and origin.
    async fn value(&mut self, key: &str) -> String {
        let line = self.done(&format!("show {key}")).await.remove(0);
        line.strip_prefix(&format!("{key} = ")).unwrap().to_owned()
    }
}

fn conversation(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).unwrap().block_on(test);
}

#[test]
fn a_commit_is_kept_and_the_file_counts_once_it_is_edited() {
    conversation(async {
        let place = Place::new("kept");
        let mut operator = place.start();
        assert_eq!(operator.value("difficulty.start").await, "65536 (default)");
        assert_eq!(operator.value("miners.max").await, "4 (file, line 9)");
        operator.done("set difficulty.start 1024").await;
        assert_eq!(operator.value("difficulty.start").await, "65536 (not committed)");
        let change = "difficulty.start: 65536 -> 1024 Live";
        assert_eq!(operator.done("diff").await, [change]);
        assert_eq!(operator.done("commit").await, [change]);
        assert_eq!(operator.value("difficulty.start").await, "1024 (stored)");
        assert_eq!(operator.value("miners.max").await, "4 (file, line 9)");

        let mut next = place.start();
        assert_eq!(next.value("difficulty.start").await, "1024 (stored)", "after a restart");
        next.control.reload().await;
        assert_eq!(next.value("difficulty.start").await, "1024 (stored)", "and after SIGHUP");

        place.write(&format!("{POOL}{MORE}blocked_secs = 20\n"));
        let mut edited = place.start();
        assert_eq!(edited.value("difficulty.start").await, "65536 (default)", "never mixed");
        assert_eq!(edited.value("miners.blocked_secs").await, "20 (file, line 10)");
        place.write(&format!("{POOL}{MORE}"));
        let mut back = place.start();
        let text = "what the file was edited away from does not come back with the old text";
        assert_eq!(back.value("difficulty.start").await, "65536 (default)", "{text}");
    });
}

#[test]
fn a_reload_of_an_edited_file_forgets_the_commit_and_what_waits() {
    conversation(async {
        let place = Place::new("reload");
        let mut operator = place.start();
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
        operator.done("set pool.1.user other").await;
        assert_eq!(operator.done("commit").await.last().unwrap(), "confirm within 120 s");
        operator.control.reload().await;
        assert_eq!(operator.value("pool.1.user").await, "other (stored)", "the file is as it was");

        place.write("[miners]\nmax = 0\n");
        operator.control.reload().await;
        assert_eq!(operator.value("pool.1.user").await, "other (stored)", "a bad file");
        assert!(operator.control.seconds_left().is_some());

        place.write(&format!("{POOL}{MORE}blocked_secs = 20\n"));
        operator.control.reload().await;
        assert_eq!(operator.value("pool.1.user").await, "farm (file, line 3)");
        assert_eq!(operator.value("difficulty.start").await, "65536 (default)");
        assert_eq!(operator.control.seconds_left(), None);
        assert_eq!(operator.refused("confirm").await, "no commit waits to be confirmed");
        let audit = operator.done("audit").await.join("\n");
        assert!(audit.contains("file: reload: refused"), "{audit}");
        assert!(audit.contains("file: the settings file was edited: it counts"), "{audit}");
    });
}

#[test]
fn f78_what_may_cut_off_is_stored_only_when_it_is_confirmed() {
    conversation(async {
        let place = Place::new("provisional");
        let mut operator = place.start();
        operator.done("set pool.1.user other").await;
        let said = operator.done("commit").await;
        assert_eq!(said, ["pool.1.user: farm -> other Provisional", "confirm within 120 s"]);
        assert_eq!(operator.value("pool.1.user").await, "other (stored)");
        let wait = "a commit waits to be confirmed; confirm or rollback comes first";
        operator.done("set miners.blocked_secs 9").await;
        assert_eq!(operator.refused("commit").await, wait);

        let mut restarted = place.start();
        assert_eq!(restarted.value("pool.1.user").await, "farm (file, line 3)", "power was cut");

        operator.done("confirm").await;
        let mut restarted = place.start();
        assert_eq!(restarted.value("pool.1.user").await, "other (stored)");
    });
}

#[test]
fn f78_nobody_confirms_and_all_is_as_before() {
    conversation(async {
        let place = Place::new("unconfirmed");
        let mut operator = place.start();
        operator.control.confirm_wait.set(Duration::ZERO);
        operator.done("set pool.1.user other").await;
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
        let mut changes = operator.control.changes();
        changes.changed().await.unwrap();
        assert_eq!(operator.value("pool.1.user").await, "farm (file, line 3)");
        assert_eq!(operator.value("difficulty.start").await, "65536 (default)", "as a whole");
        assert_eq!(operator.control.seconds_left(), None);
        let audit = operator.done("audit").await;
        let last = audit.last().unwrap();
        assert!(last.contains("gateway: the last commit was not confirmed in time"), "{audit:?}");
        assert!(!place.state("settings.1").exists(), "nothing of it was stored");
    });
}

#[test]
fn f78_a_roll_back_takes_the_waiting_commit_back_at_once() {
    conversation(async {
        let place = Place::new("roll-back");
        let mut operator = place.start();
        operator.done("set pool.2.url stratum+tcp://127.0.0.1:2").await;
        operator.done("set pool.2.user other").await;
        operator.done("commit").await;
        assert_eq!(operator.control.hub.dialers.borrow().len(), 2);
        operator.done("rollback").await;
        assert_eq!(operator.control.hub.dialers.borrow().len(), 1);
        assert_eq!(operator.refused("rollback").await, "there is nothing to take back");
    });
}

#[test]
fn f78_what_cannot_take_effect_changes_nothing() {
    conversation(async {
        let place = Place::new("impossible");
        let ca = place.folder.join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        fs::write(&ca, certificate.pem()).unwrap();
        let pool = POOL.replace("tcp", "ssl");
        place.write(&format!("{pool}ca_file = {:?}\n{MORE}", ca.to_str().unwrap()));
        let mut operator = place.start();
        let before = operator.done("show").await;

        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        operator.done(&format!("set listen.addresses {address}")).await;
        operator.done("set difficulty.start 1024").await;
        let text = operator.refused("commit").await;
        assert!(text.contains(&address.to_string()), "{text}");
        operator.done("rollback").await;
        assert_eq!(operator.done("show").await, before, "a port that is taken");

        fs::remove_file(&ca).unwrap();
        operator.done("set pool.1.url stratum+ssl://127.0.0.1:2").await;
        operator.done("set difficulty.start 1024").await;
        let text = operator.refused("commit").await;
        assert!(text.contains("ca_file"), "{text}");
        operator.done("rollback").await;
        assert_eq!(operator.done("show").await, before, "certificates that are gone");
        assert_eq!(operator.control.seconds_left(), None);
        assert!(!place.state("settings.1").exists());
    });
}

#[test]
fn f77_a_commit_lists_all_problems_and_changes_nothing() {
    conversation(async {
        let place = Place::new("problems");
        let mut operator = place.start();
        operator.done("set difficulty.min 4096").await;
        operator.done("set difficulty.max 2048").await;
        operator.done("set pool.2.user lonely").await;
        let problems = [
            "problem pool.2.url: Pool 2, URL (pool.2.url): got nothing, allowed an address, since every pool \
             needs one",
            "problem difficulty.min: Difficulty, Min (difficulty.min): got 4096, allowed at most difficulty.max",
        ];
        let said = operator.ask("commit").await;
        assert!(
            problems.iter().all(|problem| said
                .iter()
                .any(|line| line.contains(problem.split_once(": ").unwrap().1))),
            "{said:?}"
        );
        assert_eq!(said.last().unwrap(), "refused: nothing was changed; every problem is listed");
        assert_eq!(operator.value("difficulty.max").await, "4398046511104 (not committed)");
    });
}

#[test]
fn f79_no_path_is_set_by_a_commit() {
    conversation(async {
        let place = Place::new("paths");
        let mut operator = place.start();
        for key in ["state.dir", "pool.1.ca_file"] {
            let text = operator.refused(&format!("set {key} /etc/passwd")).await;
            let end = "is set in the file, the environment or by a flag, since it names a path";
            let title = Key::parse(key).unwrap().title();
            assert_eq!(text, format!("{title} {end}"));
            assert_eq!(operator.refused(&format!("unset {key}")).await, text);
        }
        for value in ["/dev/ttyS0", "../ttyS0"] {
            let text = operator.refused(&format!("set serial.device {value}")).await;
            assert!(text.starts_with("Serial, Device (serial.device): got"), "{text}");
        }
    });
}

/// Environment and flags win: an edit of such a key is refused with the remedy.
#[test]
fn f77_what_the_environment_or_a_flag_sets_is_refused_where_it_is_typed() {
    conversation(async {
        let mut place = Place::new("environment");
        place.set("LOKA_DIFFICULTY__START", "512");
        place.set("LOKA_POOL__2__URL", "stratum+tcp://127.0.0.1:2");
        place.set("LOKA_POOL__2__USER", "second");
        let sources = Sources {
            flags: vec![("--status", "status.address", "off".to_owned())],
            ..place.sources()
        };
        let mut operator = Operator::of(sources);
        let value = "512 (environment LOKA_DIFFICULTY__START)";
        assert_eq!(operator.value("difficulty.start").await, value);
        let end = "which wins over what is committed; change or remove it where the gateway is \
                   started (its service file, uci on OpenWrt), and start it again";
        let start = "Difficulty, Start (difficulty.start)";
        let by = "the environment variable LOKA_DIFFICULTY__START";
        for line in ["set difficulty.start 1024", "unset difficulty.start"] {
            assert_eq!(operator.refused(line).await, format!("{start} is set by {by}, {end}"));
        }
        let by = "Status, Address (status.address) is set by the flag --status";
        let text = operator.refused("set status.address 127.0.0.1:9").await;
        assert_eq!(text, format!("{by}, {end}"));
        // Another number would belong to another pool.
        for line in ["unset pool.2", "unset pool.1"] {
            let text = operator.refused(line).await;
            assert!(text.contains("is set by the environment variable LOKA_POOL__2__U"), "{text}");
        }
        // A value in use is accepted, and so are keys without an override.
        operator.done("set difficulty.start 512").await;
        operator.done("set status.address off").await;
        operator.done("set pool.1.user other").await;
        operator.done("commit").await;
        operator.done("confirm").await;
        assert_eq!(operator.value("difficulty.start").await, value);
        place.environment.retain(|(name, _)| name == "LOKA_STATE__DIR");
        assert_eq!(place.start().value("difficulty.start").await, "512 (stored)");
    });
}

#[test]
fn f77_a_pool_that_a_flag_names_is_no_commits() {
    conversation(async {
        let place = Place::new("flag-pool");
        let flags = [("--pool", "pool.1.url", "stratum+tcp://127.0.0.1:3".to_owned())];
        let user = ("--user", "pool.1.user", "flagged".to_owned());
        let flags = flags.into_iter().chain([user]).collect();
        let sources = Sources { flags, replaces_pools: true, ..place.sources() };
        let mut operator = Operator::of(sources);
        for key in ["pool.1.url", "pool.1.password", "pool.2.url", "pool.4.goal"] {
            let text = operator.refused(&format!("set {key} other")).await;
            assert!(text.contains(&format!("({key}) is set by the flag --pool")), "{text}");
        }
        assert_eq!(operator.value("pool.1.goal").await, " (flag --pool)");
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
    });
}

#[test]
fn what_waits_for_the_next_start_is_said_with_the_commit() {
    conversation(async {
        let place = Place::new("restart");
        let mut operator = place.start();
        operator.done("set miners.max 3").await;
        assert_eq!(operator.done("diff").await, ["miners.max: 4 -> 3 Restart"]);
        let said = operator.done("commit").await;
        assert_eq!(said[1..], ["miners.max takes effect at the next start"]);
        assert_eq!(place.start().control.hub.plan.miners, 3);
    });
}

#[test]
fn without_a_state_dir_a_commit_says_that_it_ends_with_the_process() {
    conversation(async {
        let place = Place::forgetful("forgetful");
        let mut operator = place.start();
        operator.done("set difficulty.start 1024").await;
        let said = operator.done("commit").await;
        assert!(said[1].contains("until the next start only: no state.dir is set"), "{said:?}");
        operator.control.reload().await;
        assert_eq!(operator.value("difficulty.start").await, "1024 (in use, not stored)");
        assert_eq!(place.start().value("difficulty.start").await, "65536 (default)");
    });
}

#[test]
fn f69_a_disk_that_takes_nothing_does_not_keep_a_commit_from_use_and_says_so() {
    conversation(async {
        let place = Place::new("full");
        let mut operator = place.start();
        fs::create_dir(place.state("settings.new")).unwrap();
        operator.done("set difficulty.start 1024").await;
        let said = operator.done("commit").await;
        assert!(said[1].contains("it cannot be written"), "{said:?}");
        assert_eq!(operator.value("difficulty.start").await, "1024 (in use, not stored)");
    });
}

#[test]
fn f68_a_storm_of_commits_does_not_wear_the_flash_out() {
    conversation(async {
        let place = Place::new("storm");
        let mut operator = place.start();
        let mut refused = 0;
        for number in 0..4 * COMMITS_BURST_MAX {
            operator.done(&format!("set difficulty.start {}", 2048 + number)).await;
            let said = operator.ask("commit").await;
            if said.last().unwrap().contains("commit again later") {
                refused += 1;
            }
        }
        assert_eq!(refused, 3 * COMMITS_BURST_MAX);
        let report = operator.control.report();
        assert_eq!(report.flash.settings_writes, u64::from(COMMITS_BURST_MAX));
        assert!(report.flash.bytes > report.flash.settings_writes * 100);
    });
}

#[test]
fn stored_settings_that_are_no_longer_good_leave_the_file_to_count() {
    conversation(async {
        let mut place = Place::new("unusable");
        let mut operator = place.start();
        operator.done("set miners.max 2000").await;
        operator.done("commit").await;
        place.set("LOKA_BOARD__PROFILE", "virt-aarch64");
        let mut next = place.start();
        assert_eq!(next.value("miners.max").await, "4 (file, line 9)");
        place.environment.pop();
        let text = "it was left where it is, for the version that takes it";
        assert_eq!(place.start().value("miners.max").await, "2000 (stored)", "{text}");
    });
}

#[test]
fn a_reset_forgets_settings_accounts_and_the_audit_log_but_no_block() {
    conversation(async {
        let place = Place::new("reset");
        let mut operator = place.start();
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
        for name in ["accounts.0", "accounts.1", "blocks.1", "gateway.0"] {
            fs::write(place.state(name), "kept").unwrap();
        }
        assert!(place.state("settings.1").exists());
        operator.done("reset").await;
        assert_eq!(operator.value("difficulty.start").await, "65536 (default)", "at once");
        assert!(thread::finish(Duration::from_secs(60)));
        let mut left: Vec<_> = fs::read_dir(place.folder.join("state"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["audit.0", "blocks.1", "gateway.0", "lock"]);
        let audit = operator.done("audit").await;
        assert_eq!(audit.len(), 1, "{audit:?}");
        assert!(audit[0].ends_with("admin serial line: reset: done"), "{audit:?}");
        assert_eq!(place.start().value("difficulty.start").await, "65536 (default)");
    });
}

#[test]
fn a_button_resets_at_the_start() {
    conversation(async {
        let place = Place::new("button");
        let mut operator = place.start();
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
        fs::write(place.state("factory-reset"), "").unwrap();
        let mut next = place.start();
        assert_eq!(next.value("difficulty.start").await, "65536 (default)");
        assert!(!place.state("factory-reset").exists());
        let audit = next.done("audit").await;
        assert!(audit[0].ends_with("button: factory reset: done"), "{audit:?}");
    });
}

#[test]
fn f87_the_audit_log_says_who_did_what_and_no_secret() {
    conversation(async {
        let place = Place::new("audit");
        let mut operator = place.start();
        operator.by.from = Whence::Web("192.0.2.7".parse().unwrap());
        operator.done("set pool.1.password hunter2").await;
        operator.refused("set pool.1.pasword hunter2").await;
        operator.done("commit").await;
        operator.done("confirm").await;
        operator.done("show pool.1.password").await;
        operator.by.role = Role::Viewer;
        assert_eq!(operator.refused("rollback").await, "this takes the role operator");
        assert_eq!(operator.refused("audit").await, "this takes the role admin");
        operator.by.role = Role::Admin;
        let audit = place.start().done("audit 10").await;
        let ends = [
            "admin 192.0.2.7: set pool.1.password: done",
            "admin 192.0.2.7: commit pool.1.password: done",
            "admin 192.0.2.7: confirm: done",
            "viewer 192.0.2.7: rollback: this takes the role operator",
            "viewer 192.0.2.7: audit: this takes the role admin",
        ];
        assert_eq!(audit.len(), ends.len(), "{audit:?}");
        for (line, end) in audit.iter().zip(ends) {
            assert!(line.ends_with(end), "{line}");
        }
    });
}

#[test]
fn f78_an_update_and_a_commit_that_waits_exclude_each_other() {
    conversation(async {
        let place = Place::new("update");
        let mut operator = place.start();
        assert!(operator.control.may_update().is_ok());
        operator.done("set pool.1.user other").await;
        operator.done("commit").await;
        let Err(Refused::Conflict(text)) = operator.control.may_update() else {
            panic!("the restart would take the commit back, unsaid")
        };
        assert!(text.contains("confirm or rollback comes first"), "{text}");
        operator.done("confirm").await;
        assert!(operator.control.may_update().is_ok());
        operator.updating.is_under_way.set(true);
        operator.done("set difficulty.start 2048").await;
        let text = operator.refused("commit").await;
        assert!(text.starts_with("an update of the system is under way"), "{text}");
        operator.updating.is_under_way.set(false);
        operator.done("commit").await;
    });
}

/// The problem text of a password that would go to another host.
const ELSEWHERE: &str = "Pool 1, Password (pool.1.password): was given for 127.0.0.1, and would \
                         go to evil.example; give it again in the same change, or unset \
                         pool.1.password";

#[test]
fn f99_a_stored_password_goes_to_no_other_host_by_commit_or_trial() {
    conversation(async {
        let place = Place::new("bound");
        place.write(&format!("{POOL}password = \"hunter22\"\n{MORE}"));
        let mut operator = place.start();
        operator.by.role = Role::Operator;
        operator.done("set pool.1.url stratum+tcp://evil.example:1").await;
        let problem = format!("problem pool.1.password: {ELSEWHERE}");
        assert!(operator.done("diff").await.contains(&problem));
        let said = operator.ask("commit").await;
        let end = "refused: nothing was changed; every problem is listed";
        assert_eq!(said, [problem.as_str(), end]);
        for pool in ["pool.1", "stratum+tcp://evil.example:1"] {
            assert_eq!(operator.refused(&format!("test {pool}")).await, ELSEWHERE);
        }
        // A second way: commit the address first, then the rest.
        operator.done("rollback").await;
        operator.done("set pool.2.url stratum+tcp://evil.example:1").await;
        operator.done("set pool.2.user farm").await;
        operator.done("commit").await;
        operator.done("confirm").await;
        let stored = operator.control.base();
        assert_eq!(stored.pools[1].password.expose(), "x", "what every pool gets");
        // An operator who knows the password gives it again or unsets it.
        operator.done("set pool.1.url stratum+tcp://evil.example:1").await;
        operator.done("set pool.1.password hunter22").await;
        operator.done("commit").await;
        operator.done("rollback").await;
        operator.done("set pool.1.url stratum+tcp://evil.example:1").await;
        operator.done("unset pool.1.password").await;
        operator.done("commit").await;
        operator.done("confirm").await;
        assert_eq!(operator.control.base().pools[0].password.expose(), "x");
    });
}

#[test]
fn f99_a_password_of_the_environment_stays_with_its_host_too() {
    conversation(async {
        let mut place = Place::new("bound-environment");
        place.set("LOKA_POOL__1__PASSWORD", "hunter22");
        let mut operator = place.start();
        operator.done("set pool.1.url stratum+tcp://evil.example:1").await;
        assert_eq!(operator.refused("test pool.1").await, ELSEWHERE);
        let said = operator.ask("commit").await;
        assert_eq!(said[0], format!("problem pool.1.password: {ELSEWHERE}"), "{said:?}");
        // A new password in the commit would not count: the environment overrides it.
        let said = operator.refused("set pool.1.password another").await;
        assert!(said.contains("LOKA_POOL__1__PASSWORD") && !said.contains("hunter22"), "{said}");
        operator.done("rollback").await;
        operator.done("set difficulty.start 1024").await;
        operator.done("commit").await;
    });
}

#[test]
fn a_gateway_without_a_pool_is_set_up_while_it_runs() {
    conversation(async {
        let place = Place::new("set-up");
        place.write(MORE);
        let mut operator = place.start();
        assert!(operator.control.report().warnings[0].contains("set-up mode"));
        operator.done("set pool.1.url stratum+tcp://127.0.0.1:1").await;
        operator.done("set pool.1.user farm").await;
        let said = operator.done("commit").await;
        assert_eq!(said.last().unwrap(), "confirm within 120 s");
        operator.done("confirm").await;
        let hub = &operator.control.hub;
        assert!(hub.proxy.borrow_mut().poll_dial(clock::now()).is_some(), "the pool is dialled");
        assert_eq!(place.start().value("pool.1.user").await, "farm (stored)");
    });
}

#[test]
fn status_miners_and_log_are_lines_for_whoever_may_look() {
    conversation(async {
        let place = Place::new("looks");
        let mut operator = place.start();
        operator.by.role = Role::Viewer;
        let hub = operator.control.hub.clone();
        let peer = std::net::Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped().octets();
        for _ in 0..3 {
            hub.proxy.borrow_mut().handle_connect(peer, clock::now()).unwrap();
        }
        let status = operator.done("status").await;
        assert!(status[0].starts_with("NOT READY, version"), "{status:?}");
        let miners = operator.done("miners 1").await;
        assert_eq!(miners.len(), 2);
        assert!(miners[0].contains("peer: \"192.0.2.9\""), "{miners:?}");
        log::info(Kind::Settings, format_args!("something to be read"));
        let lines = operator.done("log 50").await;
        assert!(lines.iter().any(|line| line.ends_with("INFO something to be read")), "{lines:?}");
    });
}

#[test]
fn origins_are_numbers_that_stay() {
    let mut buffer = [0; 64];
    for (whence, number) in [
        (Whence::Serial, 0),
        (Whence::Web(IpAddr::from([192, 0, 2, 1])), 1),
        (Whence::File, 2),
        (Whence::Button, 3),
        (Whence::Gateway, 4),
    ] {
        assert_eq!(postcard::to_slice(&whence, &mut buffer).unwrap()[0], number);
    }
    assert_eq!(Origin::Stored.to_string(), "stored");
}
