//! A disk image for a board: kernel, initramfs, two system slots, a data partition.
//!
//! ```text
//! boot    ext4      kernel, initramfs, extlinux.conf for U-Boot
//! env     raw       which slot starts (xtask/image/slots.sh)
//! slot-a  squashfs  busybox, the gateway, the scripts of xtask/image; read-only
//! slot-b  squashfs  the same at first
//! data    ext4      settings and state, with a journal
//! ```
//!
//! Kernel, modules and busybox are Debian's for arm64, unpacked into `tools/`. The same files and
//! the same commit give the same image.

mod boot;
mod disk;
// The signing half of the gateway's signature code.
#[path = "../../src/gateway/update/signing.rs"]
mod signing;
mod update;

use std::path::{Path, PathBuf};

use crate::archive::{Tree, feed, gzip};
use crate::targets::{self, Board};
use crate::{apt, debs, dist, package, process};
use disk::{MIB, Partition};

pub use boot::{pipe, test as boot_test};
pub use update::make_keys;

/// Folder of the image's scripts.
const PARTS: &str = "xtask/image";

/// Largest image, in bytes.
const IMAGE_BYTES_MAX: usize = 32 * MIB;

/// Sizes of the partitions, in MiB; with the table they make up the image.
const BOOT_MIB: usize = 14;
const ENV_MIB: usize = 1;
const SLOT_MIB: usize = 4;
const DATA_MIB: usize = 7;

/// The text of the first `env` record, before its checksum.
const ENV: &str = "seq=1 active=a tries=0 good=a";

/// Modules of the kernel in the order in which they are loaded: disk and network of the virtual
/// machine, the file systems, the kernel's own watchdog.
const MODULES: [&str; 14] = [
    "drivers/virtio/virtio_mmio",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "lib/crc16",
    "fs/mbcache",
    "fs/jbd2/jbd2",
    "crypto/crc32c_generic",
    "fs/ext4/ext4",
    "fs/squashfs/squashfs",
    "drivers/watchdog/softdog",
    "drivers/input/evdev",
    "drivers/input/keyboard/gpio_keys",
];

/// The marker at the end of a signed module, and the bytes of its signature block without the
/// length field.
const SIGNATURE_MARKER: &[u8] = b"~Module signature appended~\n";
const SIGNATURE_FACTS: usize = 8;

/// The kernel's command line.
const COMMAND_LINE: &str = "console=ttyAMA0 quiet panic=5 rdinit=/init";

/// The gateway's user.
const USERS: &str = "root:x:0:0::/:/bin/false\nloka:x:480:480::/data:/bin/false\n";
const GROUPS: &str = "root:x:0:\nloka:x:480:\n";

/// The only board with an image: the others boot by their vendors' loaders.
const BOARD: &str = "virt-aarch64";

/// Debian's name of its architecture.
const ARCHITECTURE: &str = "arm64";

/// The files of an image.
pub struct Image {
    pub folder: PathBuf,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub disk: PathBuf,
}

/// The options of an image or an update, besides its board.
#[derive(Debug, Default)]
pub struct Parts {
    /// The gateway's first settings file.
    pub settings: Option<PathBuf>,
    /// Files of the trusted update keys.
    pub trusted: Vec<PathBuf>,
    /// File of the key that signs an update.
    pub key: Option<PathBuf>,
    /// The version of the system, if it differs from the gateway's.
    pub version: Option<String>,
    /// A replacement for the gateway's program.
    pub gateway: Option<Vec<u8>>,
}

impl Parts {
    fn version(&self) -> Result<String, String> {
        self.version.clone().map_or_else(package::version, Ok)
    }
}

/// Makes an image or an update, by the command line.
///
/// # Errors
///
/// As [`build`], or an unknown option.
pub fn run(board: &str, options: &[&str]) -> Result<(), String> {
    let (mut parts, mut is_update) = (Parts::default(), false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut file = || {
            let file = options.next().ok_or(format!("{option}: a file is missing"));
            file.map(PathBuf::from)
        };
        match *option {
            "--update" => is_update = true,
            "--settings" => parts.settings = Some(file()?),
            "--trust" => parts.trusted.push(file()?),
            "--key" => parts.key = Some(file()?),
            other => {
                let allowed = "--update, --key FILE, --trust FILE or --settings FILE";
                return Err(format!("image: got {other}, allowed {allowed}"));
            }
        }
    }
    if is_update {
        build_update(board, &parts).map(|_| ())
    } else {
        build(board, &parts).map(|_| ())
    }
}

