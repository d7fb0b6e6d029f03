//! Archives for packages and images: tar, ar and cpio, made from a tree in memory.
//!
//! The input alone determines the output: entries are sorted, belong to root and have the same
//! time. So two builds of a package give the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use crate::process;

/// Longest path in the oldest tar format, which every reader supports.
const TAR_PATH_BYTES_MAX: usize = 100;
const TAR_BLOCK: usize = 512;

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Folder,
    File(Vec<u8>),
    /// A symbolic link to this path.
    Link(String),
}

/// Folders and files by their paths, without a leading slash, each with its permissions.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, (u32, Node)>,
    /// The time of all entries, in seconds since 1970.
    pub time: u64,
}

impl Tree {
    /// An empty tree whose entries carry `time`.
    pub fn new(time: u64) -> Self {
        Self { nodes: BTreeMap::new(), time }
    }

    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.add(path, mode, Node::File(bytes.into()));
    }

    /// Adds an empty folder.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.add(path, mode, Node::Folder);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.add(path, 0o777, Node::Link(to.to_owned()));
    }

    fn add(&mut self, path: &str, mode: u32, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.nodes.entry(path[..at].to_owned()).or_insert((0o755, Node::Folder));
        }
        self.nodes.insert(path.to_owned(), (mode, node));
    }

    /// The entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32, &Node)> {
        self.nodes.iter().map(|(path, (mode, node))| (path.as_str(), *mode, node))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let size = |node: &Node| if let Node::File(bytes) = node { bytes.len() } else { 0 };
        self.nodes.values().map(|(_, node)| size(node) as u64).sum()
    }

    /// The tree as a tar file; `prefix` stands before every path.
    ///
    /// # Errors
    ///
    /// A path is too long.
    pub fn tar(&self, prefix: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for (path, mode, node) in self.entries() {
            let (kind, data, link) = match node {
                Node::Folder => (b'5', &[][..], ""),
                Node::File(bytes) => (b'0', bytes.as_slice(), ""),
                Node::Link(to) => (b'2', &[][..], to.as_str()),
            };
            let slash = if *node == Node::Folder { "/" } else { "" };
            let name = format!("{prefix}{path}{slash}");
            if name.len().max(link.len()) > TAR_PATH_BYTES_MAX {
                return Err(format!(
                    "{name}: got {} bytes, allowed {TAR_PATH_BYTES_MAX}",
                    name.len()
                ));
            }
            out.extend(tar_header(&name, mode, data.len(), self.time, kind, link));
            out.extend(data);
            out.resize(out.len().next_multiple_of(TAR_BLOCK), 0);
        }
        out.resize(out.len() + 2 * TAR_BLOCK, 0);
        Ok(out)
    }

    /// The tree as an initramfs (cpio, newc).
    pub fn cpio(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut add = |inode: usize, name: &str, mode: u32, data: &[u8]| {
            let (size, length) = (data.len(), name.len() + 1);
            let time = if inode == 0 { 0 } else { self.time };
            let fields = [
                inode as u64,
                u64::from(mode),
                0,
                0,
                1,
                time,
                size as u64,
                0,
                0,
                0,
                0,
                length as u64,
                0,
            ];
            out.extend(b"070701");
            fields.iter().for_each(|field| out.extend(format!("{field:08X}").bytes()));
            out.extend(name.bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(data);
            out.resize(out.len().next_multiple_of(4), 0);
        };
        for (index, (path, mode, node)) in self.entries().enumerate() {
            let (kind, data) = match node {
                Node::Folder => (0o040_000, &[][..]),
                Node::File(bytes) => (0o100_000, bytes.as_slice()),
                Node::Link(to) => (0o120_000, to.as_bytes()),
            };
            add(index + 1, path, kind | mode, data);
        }
        add(0, "TRAILER!!!", 0, &[]);
        out
    }
}

