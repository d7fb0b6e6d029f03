//! Installs the packages into their own root, starts the gateway, and removes the packages.
//!
//! The root is a folder with busybox in it; programs run there by `chroot`, so this needs root and
//! changes nothing on the machine. The end of the output lists the untested parts: no systemd runs
//! in the root, and Debian does not have OpenWrt's package manager.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contents, Format, Product, folder};
use crate::lab::{Pool, Process};
use crate::{debs, emulate, process, targets};

/// The triple of the machine that runs the trial.
const TRIPLE: &str = "x86_64-unknown-linux-musl";

/// The only file that a removed package may leave.
const SETTINGS: &str = "etc/loka-stratum/config.toml";

/// Programs for the packages' scripts, provided by busybox in the root.
const APPLETS: [&str; 11] =
    ["logger", "sh", "rm", "cat", "sleep", "kill", "grep", "timeout", "mkdir", "mv", "cp"];

/// The architecture of most OpenWrt routers; its busybox checks the scripts too.
const ROUTER: &str = "aarch64-unknown-linux-musl";

/// Replacements for OpenWrt's shell functions: each prints its call.
const OPENWRT_STUBS: &str = r#"
config_load() { :; }
config_get_bool() { eval "$1=\${OPTION_$3:-$4}"; }
config_get() { eval "$1=\${OPTION_$3:-}"; }
for name in open_instance close_instance set_param append_param send_signal add_reload_trigger; do
    eval "procd_$name() { echo \"$name \$*\"; }"
done
mkdir() { echo "mkdir $*"; }
chown() { echo "chown $*"; }
"#;

/// Number of healthy polls by the watchdog before the gateway is stopped: more than its limit of
/// failures.
const LOOKS_AT_A_GOOD_GATEWAY: usize = 4;

/// The number of SIGKILL.
const SIGKILL: i32 = 9;

/// A root folder that is removed on drop.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tests the packages for this machine's architecture, and the runnable parts of OpenWrt's.
///
/// # Errors
///
/// The failed step.
pub fn run() -> Result<(), String> {
    if process::output(process::command("id").arg("-u"))?.trim() != "0" {
        return Err("the trial runs in a root of its own by chroot, which needs root".to_owned());
    }
    let contents = Contents::read(&targets::one(TRIPLE)?)?;
    let target = targets::one(TRIPLE)?;
    for format in Format::ALL {
        for Product { name, bytes } in contents.package(&target, format)? {
            let path = folder().join(&name);
            let error = |error: std::io::Error| format!("{}: {error}", path.display());
            std::fs::create_dir_all(folder()).map_err(error)?;
            std::fs::write(&path, bytes).map_err(error)?;
            match format {
                Format::Deb => debian(&path)?,
                Format::Tar => tarball(&path)?,
                Format::Ipk => openwrt(&path)?,
            }
            println!("{name}: ok");
        }
    }
    println!("not run here: a unit under systemd, opkg, procd, uclient-fetch, the feed's Makefile");
    Ok(())
}

fn debian(package: &Path) -> Result<(), String> {
    let root = Root::new("deb")?;
    root.folder("var/lib/dpkg/info")?;
    root.folder("var/lib/dpkg/updates")?;
    root.write("var/lib/dpkg/status", "")?;
    let before = root.files()?;
    let dpkg = |arguments: &[&str]| {
        let mut command = process::command("dpkg");
        command.arg(format!("--root={}", root.0.display())).arg("--force-not-root");
        process::output(command.args(arguments)).map(|_| ())
    };
    dpkg(&["--install", &package.to_string_lossy()])?;
    verify_unit(&root, "/lib/systemd/system/loka-stratum.service")?;
    use_it(&root, "/usr/sbin/loka-stratum")?;
    dpkg(&["--remove", super::NAME])?;
    root.left_over("dpkg --remove", &before, &[SETTINGS, "var/lib/loka-stratum/"])?;
    dpkg(&["--purge", super::NAME])?;
    root.left_over("dpkg --purge", &before, &[])
}