/// Makes the image of a board.
///
/// # Errors
///
/// The missing tool, the failed step, or the excess size.
pub fn build(name: &str, parts: &Parts) -> Result<Image, String> {
    let board = board(name)?;
    let settings = parts
        .settings
        .as_ref()
        .map(|path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())));
    let time = package::source_time()?;
    let (kernel, release) = kernel()?;
    let busybox = busybox()?;
    let folder = folder(name)?;
    let image = Image {
        kernel: folder.join("kernel.gz"),
        initramfs: folder.join("initramfs.gz"),
        disk: folder.join("disk.img"),
        folder,
    };
    let packed = gzip(&read(&kernel.join(format!("boot/vmlinuz-{release}")))?)?;
    write(&image.kernel, &packed)?;
    write(&image.initramfs, &gzip(&initramfs(&kernel, &release, &busybox, time)?.cpio())?)?;
    let slot = squashfs(&system(&board, &busybox, parts, time)?, &image.folder)?;
    println!("slot: {} bytes", slot.len());
    let partitions = [
        partition("boot", BOOT_MIB, boot_files(&image, time)?),
        partition("env", ENV_MIB, env()?),
        partition("slot-a", SLOT_MIB, slot.clone()),
        partition("slot-b", SLOT_MIB, slot),
        partition("data", DATA_MIB, data(settings.transpose()?, &image.folder, time)?),
    ];
    let bytes = disk::disk(&partitions)?;
    if bytes.len() > IMAGE_BYTES_MAX {
        return Err(format!("image: got {} bytes, allowed {IMAGE_BYTES_MAX}", bytes.len()));
    }
    write(&image.disk, &bytes)?;
    println!("{}: {} bytes of {IMAGE_BYTES_MAX}", process::shown(&image.disk), bytes.len());
    Ok(image)
}

/// Installs the missing Debian packages of the boot test and of a build for its board.
///
/// # Errors
///
/// Names the missing part; without it the test is skipped.
pub fn fetch() -> Result<(), String> {
    let target = targets::one(&board(BOARD)?.target)?;
    apt::know(ARCHITECTURE)?;
    kernel()?;
    packer()?;
    boot::emulator()?;
    applets(&busybox()?)?;
    dist::fetch(&target)
}

/// The target of the boot test's board.
///
/// # Errors
///
/// The board's file cannot be read.
pub fn target() -> Result<String, String> {
    board(BOARD).map(|board| board.target)
}

/// Makes an update for a board, and returns the file.
///
/// # Errors
///
/// As [`build`].
pub fn build_update(name: &str, parts: &Parts) -> Result<PathBuf, String> {
    let (board, folder) = (board(name)?, folder(name)?);
    let slot = squashfs(&system(&board, &busybox()?, parts, package::source_time()?)?, &folder)?;
    if slot.len() > SLOT_MIB * MIB {
        return Err(format!("slot: got {} bytes, allowed {}", slot.len(), SLOT_MIB * MIB));
    }
    let version = parts.version()?;
    let file = update::signed(&slot, &board, &version, parts.key.as_deref())?;
    let path = folder.join(format!("loka-stratum_{version}_{name}.loka-update"));
    write(&path, &file)?;
    println!("{}: {} bytes", process::shown(&path), file.len());
    Ok(path)
}

fn board(name: &str) -> Result<Board, String> {
    let board = targets::board(name)?;
    if name != BOARD {
        return Err(format!("--board: got {name}, allowed {BOARD}"));
    }
    Ok(board)
}

fn folder(name: &str) -> Result<PathBuf, String> {
    let folder = process::root().join("target/image").join(name);
    make_folder(&folder).map(|()| folder)
}

/// The folder of Debian's kernel, and its version's name.
fn kernel() -> Result<(PathBuf, String), String> {
    let of = |name: &str| format!("{name}:{ARCHITECTURE}");
    let version = debs::newest(&of("linux-image-arm64"), "linux-image-6")?;
    let folder = debs::unpacked(&version, "kernel-arm64", false)?;
    let release = version.trim_start_matches("linux-image-").trim_end_matches(&of(""));
    Ok((folder, release.to_owned()))
}

/// The folder of the program that compresses slots.
fn packer() -> Result<PathBuf, String> {
    debs::unpacked("squashfs-tools", "squashfs", true)
}

fn busybox() -> Result<PathBuf, String> {
    Ok(debs::unpacked("busybox-static:arm64", "busybox-arm64", false)?.join("bin/busybox"))
}

