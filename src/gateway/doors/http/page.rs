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

    /// The texts of the gateway that the wizard has in its languages; English first.
    fn said() -> Vec<Vec<String>> {
        let rows = include_str!("page/said.js").lines().filter_map(|l| l.strip_prefix("  ['"));
        rows.map(|row| {
            let row = row.trim_end_matches("'],").replace("\\'", "\u{2}");
            row.split("', '").map(|text| text.replace('\u{2}', "'")).collect()
        })
        .collect()
    }

    /// The numbers that stand in braces.
    fn places(text: &str) -> std::collections::BTreeSet<&str> {
        text.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect()
    }

    #[test]
    fn f80_what_the_gateway_says_in_the_wizard_is_there_in_five_languages() {
        let rows = said();
        assert!(rows.len() > 100, "{}", rows.len());
        for row in &rows {
            assert_eq!(row.len(), 5, "{row:?}");
            assert!(row.iter().all(|text| !text.trim().is_empty()), "{row:?}");
            let used: Vec<_> = row[1..].iter().map(|text| places(text)).collect();
            assert!(used.iter().all(|one| *one == used[0]), "{row:?}");
            assert!(used[0].is_subset(&places(&row[0])), "{row:?}");
        }
    }

    /// Source as its texts read: lines that go on are joined.
    fn source(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut joined = String::new();
        for part in text.split("\\\n") {
            joined += if joined.is_empty() { part } else { part.trim_start() };
        }
        joined
    }

    /// The texts of a source before its tests.
    fn texts(path: &str) -> Vec<String> {
        let source = source(path);
        let code = source.split("#[cfg(test)]").next().unwrap();
        let code: Vec<_> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let code = code.join("\n").replace("\\\"", "'");
        code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// A text without the values that stand in it.
    fn pieces(text: &str) -> impl Iterator<Item = &str> {
        text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest))
    }

    /// A text with an `x` where a value stands.
    fn filled(text: &str) -> String {
        let mut parts = text.split('{');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + "x" + part.split_once('}').map_or(part, |(_, r)| r))
    }

    /// Every text of a trial, of an address and of what is refused has its row, piece by piece.
    #[test]
    fn f80_no_text_of_a_trial_or_an_address_is_without_its_row() {
        let rows: Vec<_> = said().iter().map(|row| filled(&row[0])).collect();
        let is_known = |text: &str| rows.iter().any(|row| row.contains(text));
        let mut missing = Vec::new();
        for path in [
            "src/gateway/operate/probe.rs",
            "src/gateway/operate/probe/talk.rs",
            "src/engine/settings/url.rs",
            "src/gateway/operate/control/overruled.rs",
        ] {
            let texts = texts(path);
            assert!(texts.len() > 3, "{path}");
            let pieces = texts.iter().flat_map(|text| pieces(text)).flat_map(|p| p.split("; "));
            let is_words = |piece: &&str| piece.split_whitespace().count() > 2;
            let is_missing = |piece: &&str| !is_known(piece) && !NOT_TOLD.contains(piece);
            let all = pieces.map(|piece| piece.trim_matches([';', ' '])).filter(is_words);
            missing.extend(all.filter(is_missing).map(|piece| format!("{path}: {piece}")));
        }
        assert!(missing.is_empty(), "without a row in said.js: {missing:#?}");
    }

    /// Texts of these sources that no wizard shows.
    const NOT_TOLD: [&str; 3] =
        [": got no pool with an address, of", "does not resolve", "No address associated"];

    /// A text that was changed in the gateway leaves no row behind that nothing is said by.
    #[test]
    fn f80_every_row_is_a_text_of_the_gateway() {
        let all: String = [
            "src/gateway/operate/probe.rs",
            "src/gateway/operate/probe/talk.rs",
            "src/gateway/runtime/dial.rs",
            "src/gateway/runtime/listen.rs",
            "src/gateway/access/password.rs",
            "src/gateway/operate/control/bound.rs",
            "src/gateway/operate/control/commit.rs",
            "src/gateway/operate/control/overruled.rs",
            "src/gateway/doors/http/api.rs",
            "src/gateway/doors/http/page/base.js",
            "src/gateway/doors/http/page/views.js",
            "src/engine/settings.rs",
            "src/engine/settings/field.rs",
            "src/engine/settings/fields.rs",
            "src/engine/settings/url.rs",
            "src/engine/upstream.rs",
        ]
        .map(source)
        .concat();
        let mut stale = Vec::new();
        for row in said() {
            let is_words = |piece: &&str| piece.split_whitespace().count() > 2;
            let is_stale = |piece: &&str| !is_said(piece, &all, 2);
            stale.extend(pieces(&row[0]).filter(is_words).filter(is_stale).map(str::to_owned));
        }
        assert!(stale.is_empty(), "rows of said.js that nothing says: {stale:#?}");
    }

    /// Says whether a source has a text, or has it in so many more parts than one.
    fn is_said(text: &str, source: &str, more: u8) -> bool {
        let is_there =
            |text: &str| source.contains(text.trim_matches(|c: char| !c.is_alphanumeric()));
        let in_two = |(at, _)| is_there(&text[..at]) && is_said(&text[at..], source, more - 1);
        is_there(text) || (more > 0 && text.match_indices([' ', ',', ':']).any(in_two))
    }
}
