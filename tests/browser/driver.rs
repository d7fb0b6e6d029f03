//! A browser driven by a test: Debian's Chromium through its own driver, by WebDriver (JSON over
//! HTTP on loopback).
//!
//! A person's actions are counted: a click, or a text entered into a field, is one interaction.
//! Reads are not counted.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::gateway::PATIENCE;

/// Keys of the keyboard, by WebDriver's names.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";

/// WebDriver's key for the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Folder numbers, so that each browser of a test program has its own folder.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The options of a browser.
#[derive(Clone, Copy)]
pub struct Kind {
    /// It runs scripts.
    pub scripts: bool,
    /// Size of its window, in pixels.
    pub size: (u32, u32),
}

/// A window of a laptop.
pub const LAPTOP: Kind = Kind { scripts: true, size: (1000, 800) };

/// A small telephone.
pub const TELEPHONE: Kind = Kind { scripts: true, size: (320, 640) };

/// A browser, until it is dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    /// The path of the session.
    session: String,
    profile: PathBuf,
    /// Number of a person's actions so far.
    pub interactions: u32,
}

/// The driver's errors for an element that is being redrawn.
const NOT_YET: [&str; 2] = ["stale element", "element not interactable"];

impl Browser {
    /// Starts a browser.
    #[track_caller]
    pub fn start(kind: Kind) -> Self {
        let name =
            format!("browser-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Another program may take the free port before the driver listens.
        let (driver, address) = (0..5).find_map(|_| start_driver()).expect("chromedriver starts");
        let mut browser =
            Self { driver, address, session: String::new(), profile, interactions: 0 };
        let answer = browser.ask("POST", "/session", &browser.capabilities(kind));
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        browser.session = format!("/session/{id}");
        let (width, height) = kind.size;
        browser.cdp(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        if !kind.scripts {
            browser.cdp("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
        }
        browser
    }

    fn capabilities(&self, kind: Kind) -> Value {
        let mut args: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en-GB",
        ]
        .map(str::to_owned)
        .to_vec();
        let (width, height) = kind.size;
        args.push(format!("--window-size={width},{height}"));
        args.push(format!("--user-data-dir={}", self.profile.display()));
        json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}})
    }

    /// Sends a command to the driver and returns the value of its answer.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("host: {}\r\n", self.address);
        let length = body.len();
        let session = &self.session;
        let request = format!(
            "{method} {session}{path} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}"
        );
        let (is_ok, answer) =
            exchange(self.address, &request).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = answer["value"].clone();
        if is_ok { Ok(value) } else { Err(value["message"].to_string()) }
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({"url": url}));
    }

    /// Reloads the page.
    #[track_caller]
    pub fn reload(&self) {
        self.ask("POST", "/refresh", &json!({}));
    }

    /// Sends a command in the browser's own protocol.
    #[track_caller]
    pub fn cdp(&self, command: &str, params: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Cuts the page off from its gateway, or lets it through again.
    #[track_caller]
    pub fn cut_off(&self, is_cut: bool) {
        let conditions = json!({
            "offline": is_cut,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        });
        self.cdp("Network.enable", &json!({}));
        self.cdp("Network.emulateNetworkConditions", &conditions);
    }

    /// Delays every answer of the gateway by this time, as over a slow link. This shows the page's
    /// behaviour between request and answer.
    #[track_caller]
    pub fn slow_down(&self, latency: Duration) {
        let conditions = json!({
            "offline": false,
            "latency": latency.as_millis() as u64,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        });
        self.cdp("Network.enable", &json!({}));
        self.cdp("Network.emulateNetworkConditions", &conditions);
    }

    /// Runs a script in the page and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Returns the new messages of the page's console since the last call.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let lines = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let lines = lines.as_array().expect("a list").iter();
        lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits for a visible element of a CSS selector and returns it.
    #[track_caller]
    pub fn find(&self, css: &str) -> String {
        self.wait(&format!("{css} to be seen"), || {
            let body = json!({"using": "css selector", "value": css});
            let element = self.try_ask("POST", "/element", &body).ok()?;
            let id = element[ELEMENT].as_str()?.to_owned();
            let is_seen = self.try_ask("GET", &format!("/element/{id}/displayed"), &Value::Null);
            (is_seen == Ok(Value::Bool(true))).then_some(id)
        })
    }

    /// Returns whether an element is visible now.
    pub fn sees(&self, css: &str) -> bool {
        let script = format!(
            "const e = document.querySelector({css:?}); \
                              return !!e && e.getClientRects().length > 0"
        );
        self.run(&script) == true
    }

    /// Returns the visible text of an element.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let id = self.find(css);
        let text = self.ask("GET", &format!("/element/{id}/text"), &Value::Null);
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Returns the text of an element, visible or not; empty without the element.
    pub fn text_of(&self, css: &str) -> String {
        let text = self.run(&format!("return document.querySelector({css:?})?.innerText"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element's text contains `part`, and returns the text.
    #[track_caller]
    pub fn wait_for_text(&self, css: &str, part: &str) -> String {
        let script = format!(
            "return [...document.querySelectorAll({css:?})]\
                              .map((e) => e.innerText).join('\\n')"
        );
        self.wait(&format!("{part:?} in {css}"), || {
            let text = self.run(&script).as_str()?.to_owned();
            text.contains(part).then_some(text)
        })
    }

    /// Waits for a condition; prints the page if it does not come.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..PATIENCE.as_millis() / 25 {
            if let Some(value) = look() {
                return value;
            }
            thread::sleep(Duration::from_millis(25));
        }
        let text = self.try_ask("GET", "/source", &Value::Null).unwrap_or_default();
        panic!("{what} did not come: {text}");
    }

    /// Clicks an element.
    #[track_caller]
    pub fn click(&mut self, css: &str) {
        self.interactions += 1;
        self.on_element(css, |id| {
            // An element under a bar is scrolled into view first.
            let script =
                format!("document.querySelector({css:?})?.scrollIntoView({{ block: 'center' }})");
            self.run(&script);
            self.try_ask("POST", &format!("/element/{id}/click"), &json!({}))
        });
    }

    /// Runs an action on an element, and retries if the page redraws the element or has not shown
    /// it yet.
    #[track_caller]
    fn on_element(&self, css: &str, work: impl Fn(&str) -> Result<Value, String>) {
        self.wait(&format!("{css} to stay"), || match work(&self.find(css)) {
            Ok(_) => Some(()),
            Err(error) if NOT_YET.iter().any(|part| error.contains(part)) => None,
            Err(error) => panic!("{css}: {error}"),
        });
    }

    /// Replaces the text of a field.
    #[track_caller]
    pub fn fill(&mut self, css: &str, text: &str) {
        self.interactions += 1;
        self.on_element(css, |id| {
            self.try_ask("POST", &format!("/element/{id}/clear"), &json!({}))?;
            self.try_ask("POST", &format!("/element/{id}/value"), &json!({"text": text}))
        });
    }

    /// Chooses a file in a file field.
    #[track_caller]
    pub fn choose(&mut self, css: &str, file: &Path) {
        let id = self.find(css);
        self.interactions += 1;
        self.ask("POST", &format!("/element/{id}/value"), &json!({"text": file}));
    }

    /// Sets the folder of downloads.
    #[track_caller]
    pub fn download_to(&self, folder: &Path) {
        let params = json!({"behavior": "allow", "downloadPath": folder});
        self.cdp("Browser.setDownloadBehavior", &params);
    }

    /// Types into the focused element; a word is one interaction, as is a key such as [`ENTER`].
    #[track_caller]
    pub fn press(&mut self, text: &str) {
        self.interactions += 1;
        let strokes: Vec<Value> = text
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.ask("POST", "/actions", &actions);
    }

    /// Returns the id of the element that has the focus.
    #[track_caller]
    pub fn focus(&self) -> String {
        let id = self.run("return document.activeElement.id");
        id.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element has the focus.
    #[track_caller]
    pub fn wait_for_focus(&self, id: &str) {
        self.wait(&format!("focus on {id}"), || (self.focus() == id).then_some(()));
    }

    /// Presses Tab until an element has the focus.
    #[track_caller]
    pub fn tab_to(&mut self, id: &str) {
        for _ in 0..50 {
            if self.focus() == id {
                return;
            }
            self.press(TAB);
        }
        panic!("Tab does not reach {id}");
    }

    /// Saves a screenshot as `target/browser/NAME.png`.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let script = "await document.fonts.ready";
        let _ = self.try_ask("POST", "/execute/sync", &json!({"script": script, "args": []}));
        let value = self.ask("GET", "/screenshot", &Value::Null);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser");
        fs::create_dir_all(&folder).expect("target can be written");
        let bytes = decode(value.as_str().unwrap_or_default());
        fs::write(folder.join(format!("{name}.png")), bytes).expect("target can be written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_ask("DELETE", "", &Value::Null);
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.driver.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// Starts the driver at a free port; `None` if that fails.
fn start_driver() -> Option<(Child, SocketAddr)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // The browser is in the driver's group, so both end with it.
        .process_group(0)
        .spawn()
        .expect("chromedriver is installed; Debian's package is chromium-driver");
    let stdout = driver.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let Some(started) = lines.find(|line| line.contains("started successfully")) else {
        let _ = driver.wait();
        return None;
    };
    let port = started.rsplit(' ').next().unwrap_or_default().trim_end_matches('.');
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    // Its further output must not fill the pipe.
    thread::spawn(move || lines.for_each(drop));
    Some((driver, address))
}

/// Sends a request and returns whether it was answered with 200, and the body. The driver sends the
/// body's length, and always keeps the connection open.
fn exchange(address: SocketAddr, request: &str) -> io::Result<(bool, Vec<u8>)> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let is_ok = line.starts_with("HTTP/1.1 200");
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((is_ok, body))
}

/// Decodes the Base64 of a screenshot.
pub fn decode(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let Some(value) = LETTERS.iter().position(|known| *known == letter) else { continue };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