fn partition(name: &'static str, mebibytes: usize, bytes: Vec<u8>) -> Partition {
    Partition { name, mebibytes, bytes, is_boot: name == "boot" }
}

/// The initramfs, which finds and starts a slot's system. Its shell runs busybox's commands without
/// links, and one command loads all modules: every start of a program takes time.
fn initramfs(kernel: &Path, release: &str, busybox: &Path, time: u64) -> Result<Tree, String> {
    let mut tree = Tree::new(time);
    let folder = format!("lib/modules/{release}");
    tree.file("bin/busybox", 0o755, read(busybox)?);
    tree.file("init", 0o755, part("initramfs-init")?);
    tree.file("lib/slots.sh", 0o644, part("slots.sh")?);
    let (mut names, mut needs) = (Vec::new(), String::new());
    for path in MODULES {
        let name = path.rsplit('/').next().unwrap_or(path);
        let module = read(&kernel.join(format!("{folder}/kernel/{path}.ko")))?;
        tree.file(&format!("{folder}/{name}.ko"), 0o644, unsigned(&module));
        names.push(name);
        needs += &format!("{name}.ko:\n");
    }
    tree.file("lib/modules/order", 0o644, names.join(" ") + "\n");
    tree.file(&format!("{folder}/modules.dep"), 0o644, needs);
    for folder in ["dev", "proc", "sys", "new"] {
        tree.folder(folder, 0o755);
    }
    Ok(tree)
}

/// A module without Debian's signature. Nothing verifies it on a board without a verified boot, and
/// checking fourteen takes an emulated board a fifth of a second.
///
/// Source: the kernel's `include/linux/module_signature.h`: 12 bytes follow the signature, the last
/// four its length, then the marker.
fn unsigned(module: &[u8]) -> &[u8] {
    let split = || {
        let (rest, length) = module.strip_suffix(SIGNATURE_MARKER)?.split_last_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.get(..rest.len().checked_sub(SIGNATURE_FACTS + length)?)
    };
    split().unwrap_or(module)
}

/// The content of a slot.
fn system(board: &Board, busybox: &Path, parts: &Parts, time: u64) -> Result<Tree, String> {
    let target = targets::one(&board.target)?;
    let binary = dist::shipped(&target);
    if !binary.is_file() {
        return Err(format!("first: cargo xtask dist --target {}", target.triple));
    }
    let wan = board.network.as_ref().map(|network| network.wan.clone());
    let wan = wan.ok_or(format!("{}: the profile names no [network]", board.name))?;
    let mut tree = Tree::new(time);
    tree.file("bin/busybox", 0o755, read(busybox)?);
    commands(&mut tree, busybox)?;
    tree.link("sbin/init", "../bin/busybox");
    tree.link("sbin/reboot", "../bin/busybox");
    tree.file("sbin/slot", 0o755, part("slot")?);
    let gateway = parts.gateway.clone().map_or_else(|| read(&binary), Ok)?;
    tree.file("usr/sbin/loka-stratum", 0o755, gateway);
    tree.file("lib/slots.sh", 0o644, part("slots.sh")?);
    for script in
        ["rc.start", "rc.gateway", "rc.network", "rc.slots", "rc.time", "rc.stop", "udhcpc.script"]
    {
        tree.file(&format!("etc/{script}"), 0o755, part(script)?);
    }
    tree.file("etc/inittab", 0o644, part("inittab")?);
    tree.file("etc/passwd", 0o644, USERS);
    tree.file("etc/group", 0o644, GROUPS);
    tree.file("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n");
    tree.link("etc/resolv.conf", "/run/resolv.conf");
    tree.file("etc/loka-config.toml", 0o644, part("config.toml")?);
    tree.file("etc/loka-version", 0o644, format!("{}\n", parts.version()?));
    let slots = String::from_utf8_lossy(&part("slots.toml")?).into_owned();
    let slots = slots.replace("\"BOARD\"", &format!("\"{}\"", board.name));
    let slots = slots.replace("\"TARGET\"", &format!("\"{}\"", board.target));
    tree.file("etc/loka-slots.toml", 0o644, slots);
    tree.folder("etc/loka-keys", 0o755);
    for (index, key) in update::trusted(&parts.trusted)?.into_iter().enumerate() {
        tree.file(&format!("etc/loka-keys/{index}.pub"), 0o644, key);
    }
    tree.file("etc/loka-time", 0o644, format!("{time}\n"));
    tree.file("etc/loka-wan", 0o644, format!("{wan}\n"));
    tree.link("tmp", "/run/tmp");
    for folder in ["dev", "proc", "sys", "run", "data"] {
        tree.folder(folder, 0o755);
    }
    Ok(tree)
}