fn tarball(package: &Path) -> Result<(), String> {
    let root = Root::new("tar")?;
    let before = root.files()?;
    let unpacked = Root::new("unpacked")?;
    let mut unpack = process::command("tar");
    process::output(unpack.arg("-xzf").arg(package).arg("-C").arg(&unpacked.0))?;
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = unpacked.0.join(name.trim_end_matches(".tar.gz"));
    let script = |script: &str, arguments: &[&str]| {
        let mut command = process::command("sh");
        command.arg(source.join(script)).args(arguments).env("DESTDIR", &root.0);
        process::output(&mut command).map(|_| ())
    };
    script("install.sh", &[])?;
    verify_unit(&root, "/etc/systemd/system/loka-stratum.service")?;
    use_it(&root, "/usr/local/sbin/loka-stratum")?;
    // Existing settings stay unchanged.
    script("install.sh", &[])?;
    if !root.read(SETTINGS)?.contains("[[pool]]\nurl") {
        return Err("install.sh: it replaced the settings".to_owned());
    }
    script("uninstall.sh", &[])?;
    root.left_over("uninstall.sh", &before, &[SETTINGS, "var/lib/loka-stratum/"])?;
    script("uninstall.sh", &["--purge"])?;
    root.left_over("uninstall.sh --purge", &before, &[])
}

/// Unpacks an ipk, runs its scripts against the replacements, and lets its watchdog end a stopped
/// gateway.
fn openwrt(package: &Path) -> Result<(), String> {
    let root = Root::new("ipk")?;
    root.folder("outer")?;
    let outer = root.0.join("outer");
    let unpack = |archive: &Path, to: &Path| {
        let mut tar = process::command("tar");
        process::output(tar.arg("-xzf").arg(archive).arg("-C").arg(to)).map(|_| ())
    };
    unpack(package, &outer)?;
    if root.read("outer/debian-binary")? != "2.0\n" {
        return Err("ipk: debian-binary is not 2.0".to_owned());
    }
    root.folder("outer/control")?;
    unpack(&outer.join("control.tar.gz"), &outer.join("control"))?;
    unpack(&outer.join("data.tar.gz"), &root.0)?;
    root.write("stubs", OPENWRT_STUBS)?;
    scripts(&|| root.chroot("/bin/sh"), "")?;
    let router = targets::one(ROUTER)?;
    let busybox = debs::unpacked("busybox-static:arm64", "busybox-arm64", false)?;
    let mut words = emulate::emulator(&router)?;
    words.push(busybox.join("bin/busybox").display().to_string());
    let emulated = || {
        let mut shell = process::command(words.first().map_or("", String::as_str));
        shell.args(words.iter().skip(1)).arg("sh");
        shell
    };
    scripts(&emulated, &root.0.display().to_string())?;
    watchdog(&root)
}

/// Has a shell check the scripts of an ipk below `root`, and reads the service's commands to procd.
fn scripts(shell: &dyn Fn() -> Command, root: &str) -> Result<(), String> {
    for script in [
        "outer/control/postinst",
        "outer/control/prerm",
        "etc/init.d/loka-stratum",
        "usr/libexec/loka-stratum/watchdog",
        "etc/uci-defaults/90-loka-stratum",
    ] {
        process::output(shell().args(["-n", &format!("{root}/{script}")]))?;
    }
    let start = |options: &str| {
        let service = format!("{root}/etc/init.d/loka-stratum");
        let text = format!("{options}\n. {root}/stubs\n. {service}\nstart_service");
        process::output(shell().args(["-c", &text]))
    };
    let nothing = start("OPTION_enabled=0")?;
    if !nothing.is_empty() {
        return Err(format!("ipk: a service that is not enabled does {nothing}"));
    }
    let said =
        start("OPTION_enabled=1 OPTION_pool_url=stratum+ssl://a.example:1 OPTION_config=/f")?;
    for line in [
        "chown loka-stratum:loka-stratum /var/run/loka-stratum",
        "set_param command /usr/sbin/loka-stratum run --status 127.0.0.1:8080 --alive \
         /var/run/loka-stratum/alive --syslog /dev/log",
        "set_param command /usr/libexec/loka-stratum/watchdog /var/run/loka-stratum/alive \
         /var/run/loka-stratum.pid",
        "append_param command --config /f",
        "append_param env LOKA_POOL__1__URL=stratum+ssl://a.example:1",
        "set_param respawn 0 5 0",
        "set_param user loka-stratum",
        "open_instance watchdog",
    ] {
        if !said.lines().any(|said| said == line) {
            return Err(format!("ipk: start_service does not say {line:?}: {said}"));
        }
    }
    Ok(())
}

