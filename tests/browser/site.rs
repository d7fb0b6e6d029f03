//! A gateway at its first boot, in its factory state.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::client::{Client, code_of};
use super::clock::Clock;
use super::gateway::{Gateway, Pool, program_with_state};

/// Admin's password in tests.
pub const PASSWORD: &str = "correct horse battery";

/// Numbers of folders.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A gateway before its set-up.
pub struct Site {
    /// The process.
    pub gateway: Gateway,
    /// The address of its page, without TLS.
    pub page: String,
    /// The address of its page over TLS.
    pub secure: String,
    /// The fingerprint of that page's certificate, from the log.
    pub fingerprint: String,
    /// The address for miners.
    pub listen: String,
    /// The set-up code that it printed.
    pub code: String,
    /// The folder of its settings file and state.
    pub folder: PathBuf,
}

/// Returns a loopback address without a listener.
pub fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("it is bound").to_string()
}

impl Site {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        Self::begin(|_| true).expect("nothing is in the way")
    }

    /// Starts it with adjustable clocks; `None` if this machine cannot.
    #[track_caller]
    pub fn with_clock() -> Option<(Self, Clock)> {
        let mut clock = None;
        let site = Self::begin(|command| {
            let folder = PathBuf::from(command.get_current_dir().expect("its folder"));
            clock = Clock::new(&folder);
            command.envs(clock.iter().flat_map(Clock::environment));
            clock.is_some()
        });
        site.zip(clock)
    }

    /// Starts it in its own folder, after `prepare` has adjusted the command; not if `prepare`
    /// refuses.
    #[track_caller]
    fn begin(prepare: impl FnOnce(&mut Command) -> bool) -> Option<Self> {
        let name = format!("site-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("target can be written");
        let listen = free_port();
        let file = folder.join("loka.toml");
        let text = format!(
            "[listen]\naddresses = [\"{listen}\"]\n[status]\naddress = \"127.0.0.1:0\"\n\
             [web]\naddress = \"127.0.0.1:0\"\n[state]\ndir = \"{}\"\n",
            folder.join("state").display()
        );
        fs::write(&file, text).expect("target can be written");
        let mut command = program_with_state();
        command.args(["run", "--config"]).arg(&file).current_dir(&folder);
        if !prepare(&mut command) {
            crate::skips::skipped("no C compiler, or a program that loads no libraries");
            return None;
        }
        let mut gateway = Gateway::spawn(command);
        gateway.wait_for_line("set-up code: ");
        let code = code_of(&gateway);
        let page = format!("http://{}/", gateway.status.expect("the page is on"));
        let mut after = |part: &str| {
            let line = gateway.wait_for_line(part);
            line.split_once(part).map(|(_, rest)| rest.to_owned()).unwrap_or_default()
        };
        let fingerprint = after("fingerprint of the page: ");
        let secure = after("page at ") + "/";
        Some(Self { gateway, page, secure, fingerprint, listen, code, folder })
    }

    /// Starts it and sets it up for a pool that accepts every share.
    #[track_caller]
    pub fn set_up() -> (Self, Pool) {
        let site = Self::start();
        let pool = site.use_pool();
        (site, pool)
    }

    /// Sets it up for a pool that accepts every share.
    #[track_caller]
    pub fn use_pool(&self) -> Pool {
        let pool = Pool::start("abcd", 8);
        let mut client = Client::at(self.gateway.status.expect("the page is on"));
        let url = format!("stratum+tcp://{}", pool.address);
        let edits = json!([
            {"key": "pool.1.url", "value": url},
            {"key": "pool.1.user", "value": "farm.gateway"},
        ]);
        for (path, body) in [
            ("session", json!({"code": self.code})),
            ("password", json!({"role": "admin", "word": PASSWORD})),
            ("commit", json!({"edits": edits})),
            ("confirm", json!({})),
        ] {
            let reply = client.post(&format!("/api/v1/{path}"), body);
            assert_eq!(reply.code, 200, "{path}: {}", reply.raw);
        }
        pool
    }

    /// Logs admin in over the API.
    #[track_caller]
    pub fn admin(&self) -> Client {
        let mut client = Client::at(self.gateway.status.expect("the page is on"));
        let reply = client.log_in("admin", PASSWORD);
        assert_eq!(reply.code, 200, "{}", reply.body);
        client
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