/// Adds links for busybox's commands to a tree.
fn commands(tree: &mut Tree, busybox: &Path) -> Result<(), String> {
    for name in applets(busybox)? {
        if name != "busybox" {
            tree.link(&format!("bin/{name}"), "busybox");
        }
    }
    Ok(())
}

/// The names of busybox's commands, from its own list under the emulator, without the commands for
/// logins and interactive shells.
fn applets(busybox: &Path) -> Result<Vec<String>, String> {
    apt::provide("qemu-aarch64", "qemu-user")?;
    let mut list = process::command("qemu-aarch64");
    let listed = process::output(list.arg(busybox).arg("--list"))?;
    let unwanted = ["getty", "login", "sulogin", "su", "telnet", "telnetd", "passwd", "httpd"];
    let wanted = |name: &&str| !unwanted.contains(name);
    Ok(listed.lines().filter(wanted).map(str::to_owned).collect())
}

/// Compresses a slot with a format that a slow processor unpacks quickly: a quarter larger than
/// zstd.
fn squashfs(tree: &Tree, folder: &Path) -> Result<Vec<u8>, String> {
    let tools = packer()?;
    let path = folder.join("slot.squashfs");
    let _ = std::fs::remove_file(&path);
    let mut pack = debs::program(&tools, "usr/bin/sqfstar");
    let time = tree.time.to_string();
    pack.args(["-comp", "lz4", "-Xhc", "-quiet", "-no-progress", "-mkfs-time", &time]);
    // The root folder is not in the input, and would get the time of this run.
    pack.args(["-all-time", &time]).arg(&path);
    feed(&mut pack, &tree.tar("")?)?;
    read(&path)
}

/// The boot loader's partition.
fn boot_files(image: &Image, time: u64) -> Result<Vec<u8>, String> {
    let files = image.folder.join("boot");
    let _ = std::fs::remove_dir_all(&files);
    make_folder(&files.join("extlinux"))?;
    write(&files.join("kernel.gz"), &read(&image.kernel)?)?;
    write(&files.join("initramfs.gz"), &read(&image.initramfs)?)?;
    let menu = format!(
        "default loka\ntimeout 0\nlabel loka\n  kernel /kernel.gz\n  initrd /initramfs.gz\n  \
         append {COMMAND_LINE}\n"
    );
    write(&files.join("extlinux/extlinux.conf"), menu.as_bytes())?;
    ext4("boot", BOOT_MIB, &files, &["-O", "^has_journal", "-m", "0"], time)
}

/// The record that names the first slot, in the format of `slots.sh`.
fn env() -> Result<Vec<u8>, String> {
    let sum = crate::archive::digest("sha256sum", ENV.as_bytes())?;
    Ok(format!("{ENV} sum={}", &sum[..32]).into_bytes())
}

/// The data partition.
fn data(settings: Option<Vec<u8>>, folder: &Path, time: u64) -> Result<Vec<u8>, String> {
    let files = folder.join("data");
    let _ = std::fs::remove_dir_all(&files);
    make_folder(&files)?;
    if let Some(settings) = settings {
        write(&files.join("config.toml"), &settings)?;
    }
    ext4("data", DATA_MIB, &files, &["-J", "size=1", "-m", "1"], time)
}

/// A file system with a folder's content, independent of the time of its making.
fn ext4(
    name: &str,
    mib: usize,
    files: &Path,
    options: &[&str],
    time: u64,
) -> Result<Vec<u8>, String> {
    let path = files.with_extension("ext4");
    let _ = std::fs::remove_file(&path);
    let mut number = format!("{:012x}", 0);
    number.replace_range(
        ..name.len() * 2,
        &name.bytes().map(|b| format!("{b:02x}")).collect::<String>(),
    );
    let uuid = format!("6c6f6b61-0000-4000-8000-{number}");
    let mut make = process::command("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-I", "256", "-L", name, "-U", &uuid]);
    make.args(["-E", &format!("root_owner=0:0,lazy_itable_init=0,hash_seed={uuid}")]);
    make.args(options).arg("-d").arg(files).arg(&path).arg(format!("{mib}M"));
    let now = time.to_string();
    // Without it mke2fs's own files get the time of this run.
    make.env("E2FSPROGS_FAKE_TIME", &now).env("PATH", search_path());
    process::run(&mut make)?;
    // Copied files keep their times, and a folder's change time cannot be set.
    let mut set = process::command("debugfs");
    set.args(["-w", "-f", "-"]).arg(&path);
    set.env("E2FSPROGS_FAKE_TIME", &now).env("PATH", search_path());
    feed(&mut set, times(files, "", time)?.as_bytes())?;
    read(&path)
}