/// Starts a gateway, stops it with SIGSTOP, and waits until the package's watchdog has ended it.
fn watchdog(root: &Root) -> Result<(), String> {
    let pool = Pool::start(&[])?;
    let url = format!("stratum+tcp://{}", pool.address);
    let mut gateway = root.chroot("/usr/sbin/loka-stratum");
    gateway.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--user", "farm"]);
    gateway.args(["--pool", &url, "--alive", "/alive"]);
    let mut gateway = Process::start(&mut gateway)?;
    gateway.find("status ")?;
    root.write("pid", &format!("{}\n", gateway.id()))?;
    // The script traces its commands: each poll of a healthy gateway ends with a failure count of
    // 0.
    let traced = "exec sh -x /usr/libexec/loka-stratum/watchdog /alive /pid 1 2>&1";
    let mut watchdog = Process::start(root.chroot("/bin/sh").args(["-c", traced]))?;
    for _ in 0..=LOOKS_AT_A_GOOD_GATEWAY {
        watchdog.find("+ failures=0")?;
    }
    if gateway.is_over()? {
        return Err("ipk: the watchdog ended a gateway that is well".to_owned());
    }
    gateway.signal("STOP")?;
    let ended = gateway.wait()?;
    match ended.signal() {
        Some(SIGKILL) => Ok(()),
        _ => Err(format!("ipk: the watchdog did not end a gateway that stood still: {ended}")),
    }
}

/// Starts the installed gateway with a pool in its settings, reads its status by the same program,
/// and ends it.
fn use_it(root: &Root, program: &str) -> Result<(), String> {
    let pool = Pool::start(&[])?;
    let settings = root.read(SETTINGS)?;
    let url = pool.address;
    let added = format!("\n[[pool]]\nurl = \"stratum+tcp://{url}\"\nuser = \"farm.gateway\"\n");
    root.write(SETTINGS, &(settings + &added))?;
    let settings = format!("/{SETTINGS}");
    process::output(root.chroot(program).args(["check", "--config", &settings]))?;
    let mut gateway = root.chroot(program);
    gateway.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    gateway.args(["--config", &settings]);
    emulate::run(&mut gateway, |status, _| {
        let text = process::output(root.chroot(program).args(["status", status]))?;
        if text.starts_with("ready") { Ok(()) } else { Err(format!("status: {text}")) }
    })
}

/// Verifies the unit with systemd's own checker, if it is installed.
fn verify_unit(root: &Root, unit: &str) -> Result<(), String> {
    if !process::is_installed("systemd-analyze") {
        println!("systemd-analyze is not there: the unit is not checked");
        return Ok(());
    }
    let mut verify = process::command("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.arg(format!("--root={}", root.0.display())).arg(unit);
    let said = verify.output().map_err(|error| format!("systemd-analyze: {error}"))?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("loka-stratum")).collect();
    if ours.is_empty() {
        Ok(())
    } else {
        Err(format!("systemd-analyze verify: {}", ours.join("\n")))
    }
}

impl Root {
    fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("loka-root-{name}-{}", std::process::id()));
        let root = Self(path);
        let busybox = debs::unpacked("busybox-static", "busybox-amd64", false)?.join("bin/busybox");
        root.folder("bin")?;
        root.folder("dev")?;
        let null = root.0.join("dev/null");
        process::output(process::command("mknod").arg(&null).args(["c", "1", "3"]))?;
        let error = |error: std::io::Error| format!("busybox: {error}");
        std::fs::copy(busybox, root.0.join("bin/busybox")).map_err(error)?;
        for applet in APPLETS {
            let link = root.0.join("bin").join(applet);
            std::os::unix::fs::symlink("busybox", link).map_err(error)?;
        }
        Ok(root)
    }

    fn folder(&self, path: &str) -> Result<(), String> {
        std::fs::create_dir_all(self.0.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.0.join(path), text).map_err(|error| format!("{path}: {error}"))
    }

    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    /// A program of the root, run there.
    fn chroot(&self, program: &str) -> Command {
        let mut command = process::command("chroot");
        command.arg(&self.0).arg(program).env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin");
        command
    }

    /// The paths of all files that are not folders.
    fn files(&self) -> Result<BTreeSet<String>, String> {
        let mut find = process::command("find");
        find.args([".", "!", "-type", "d"]).current_dir(&self.0);
        let listed = process::output(&mut find)?;
        Ok(listed.lines().map(|line| line.trim_start_matches("./").to_owned()).collect())
    }

    /// Reports unexpected new files; dpkg's own database does not count.
    fn left_over(
        &self,
        after: &str,
        before: &BTreeSet<String>,
        may: &[&str],
    ) -> Result<(), String> {
        let may_stay = |path: &String| {
            path.starts_with("var/lib/dpkg/") || may.iter().any(|may| path.starts_with(may))
        };
        let files = self.files()?;
        let left: Vec<&String> = files.difference(before).filter(|path| !may_stay(path)).collect();
        let lost: Vec<&&str> =
            may.iter().filter(|path| path.ends_with(".toml") && !files.contains(**path)).collect();
        if left.is_empty() && lost.is_empty() {
            Ok(())
        } else {
            Err(format!("{after}: left over {left:?}, lost {lost:?}"))
        }
    }
}
