//! The set-up page: the files sent to browsers, embedded in the binary.
//!
//! Read this first. `index.html` is the frame that shows at once; `app.js` fills it from the API;
//! `style.css` adapts it to phones and dark mode. The script's parts are served as one file, so a
//! browser sends three requests: each takes one of the port's few slots.
//!
//! No file comes from elsewhere and nothing is inline, so the strictest policy holds. Script and
//! style are compressed at build time (`build.rs`) and always sent so: a third of the bytes, in the
//! program and on the wire. Every browser has gzip; on the command line, use `curl --compressed`.

use super::answer::Answer;

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// The bytes sent.
    pub body: &'static [u8],
    /// Whether they are gzip.
    pub is_packed: bool,
}

impl File {
    /// Returns the file as an answer.
    pub fn answer(&self) -> Answer {
        let answer = Answer::new(200, self.kind, self.body);
        if self.is_packed { answer.with("content-encoding", "gzip".to_owned()) } else { answer }
    }
}

/// The HTML.
pub const INDEX: File = File {
    path: "/",
    kind: "text/html; charset=utf-8",
    body: include_bytes!("page/index.html"),
    is_packed: false,
};

/// The style.
pub const STYLE: File = File {
    path: "/style.css",
    kind: "text/css; charset=utf-8",
    body: include_bytes!(concat!(env!("OUT_DIR"), "/style.css.gz")),
    is_packed: true,
};

/// The script.
pub const SCRIPT: File = File {
    path: "/app.js",
    kind: "text/javascript; charset=utf-8",
    body: include_bytes!(concat!(env!("OUT_DIR"), "/app.js.gz")),
    is_packed: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes of the page as sent: a second on the slowest link of a farm.
    const PAGE_BYTES_MAX: usize = 60 * 1024;

    const INDEX_TEXT: &str = include_str!("page/index.html");
    const STYLE_TEXT: &str = include_str!("page/style.css");
    const SCRIPT_TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/app.js"));

    const FILES: [(File, &str); 3] =
        [(INDEX, INDEX_TEXT), (STYLE, STYLE_TEXT), (SCRIPT, SCRIPT_TEXT)];

    #[test]
    fn the_page_is_short() {
        let bytes: usize = FILES.iter().map(|(file, _)| file.body.len()).sum();
        println!("{bytes} bytes");
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn what_is_packed_is_the_text() {
        for (file, text) in FILES.iter().filter(|(file, _)| file.is_packed) {
            // RFC 1952: a ten-byte header without options, an eight-byte trailer.
            let (head, rest) = file.body.split_at(10);
            let (packed, tail) = rest.split_at(rest.len() - 8);
            assert_eq!(head[..4], [0x1f, 0x8b, 8, 0], "{}", file.path);
            let whole = miniz_oxide::inflate::decompress_to_vec(packed).unwrap();
            assert_eq!(whole, text.as_bytes(), "{}", file.path);
            let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&whole).to_le_bytes();
            let length = (whole.len() as u32).to_le_bytes();
            assert_eq!((&tail[..4], &tail[4..]), (&sum[..], &length[..]), "{}", file.path);
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (file, text) in FILES {
            // The SVG namespace is an identifier and is never fetched.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for sign in ["http:", "//cdn", "@import", "url("] {
                assert!(!text.contains(sign), "{} in {}", sign, file.path);
            }
            // The page names only its own address over TLS.
            for (start, _) in text.match_indices("https:") {
                let is_own = ["https://${location.hostname}", "https://…"];
                let is_own = is_own.iter().any(|own| text[start..].starts_with(own));
                assert!(is_own, "{} in {}", &text[start..start + 20], file.path);
            }
        }
        for (file, _) in &FILES[1..] {
            assert!(INDEX_TEXT.contains(&format!("\"{}\"", file.path)), "{}", file.path);
        }
    }

    #[test]
    fn nothing_stands_inline() {
        let html = INDEX_TEXT;
        assert!(html.contains("<script src=\"/app.js\" defer></script>"));
        assert_eq!(html.matches("<script").count(), 1);
        for sign in ["<style", " style=", " onclick", " onload", "javascript:"] {
            assert!(!html.contains(sign), "{sign}");
        }
        // The policy forbids these without `unsafe-eval`, or they would parse foreign texts as
        // HTML.
        for sign in ["eval(", "new Function", "innerHTML", "outerHTML", "insertAdjacentHTML"] {
            assert!(!SCRIPT_TEXT.contains(sign), "{sign}");
        }
    }

    #[test]
    fn every_language_has_every_word() {
        let tables: Vec<Vec<&str>> = include_str!("page/words.js")
            .split("\n  },")
            .map(|table| {
                let text = table.split_once(": {").map_or("", |(_, text)| text);
                let name = |part: &'static str| {
                    let start =
                        part.rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + 1);
                    part.get(start..).filter(|name| !name.is_empty())
                };
                text.split(": '").filter_map(name).collect()
            })
            .filter(|words: &Vec<_>| !words.is_empty())
            .collect();
        assert_eq!(tables.len(), 5, "languages");
        assert!(tables[0].len() > 40, "{:?}", tables[0]);
        for table in &tables {
            assert_eq!(table, &tables[0]);
        }
    }
}
