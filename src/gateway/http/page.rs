//! The set-up page: the files that a browser gets, as they are in the binary.
//!
//! Read this first. `index.html` is the frame that is seen at once; `app.js` fills it from the
//! API, and `style.css` fits it to telephones and to the dark. The script is kept in parts that
//! are served as one, so that a browser asks three times and no more: every request takes one of
//! the few places of the port.
//!
//! Nothing is loaded from elsewhere and nothing stands inline, so the strictest policy holds. What
//! is served is short enough as it stands; packing it would save a moment once and cost a build
//! step.

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its text.
    pub body: &'static str,
}

/// The page itself.
pub const INDEX: File =
    File { path: "/", kind: "text/html; charset=utf-8", body: include_str!("page/index.html") };

/// How it looks.
pub const STYLE: File = File {
    path: "/style.css",
    kind: "text/css; charset=utf-8",
    body: include_str!("page/style.css"),
};

/// What it does.
pub const SCRIPT: File = File {
    path: "/app.js",
    kind: "text/javascript; charset=utf-8",
    body: concat!(
        include_str!("page/words.js"),
        include_str!("page/base.js"),
        include_str!("page/settings.js"),
        include_str!("page/wizard.js"),
        include_str!("page/views.js"),
    ),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest page in bytes, as it is sent: a second on the slowest link of a farm.
    const PAGE_BYTES_MAX: usize = 60 * 1024;

    const FILES: [File; 3] = [INDEX, STYLE, SCRIPT];

    #[test]
    fn the_page_is_short_without_being_packed() {
        let bytes: usize = FILES.iter().map(|file| file.body.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for file in FILES {
            // The name of SVG is an address that nobody asks.
            let body = file.body.replace("http://www.w3.org/2000/svg", "");
            for sign in ["http:", "https:", "//cdn", "@import", "url("] {
                assert!(!body.contains(sign), "{} in {}", sign, file.path);
            }
        }
        for file in &FILES[1..] {
            assert!(INDEX.body.contains(&format!("\"{}\"", file.path)), "{}", file.path);
        }
    }

    #[test]
    fn nothing_stands_inline() {
        let html = INDEX.body;
        assert!(html.contains("<script src=\"/app.js\" defer></script>"));
        assert_eq!(html.matches("<script").count(), 1);
        for sign in ["<style", " style=", " onclick", " onload", "javascript:"] {
            assert!(!html.contains(sign), "{sign}");
        }
        // What a policy without `unsafe-eval` forbids, and what would read texts of others as HTML.
        for sign in ["eval(", "new Function", "innerHTML", "outerHTML", "insertAdjacentHTML"] {
            assert!(!SCRIPT.body.contains(sign), "{sign}");
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
