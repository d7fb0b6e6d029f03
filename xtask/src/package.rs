//! Packages of the binary from `dist`: for Debian, for OpenWrt, and a tarball with an installer,
//! each with a bill of materials.
//!
//! Their scripts and units lie in `xtask/package`. A package depends only on its files and on the
//! time of the last commit (or `SOURCE_DATE_EPOCH`). So two machines with the same binary make the
//! same package; a test makes each twice.

mod sbom;
mod trial;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::archive::{self, Tree, ar, digest, gzip};
use crate::targets::{self, Package, Target};
use crate::{dist, process};

pub use trial::run as trial;

/// The name of all packages.
const NAME: &str = "loka-stratum";
const SUMMARY: &str = "mining gateway: thousands of ASICs, one TLS link to the pool";
const DESCRIPTION: [&str; 3] = [
    "Takes Stratum V1 miners on the LAN, checks and counts every share, and sends those that the",
    "pool can use over one verified TLS link. No miner is disconnected when the WAN or a pool",
    "fails.",
];
const HOMEPAGE: &str = "https://github.com/loka-stratum/loka-stratum";
const MAINTAINER: &str = "Loka Stratum <packages@loka-stratum.example>";
const LICENCE: &str = "MIT OR Apache-2.0";

/// Folder of the packages' files, and folder of the packages.
const PARTS: &str = "xtask/package";

/// The contents of a package.
struct Contents {
    version: String,
    time: u64,
    binary: Vec<u8>,
    /// Memory limit of the system service, in bytes.
    memory_bytes_max: u64,
}

/// A finished file.
struct Product {
    name: String,
    bytes: Vec<u8>,
}

/// A kind of package.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Deb,
    Ipk,
    Tar,
}

impl Format {
    const ALL: [Self; 3] = [Self::Deb, Self::Ipk, Self::Tar];

    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "deb" => Ok(Self::Deb),
            "ipk" => Ok(Self::Ipk),
            "tar" => Ok(Self::Tar),
            _ => Err(format!("--format: got {name}, allowed deb, ipk, tar")),
        }
    }
}

/// Makes the packages for `triple`, in one format or all, with their bill of materials.
///
/// # Errors
///
/// The binary is not built, or a file cannot be read or written.
pub fn run(triple: &str, format: Option<&str>) -> Result<(), String> {
    let formats =
        format.map_or(Ok(Format::ALL.to_vec()), |name| Format::parse(name).map(|f| vec![f]))?;
    let target = targets::one(triple)?;
    let contents = Contents::read(&target)?;
    let folder = folder();
    std::fs::create_dir_all(&folder).map_err(|error| format!("target/package: {error}"))?;
    let mut products = Vec::new();
    for format in formats {
        products.extend(contents.package(&target, format)?);
    }
    products.push(Product {
        name: format!("{NAME}-{}-{triple}.cdx.json", contents.version),
        bytes: sbom::json(&target, &contents.version)?.into_bytes(),
    });
    for Product { name, bytes } in &products {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}  {:>9}  {}", digest("sha256sum", bytes)?, bytes.len(), process::shown(&path));
    }
    Ok(())
}

/// Where the packages go.
pub fn folder() -> PathBuf {
    process::root().join("target/package")
}

/// The time of all files in a package: `SOURCE_DATE_EPOCH`, else the time of the last commit.
///
/// # Errors
///
/// `SOURCE_DATE_EPOCH` is no number, or git fails.
pub fn source_time() -> Result<u64, String> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => process::output(process::command("git").args(["log", "-1", "--format=%ct"]))?,
    };
    let text = text.trim();
    text.parse().map_err(|_| format!("SOURCE_DATE_EPOCH: got {text}, allowed seconds since 1970"))
}

/// The version of the gateway.
///
/// # Errors
///
/// `Cargo.toml` cannot be read.
pub fn version() -> Result<String, String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Versioned,
    }
    #[derive(Deserialize)]
    struct Versioned {
        version: String,
    }
    targets::read::<Manifest>("Cargo.toml").map(|manifest| manifest.package.version)
}

/// A file of the repository, unchanged.
fn part(path: &str) -> Result<String, String> {
    let path = format!("{PARTS}/{path}");
    std::fs::read_to_string(process::root().join(&path)).map_err(|error| format!("{path}: {error}"))
}

impl Contents {
    fn read(target: &Target) -> Result<Self, String> {
        let path = dist::shipped(target);
        let first = format!("first: cargo xtask dist --target {}", target.triple);
        let binary = std::fs::read(&path).map_err(|_| first)?;
        Self::of(binary)
    }

    fn of(binary: Vec<u8>) -> Result<Self, String> {
        // The same amount again for the kernel's socket buffers.
        let memory_bytes_max = 2 * targets::board("generic")?.capacity.gateway_bytes_max;
        Ok(Self { version: version()?, time: source_time()?, binary, memory_bytes_max })
    }

