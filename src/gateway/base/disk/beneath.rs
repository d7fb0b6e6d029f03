//! Opens files below a folder that we own, so that no other user can interfere.
//!
//! Each operation opens the folder and checks it: a folder of our user or root that nobody else may
//! write. The file is reached through the open folder, so replacing the folder meanwhile has no
//! effect. Links are not followed, and only regular files are opened: a FIFO would block for ever.
//! A missing file is created exclusively. A file or folder that is not ours is refused, with the
//! command that mends it.
//!
//! A folder named by a link is accepted if the link is ours or root's, as a service manager's links
//! are.
//!
//! Open folders are reached as `/proc/self/fd`, so the standard library suffices.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Private to our user: the files hold passwords.
const MODE: u32 = 0o600;

/// Write permissions that others must not have.
const WRITABLE_BY_OTHERS: u32 = 0o022;

const ROOT: u32 = 0;

/// An open folder of ours.
pub struct Beneath {
    folder: File,
    /// The path shown in errors.
    path: PathBuf,
}

impl Beneath {
    /// Opens the folder of a file, and also returns the file's name.
    ///
    /// # Errors
    ///
    /// The folder is missing or not ours; the error says what to do.
    pub fn of(path: &Path) -> io::Result<(Self, &Path)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((Self::open(path.parent().unwrap_or(Path::new(".")))?, Path::new(name)))
    }

    /// Opens a folder.
    ///
    /// # Errors
    ///
    /// The same as for [`Self::of`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let real = real(path)?;
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&real)?;
        check_ours(&folder.metadata()?, &real, 0o700)?;
        Ok(Self { folder, path: real })
    }

    /// Returns a path to a name in the open folder, even if the folder was moved.
    pub fn path(&self, name: &Path) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(name)
    }

    /// Syncs the names in the folder.
    pub fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    /// Opens a file for reading.
    pub fn read(&self, name: &Path) -> io::Result<File> {
        self.existing(name, OpenOptions::new().read(true))
    }

    /// Opens a file for appending, and creates a missing one.
    pub fn append(&self, name: &Path) -> io::Result<File> {
        match self.existing(name, OpenOptions::new().append(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(name),
            result => result,
        }
    }

    /// Creates a file in place of any entry with its name.
    pub fn create(&self, name: &Path) -> io::Result<File> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.make(name),
        }
    }

    fn make(&self, name: &Path) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(name))
    }

    fn existing(&self, name: &Path, options: &mut OpenOptions) -> io::Result<File> {
        let full = self.path.join(name);
        let what = |text: &str| {
            let shown = full.display();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("got {text}, allowed a file of ours; remove it: rm -r {shown}"),
            )
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match options.custom_flags(flags).open(self.path(name)) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(what("a symbolic link"));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Err(what("a FIFO"));
            }
            result => result?,
        };
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(what(if data.is_dir() { "a folder" } else { "no regular file" }));
        }
        check_ours(&data, &full, MODE)?;
        Ok(file)
    }
}

/// Returns a folder's real path if it is named by a link of ours or root's.
fn real(path: &Path) -> io::Result<PathBuf> {
    // An empty parent is the working directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let data = fs::symlink_metadata(path)?;
    if !data.is_symlink() {
        return Ok(path.to_owned());
    }
    check_owner(&data, path)?;
    fs::canonicalize(path)
}

