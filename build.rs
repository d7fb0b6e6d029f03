//! Compresses the page's files, and sets the linker arguments of a binary with defmt frames.
//!
//! The engine needs neither, so it builds nothing here.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "gateway")]
    page::pack();
    #[cfg(all(feature = "gateway", feature = "defmt"))]
    frames::link();
}

/// Joins the parts of the page's script and compresses the files with gzip.
#[cfg(feature = "gateway")]
mod page {
    use std::path::PathBuf;
    use std::{env, fs};

    use crc::{CRC_32_ISO_HDLC, Crc};
    use miniz_oxide::deflate::compress_to_vec;

    const FOLDER: &str = "src/gateway/doors/http/page";

    /// The parts of each file, in order: a part uses only earlier parts at load time.
    const FILES: [(&str, &[&str]); 2] = [
        (
            "app.js",
            &[
                "words.js",
                "said.js",
                "base.js",
                "settings.js",
                "wizard.js",
                "access.js",
                "update.js",
                "views.js",
            ],
        ),
        ("style.css", &["style.css"]),
    ];

    /// The highest level of deflate.
    const LEVEL: u8 = 10;

    /// A gzip header (RFC 1952): deflate, no flags, no time, best compression, unknown system.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];

    pub fn pack() {
        println!("cargo::rerun-if-changed={FOLDER}");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        for (name, parts) in FILES {
            let read = |part: &&str| {
                let path = format!("{FOLDER}/{part}");
                fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
            };
            let whole: Vec<u8> = parts.iter().flat_map(read).collect();
            let length = u32::try_from(whole.len()).expect("a page is short");
            let mut packed = HEAD.to_vec();
            packed.extend(compress_to_vec(&whole, LEVEL));
            packed.extend(Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&whole).to_le_bytes());
            packed.extend(length.to_le_bytes());
            for (name, bytes) in [(name.to_owned(), whole), (format!("{name}.gz"), packed)] {
                let path = out.join(name);
                fs::write(&path, bytes)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
    }
}

/// defmt finds its texts by the addresses of symbols in a section that is never loaded. Its own
/// linker script replaces the whole layout of a program, which the C library on Linux would not
/// survive. `targets/defmt-host.x` adds the section to the linker's own layout. Frames carry the
/// low 16 bits of run-time addresses, so the program must load at a multiple of 64 KiB: hence the
/// page size.
#[cfg(all(feature = "gateway", feature = "defmt"))]
mod frames {
    use std::env;

    const SCRIPT: &str = "targets/defmt-host.x";

    pub fn link() {
        println!("cargo::rerun-if-changed={SCRIPT}");
        // Read by defmt's macros; it decides which frames exist.
        println!("cargo::rerun-if-env-changed=DEFMT_LOG");
        if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
            // Compiler drivers and bare linkers both accept this form.
            let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
            println!("cargo::rustc-link-arg-bins=-T{root}/{SCRIPT}");
            // Separate arguments: zig does not accept them joined.
            println!("cargo::rustc-link-arg-bins=-z");
            println!("cargo::rustc-link-arg-bins=max-page-size=65536");
        }
    }
}