/// The debugfs commands that set one time for all files below a folder.
fn times(folder: &Path, at: &str, time: u64) -> Result<String, String> {
    let error = |error: std::io::Error| format!("{}: {error}", process::shown(folder));
    let mut commands = String::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("{at}/{name}");
        for field in ["atime", "ctime", "mtime"] {
            commands += &format!("set_inode_field {inside} {field} @{time}\n");
        }
        if path.is_dir() {
            commands += &times(&path, &inside, time)?;
        }
    }
    Ok(commands)
}

/// The search path with root's program folders, which some users' paths lack.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn part(name: &str) -> Result<Vec<u8>, String> {
    read(&process::root().join(PARTS).join(name))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", process::shown(path)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", process::shown(path)))
}

fn make_folder(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", process::shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_read_the_line_that_the_image_begins_with() {
        let folder = std::env::temp_dir().join(format!("loka-slots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let env_file = folder.join("env");
        let mut bytes = env().unwrap();
        bytes.resize(2 * 4096, 0);
        std::fs::write(&env_file, &bytes).unwrap();
        // The machine's own tools replace busybox's.
        let slots = String::from_utf8(part("slots.sh").unwrap()).unwrap();
        let slots = slots.replace("/dev/vda2", &env_file.to_string_lossy());
        let run = |text: &str| {
            let script = format!("{slots}\n{text}");
            process::output(process::command("sh").args(["-c", &script])).unwrap()
        };
        let show = "env_read; echo $seq $active $tries $good";
        assert_eq!(run(show), "1 a 0 a\n");
        assert_eq!(run(&format!("env_read; active=b tries=2; env_write; {show}")), "2 b 2 a\n");
        assert_eq!(run(&format!("env_read; tries=1; env_write; {show}")), "3 b 1 a\n");
        // The newest record is damaged: the previous one applies, and the next write replaces the
        // damaged one.
        let mut damaged = std::fs::read(&env_file).unwrap();
        damaged[5] ^= 1;
        std::fs::write(&env_file, &damaged).unwrap();
        assert_eq!(run(show), "2 b 2 a\n");
        assert_eq!(run(&format!("env_read; good=b tries=0; env_write; {show}")), "3 b 0 b\n");
        // Both records are damaged: slot a.
        std::fs::write(&env_file, vec![0; 8192]).unwrap();
        assert_eq!(run(show), "0 a 0 a\n");
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_module_goes_in_without_its_signature_and_is_whole_without_one() {
        let signed =
            [b"module, signature".as_slice(), &[0; 8], &[0, 0, 0, 11], SIGNATURE_MARKER].concat();
        assert_eq!(unsigned(&signed), b"module");
        let too_long = [b"module".as_slice(), &[0; 8], &[0, 0, 0, 11], SIGNATURE_MARKER].concat();
        for whole in [b"module".as_slice(), b"", SIGNATURE_MARKER, &too_long] {
            assert_eq!(unsigned(whole), whole);
        }
    }

    #[test]
    fn a_file_system_is_the_same_whenever_its_files_were_written() {
        let folder = std::env::temp_dir().join(format!("loka-ext4-{}", std::process::id()));
        let files = folder.join("files");
        std::fs::create_dir_all(files.join("inside")).unwrap();
        let made = [1_000_000_000, 1_700_000_000].map(|seconds| {
            for name in ["first", "inside/second"] {
                std::fs::write(files.join(name), name).unwrap();
                let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
                let file = std::fs::File::options().write(true).open(files.join(name)).unwrap();
                file.set_modified(written).unwrap();
            }
            ext4("data", 1, &files, &["-O", "^has_journal"], 1_800_000_000).unwrap()
        });
        assert!(made[0] == made[1], "they differ");
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn the_partitions_are_an_image() {
        let mebibytes = BOOT_MIB + ENV_MIB + 2 * SLOT_MIB + DATA_MIB + 2;
        assert_eq!(mebibytes * MIB, IMAGE_BYTES_MAX);
    }
}