    fn package(&self, target: &Target, format: Format) -> Result<Vec<Product>, String> {
        let names = target.package.as_ref();
        let none = || format!("{}: target.toml has no [package]", target.triple);
        match format {
            Format::Tar => Ok(vec![self.tarball(&target.triple)?]),
            Format::Deb => Ok(vec![self.deb(names.ok_or_else(none)?)?]),
            Format::Ipk => {
                let Package { openwrt, .. } = names.ok_or_else(none)?;
                openwrt.iter().map(|architecture| self.ipk(architecture)).collect()
            }
        }
    }

    /// The unit of systemd, for a binary at `path`.
    fn unit(&self, path: &str) -> Result<String, String> {
        let unit = part("loka-stratum.service")?;
        Ok(unit.replace("@BINARY@", path).replace("@MEMORY@", &self.memory_bytes_max.to_string()))
    }

    /// Licences and documents for the documentation folder.
    fn documents(&self, tree: &mut Tree, folder: &str) -> Result<(), String> {
        let mut copyright = format!("Loka Stratum, {HOMEPAGE}\nLicence: {LICENCE}\n");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            copyright += &format!("\n---- {licence}\n\n{}", repository_file(licence)?);
        }
        tree.file(&format!("{folder}/copyright"), 0o644, copyright);
        for (name, path) in [
            ("config.default.toml", "config/default.toml"),
            ("operating.md", "docs/operating.md"),
            ("CHANGELOG.md", "CHANGELOG.md"),
        ] {
            tree.file(&format!("{folder}/{name}"), 0o644, repository_file(path)?);
        }
        Ok(())
    }

    fn tarball(&self, triple: &str) -> Result<Product, String> {
        let name = format!("{NAME}-{}-{triple}", self.version);
        let mut tree = Tree::new(self.time);
        tree.file(&format!("{name}/loka-stratum"), 0o755, self.binary.clone());
        tree.file(&format!("{name}/config.toml"), 0o644, part("config.toml")?);
        let unit = self.unit("/usr/local/sbin/loka-stratum")?;
        tree.file(&format!("{name}/loka-stratum.service"), 0o644, unit);
        for script in ["install.sh", "uninstall.sh"] {
            let text = part(&format!("tarball/{script}"))?;
            tree.file(&format!("{name}/{script}"), 0o755, text);
        }
        self.documents(&mut tree, &format!("{name}/doc"))?;
        Ok(Product { name: format!("{name}.tar.gz"), bytes: gzip(&tree.tar("")?)? })
    }

    fn deb(&self, names: &Package) -> Result<Product, String> {
        let Self { version, time, .. } = self;
        let architecture = &names.debian;
        let mut data = Tree::new(*time);
        data.file("usr/sbin/loka-stratum", 0o755, self.binary.clone());
        data.file("etc/loka-stratum/config.toml", 0o644, part("config.toml")?);
        let unit = self.unit("/usr/sbin/loka-stratum")?;
        data.file("lib/systemd/system/loka-stratum.service", 0o644, unit);
        self.documents(&mut data, "usr/share/doc/loka-stratum")?;
        let mut control = Tree::new(*time);
        let size = data.bytes().div_ceil(1024);
        let description = DESCRIPTION.map(|line| format!(" {line}\n")).concat();
        let fields = format!(
            "Package: {NAME}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {size}\nSection: net\n\
             Priority: optional\nHomepage: {HOMEPAGE}\nDescription: {SUMMARY}\n{description}"
        );
        control.file("control", 0o644, fields);
        control.file("conffiles", 0o644, "/etc/loka-stratum/config.toml\n");
        let mut sums = String::new();
        for (path, _, node) in data.entries() {
            if let (false, archive::Node::File(bytes)) = (path.starts_with("etc/"), node) {
                sums += &format!("{}  {path}\n", digest("md5sum", bytes)?);
            }
        }
        control.file("md5sums", 0o644, sums);
        for script in ["postinst", "prerm", "postrm"] {
            control.file(script, 0o755, part(&format!("debian/{script}"))?);
        }
        let (control, data) = (gzip(&control.tar("./")?)?, gzip(&data.tar("./")?)?);
        let members: [(&str, &[u8]); 3] =
            [("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)];
        let name = format!("{NAME}_{version}_{architecture}.deb");
        Ok(Product { name, bytes: ar(*time, &members) })
    }

    fn ipk(&self, architecture: &str) -> Result<Product, String> {
        let Self { version, time, .. } = self;
        let mut data = Tree::new(*time);
        data.file("usr/sbin/loka-stratum", 0o755, self.binary.clone());
        for (path, mode, from) in [
            ("usr/libexec/loka-stratum/watchdog", 0o755, "openwrt/watchdog"),
            ("etc/init.d/loka-stratum", 0o755, "openwrt/loka-stratum.init"),
            ("etc/config/loka-stratum", 0o600, "openwrt/loka-stratum.config"),
            ("etc/uci-defaults/90-loka-stratum", 0o644, "openwrt/uci-defaults"),
            ("lib/upgrade/keep.d/loka-stratum", 0o644, "openwrt/keep"),
            (
                "usr/share/nftables.d/chain-pre/input_lan/loka-stratum.nft",
                0o644,
                "openwrt/loka-stratum.nft",
            ),
        ] {
            data.file(path, mode, part(from)?);
        }
        let mut control = Tree::new(*time);
        let size = data.bytes();
        let description = DESCRIPTION.map(|line| format!(" {line}\n")).concat();
        let fields = format!(
            "Package: {NAME}\nVersion: {version}-r1\nDepends: libc\nSource: feeds/{NAME}\n\
             SourceName: {NAME}\nLicense: {LICENCE}\nSection: net\n\
             SourceDateEpoch: {time}\nRequire-User: {NAME}=480:{NAME}=480\n\
             Maintainer: {MAINTAINER}\nArchitecture: {architecture}\nInstalled-Size: {size}\n\
             Description: {SUMMARY}\n{description}"
        );
        control.file("control", 0o644, fields);
        control.file("conffiles", 0o644, "/etc/config/loka-stratum\n");
        for script in ["postinst", "prerm"] {
            control.file(script, 0o755, part(&format!("openwrt/{script}"))?);
        }
        let mut outer = Tree::new(*time);
        outer.file("debian-binary", 0o644, "2.0\n");
        outer.file("control.tar.gz", 0o644, gzip(&control.tar("./")?)?);
        outer.file("data.tar.gz", 0o644, gzip(&data.tar("./")?)?);
        let name = format!("{NAME}_{version}-r1_{architecture}.ipk");
        Ok(Product { name, bytes: gzip(&outer.tar("./")?)? })
    }
}

fn repository_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(process::root().join(Path::new(path)))
        .map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(binary: &[u8]) -> Vec<Product> {
        let contents = Contents { time: 1_700_000_000, ..Contents::of(binary.to_vec()).unwrap() };
        let mut products = Vec::new();
        for (_, target) in targets::all().unwrap() {
            if target.package.is_none() {
                continue;
            }
            for format in Format::ALL {
                products.extend(contents.package(&target, format).unwrap());
            }
        }
        products
    }

    #[test]
    fn a_package_that_is_made_twice_is_the_same_file_and_another_binary_makes_another() {
        let (first, again, other) = (all(b"binary"), all(b"binary"), all(b"binarz"));
        assert!(first.len() >= 3 * 3);
        for ((first, again), other) in first.iter().zip(&again).zip(&other) {
            assert_eq!(first.name, again.name);
            assert!(first.bytes == again.bytes, "{}", first.name);
            assert!(first.bytes != other.bytes, "{}", first.name);
        }
    }

    #[test]
    fn dpkg_reads_the_package() {
        if !process::is_installed("dpkg-deb") {
            println!("skipped: no dpkg-deb");
            return;
        }
        let folder = std::env::temp_dir().join(format!("loka-deb-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for Product { name, bytes } in all(b"binary") {
            let Some(architecture) =
                name.strip_suffix(".deb").and_then(|n| n.split('_').next_back())
            else {
                continue;
            };
            let path = folder.join(&name);
            std::fs::write(&path, bytes).unwrap();
            let mut ask = process::command("dpkg-deb");
            ask.args(["--field"]).arg(&path).args(["Package", "Architecture", "Version"]);
            let fields = process::output(&mut ask).unwrap();
            let version = version().unwrap();
            let expected =
                format!("Package: {NAME}\nArchitecture: {architecture}\nVersion: {version}\n");
            assert_eq!(fields, expected);
            let listed =
                process::output(process::command("dpkg-deb").arg("--contents").arg(&path)).unwrap();
            let line = listed.lines().find(|line| line.ends_with(" ./usr/sbin/loka-stratum"));
            assert!(line.is_some_and(|line| line.starts_with("-rwxr-xr-x root/root")), "{listed}");
        }
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn the_unit_names_its_program_and_its_memory() {
        let contents = Contents::of(Vec::new()).unwrap();
        let unit = contents.unit("/usr/sbin/loka-stratum").unwrap();
        assert!(unit.contains("\nExecStart=/usr/sbin/loka-stratum run "));
        assert!(unit.contains("\nMemoryMax=536870912\n"));
        assert!(!unit.contains('@') || unit.matches('@').count() == 2, "only the call groups");
    }

    #[test]
    fn the_feed_has_the_version_of_the_crate() {
        let makefile = part("openwrt/Makefile").unwrap();
        assert!(makefile.contains(&format!("\nPKG_VERSION:={}\n", version().unwrap())));
    }

    #[test]
    fn a_format_that_is_unknown_is_refused() {
        let error = Format::parse("rpm").err().unwrap_or_default();
        assert_eq!(error, "--format: got rpm, allowed deb, ipk, tar");
    }
}