fn check_ours(data: &Metadata, path: &Path, mode: u32) -> io::Result<()> {
    check_owner(data, path)?;
    if data.mode() & WRITABLE_BY_OTHERS != 0 {
        let (got, shown) = (data.mode() & 0o7777, path.display());
        let text = format!(
            "got mode {got:04o}, which others may write, allowed {mode:04o}: chmod {mode:o} {shown}"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

fn check_owner(data: &Metadata, path: &Path) -> io::Result<()> {
    // Without /proc no file is opened at all.
    let Some(own) = own_user() else { return Ok(()) };
    let owner = data.uid();
    if owner == own || owner == ROOT {
        return Ok(());
    }
    let shown = path.display();
    let text = format!("got owner {owner}, allowed {own} or root: chown {own} {shown}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Returns the process's effective user id.
fn own_user() -> Option<u32> {
    static OWN: OnceLock<Option<u32>> = OnceLock::new();
    *OWN.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        // Real, effective, saved, of the file system.
        ids.split_whitespace().nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    /// A folder of ours, removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("loka-beneath-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn error<T>(result: io::Result<T>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn is_root() -> bool {
        own_user() == Some(ROOT)
    }

    #[test]
    fn f103_no_link_is_followed_and_what_it_points_to_stays_as_it_is() {
        let folder = Folder::new("links");
        let victim = folder.file("victim");
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        for name in ["accounts.new", "accounts.0"] {
            symlink(&victim, folder.file(name)).unwrap();
        }
        let beneath = Beneath::open(&folder.0).unwrap();
        for opened in
            [beneath.read(Path::new("accounts.0")), beneath.append(Path::new("accounts.0"))]
        {
            let text = error(opened);
            assert!(text.starts_with("got a symbolic link, allowed a file of ours"), "{text}");
            assert!(text.ends_with(&format!("rm -r {}", folder.file("accounts.0").display())));
        }
        beneath.create(Path::new("accounts.new")).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!fs::symlink_metadata(folder.file("accounts.new")).unwrap().is_symlink());
    }

    #[test]
    fn f103_what_is_no_file_is_refused_at_once() {
        let folder = Folder::new("kinds");
        let fifo = folder.file("audit.0");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        fs::create_dir(folder.file("accounts.0")).unwrap();
        let beneath = Beneath::open(&folder.0).unwrap();
        let text = error(beneath.read(Path::new("audit.0")));
        assert!(text.starts_with("got no regular file"), "{text}");
        let text = error(beneath.append(Path::new("audit.0")));
        assert!(text.starts_with("got a FIFO"), "{text}");
        let text = error(beneath.read(Path::new("accounts.0")));
        assert!(text.starts_with("got a folder"), "{text}");
    }

    #[test]
    fn f103_what_others_may_write_or_own_is_refused_with_what_to_do() {
        let folder = Folder::new("rights");
        let file = folder.file("settings.0");
        fs::write(&file, "kept").unwrap();
        for (mode, is_taken) in [(0o600, true), (0o644, true), (0o620, false), (0o666, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let beneath = Beneath::open(&folder.0).unwrap();
            let opened = beneath.read(Path::new("settings.0"));
            assert_eq!(opened.is_ok(), is_taken, "{mode:o}");
            if !is_taken {
                let command = format!("chmod 600 {}", file.display());
                assert!(error(opened).ends_with(&command), "{mode:o}");
            }
        }
        for mode in [0o770, 0o777, 0o1777] {
            fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
            let text = error(Beneath::open(&folder.0));
            assert!(text.ends_with(&format!("chmod 700 {}", folder.0.display())), "{text}");
        }
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        if !is_root() {
            return assert!(Beneath::open(Path::new("/")).is_ok(), "root's is taken");
        }
        const NOBODY: u32 = 65_534;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&file, Some(NOBODY), None).unwrap();
        let text = error(Beneath::open(&folder.0).unwrap().read(Path::new("settings.0")));
        assert!(text.starts_with("got owner 65534, allowed 0 or root: chown 0 "), "{text}");
        std::os::unix::fs::chown(&folder.0, Some(NOBODY), None).unwrap();
        let text = error(Beneath::open(&folder.0));
        assert!(text.ends_with(&format!("chown 0 {}", folder.0.display())), "{text}");
    }

    #[test]
    fn f103_a_folder_that_a_link_of_ours_names_is_taken_and_a_strangers_is_not() {
        let folder = Folder::new("named");
        let link = folder.file("link");
        fs::create_dir(folder.file("state")).unwrap();
        fs::set_permissions(folder.file("state"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink(folder.file("state"), &link).unwrap();
        let beneath = Beneath::open(&link).unwrap();
        beneath.append(Path::new("a")).unwrap().write_all(b"x").unwrap();
        let mut text = String::new();
        beneath.read(Path::new("a")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        if is_root() {
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            assert!(error(Beneath::open(&link)).starts_with("got owner 65534"));
        }
    }
}