fn tar_header(
    name: &str,
    mode: u32,
    size: usize,
    time: u64,
    kind: u8,
    link: &str,
) -> [u8; TAR_BLOCK] {
    let mut header = [0; TAR_BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{time:011o}"));
    put(148, "        ");
    put(157, link);
    put(257, "ustar");
    put(263, "00");
    put(265, "root");
    put(297, "root");
    header[156] = kind;
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// Files in `ar` format, as in a Debian package.
pub fn ar(time: u64, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let (owner, mode, size) = (0, 100_644, bytes.len());
        out.extend(
            format!("{name:<16}{time:<12}{owner:<6}{owner:<6}{mode:<8}{size:<10}`\n").bytes(),
        );
        out.extend(*bytes);
        if size % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// Compresses bytes with gzip, without name or time in the header.
///
/// # Errors
///
/// gzip is missing, or the folder for temporary files is full.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    with_file(bytes, |path| {
        process::bytes(process::command("gzip").args(["-9", "-n", "-c"]).arg(path))
    })
}

/// The digest of bytes by one of coreutils: `md5sum`, `sha256sum`.
///
/// # Errors
///
/// The program is missing, or the folder for temporary files is full.
pub fn digest(program: &str, bytes: &[u8]) -> Result<String, String> {
    let line = with_file(bytes, |path| process::output(process::command(program).arg(path)))?;
    line.split_whitespace().next().map(str::to_owned).ok_or(format!("{program}: no answer"))
}

/// Passes bytes to a program as a temporary file.
fn with_file<T>(bytes: &[u8], work: impl FnOnce(&Path) -> Result<T, String>) -> Result<T, String> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("loka-xtask-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let result = work(&path);
    let _ = std::fs::remove_file(&path);
    result
}

/// Passes bytes to a program on its standard input. The program must read all of it before it
/// writes.
///
/// # Errors
///
/// It cannot be started, or fails.
pub fn feed(command: &mut std::process::Command, bytes: &[u8]) -> Result<(), String> {
    use std::io::Write;
    let name = command.get_program().to_string_lossy().into_owned();
    let error = |error: std::io::Error| format!("{name}: {error}");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(error)?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(bytes));
    let status = child.wait().map_err(error)?;
    written.map_err(error)?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new(1_700_000_000);
        tree.file("usr/bin/b", 0o755, "two");
        tree.file("etc/a.conf", 0o600, "one\n");
        tree.link("usr/bin/c", "b");
        tree.folder("var/empty", 0o700);
        tree
    }

    #[test]
    fn tar_reads_what_was_written() {
        let packed = gzip(&tree().tar("./").unwrap()).unwrap();
        let listed = with_file(&packed, |path| {
            process::output(process::command("tar").args(["-tvz", "--utc", "-f"]).arg(path))
        });
        let lines: Vec<String> = listed
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x root/root 0 2023-11-14 22:13 ./etc/",
                "-rw------- root/root 4 2023-11-14 22:13 ./etc/a.conf",
                "drwxr-xr-x root/root 0 2023-11-14 22:13 ./usr/",
                "drwxr-xr-x root/root 0 2023-11-14 22:13 ./usr/bin/",
                "-rwxr-xr-x root/root 3 2023-11-14 22:13 ./usr/bin/b",
                "lrwxrwxrwx root/root 0 2023-11-14 22:13 ./usr/bin/c -> b",
                "drwxr-xr-x root/root 0 2023-11-14 22:13 ./var/",
                "drwx------ root/root 0 2023-11-14 22:13 ./var/empty/",
            ]
        );
    }

    #[test]
    fn a_path_that_tar_would_cut_is_refused() {
        let mut tree = Tree::new(0);
        tree.file(&"p".repeat(99), 0o644, "");
        let error = tree.tar("./").unwrap_err();
        assert!(error.ends_with("got 101 bytes, allowed 100"), "{error}");
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut other = Tree::new(1_700_000_000);
        other.folder("var/empty", 0o700);
        other.link("usr/bin/c", "b");
        other.file("etc/a.conf", 0o600, "one\n");
        other.file("usr/bin/b", 0o755, "two");
        assert_eq!(other.tar("").unwrap(), tree().tar("").unwrap());
        assert_eq!(other.cpio(), tree().cpio());
    }

    #[test]
    fn an_initramfs_is_in_the_kernels_form() {
        let bytes = tree().cpio();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("usr/bin/b\0") && text.contains("TRAILER!!!"));
        // Mode of an executable regular file.
        assert!(text.contains("000081ED"));
    }
}
