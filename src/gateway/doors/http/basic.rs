//! The basic form: set-up in a browser that runs no script.
//!
//! The server renders two pages: a log-in, and a form with the essential settings (password, pool,
//! user, port). A form's contents become requests to [`Control`], as at any other door.
//!
//! A form cannot send the header that a script proves itself with. The form holds the session's
//! CSRF token instead; other sites can neither read nor guess it. `Origin` and the cookie are
//! checked as everywhere ([`guard`]). The answers to log-in and commit are redirects to the form,
//! so reloading the page repeats neither.
//!
//! [`Control`]: crate::gateway::operate::control::Control
//! [`guard`]: super::guard

use std::fmt::Write;

use loka_stratum::control::{Item, Request, Role};
use loka_stratum::settings::Key;

use super::answer::{Answer, Fault};
use super::api::{Api, Asked};
use super::guard::Bearer;
use super::json::{Edit, Items, Problem};
use crate::gateway::access::Proof;

/// The path of the form.
pub const PATH: &str = "/basic";

const HTML: &str = "text/html; charset=utf-8";

/// The page around the part that differs.
const FRAME: &str = include_str!("page/basic.html");

/// The keys of the form: the name of the field, and the key.
const KEYS: [(&str, &str); 4] = [
    ("url", "pool.1.url"),
    ("user", "pool.1.user"),
    ("pool_password", "pool.1.password"),
    ("listen", "listen.addresses"),
];

/// The fields of a submitted form, in order.
#[derive(Default)]
struct Form(Vec<(String, String)>);

/// The note above the form.
enum Note {
    Nothing,
    /// The request succeeded.
    Done(&'static str),
    /// The result of a pool test.
    Tried(Items),
    /// The request failed.
    Wrong(u16, Vec<String>),
}

impl Form {
    fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    /// Returns the form's changes to the settings in use. An empty password changes nothing.
    fn edits(&self, values: &Items) -> Vec<Edit> {
        let mut edits = Vec::new();
        for (name, key) in KEYS {
            let mut text = self.get(name).to_owned();
            if name == "url" && !text.is_empty() && !text.contains("://") {
                text.insert_str(0, "stratum+ssl://");
            }
            if text != in_use(values, key) && !(text.is_empty() && name == "pool_password") {
                edits.push(Edit { key: key.to_owned(), value: Some(text) });
            }
        }
        edits
    }
}

impl Api<'_> {
    /// Shows the form, or the log-in.
    pub(super) async fn basic(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        self.form(asked, &Form::default(), Note::Nothing).await
    }

    /// Carries out a submitted form.
    pub(super) async fn basic_form(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let form = Form::read(asked.body);
        let Some(bearer) = asked.bearer else { return self.log_in_by_form(asked, &form).await };
        if !bearer.token.is_csrf(form.get("csrf")) {
            return Err(Fault::new(
                403,
                "csrf: the token is not the session's; load the form again",
            ));
        }
        bearer.check_role(Role::Operator)?;
        let done = match form.get("do") {
            "save" => return self.save(asked, &form).await,
            "test" => self.try_pool(asked, &form).await,
            "confirm" => self.answer(asked, Request::Confirm, "The settings are kept.").await,
            "rollback" => {
                self.answer(asked, Request::Rollback, "The settings were taken back.").await
            }
            "leave" => {
                self.access.log_out(&bearer.token);
                let cookie = self.cookie("", "; Max-Age=0");
                return Ok(Answer::see(PATH).with("set-cookie", cookie));
            }
            _ => Err(Fault::new(400, "do: allowed save, test, confirm, rollback, leave")),
        };
        self.form(asked, &form, done.unwrap_or_else(Note::from)).await
    }

    async fn log_in_by_form(&self, asked: &Asked<'_>, form: &Form) -> Result<Answer, Fault> {
        let role = Role::named(form.get("role")).unwrap_or(Role::Admin);
        let proof = match form.get("code") {
            "" => Proof::Password { role, word: form.get("password") },
            code => Proof::Code(code),
        };
        match self.open_session(asked, &proof).await {
            Ok(opened) => Ok(self.remembered(Answer::see(PATH), &opened)),
            Err(fault) => self.form(asked, form, Note::from(fault)).await,
        }
    }

    /// Sets the first password and commits the settings; a single problem stops both.
    async fn save(&self, asked: &Asked<'_>, form: &Form) -> Result<Answer, Fault> {
        let values = self.ask(asked, &Request::Show { prefix: "" }).await?;
        let edits = form.edits(&values);
        let (mut candidate, mut problems) = self.edit(asked, &edits).await?;
        let actor = self.actor(asked)?;
        let mut items = Items::default();
        let mut out = |item: Item<'_>| items.add(&item);
        if problems.is_empty() {
            let diff = self.control.ask(&actor, &mut candidate, &Request::Diff, &mut out).await;
            diff.map_err(Fault::from)?;
            problems.append(&mut items.problems);
        }
        if !problems.is_empty() {
            let texts = problems.into_iter().map(|Problem { text, .. }| text).collect();
            return self.form(asked, form, Note::Wrong(400, texts)).await;
        }
        if self.access.is_first_run() {
            let word = form.get("word");
            if let Err(fault) = self.set_password(asked, Role::Admin, word).await {
                return self.form(asked, form, Note::from(fault)).await;
            }
        }
        let mut out = |item: Item<'_>| items.add(&item);
        match self.control.ask(&actor, &mut candidate, &Request::Commit, &mut out).await {
            // A note on storage or a restart is shown; without notes the page is reloaded.
            Ok(()) if items.lines.is_empty() => Ok(Answer::see(PATH)),
            Ok(()) => self.form(asked, &Form::default(), Note::Wrong(200, items.lines)).await,
            Err(refused) => self.form(asked, form, Note::from(Fault::from(refused))).await,
        }
    }

    async fn try_pool(&self, asked: &Asked<'_>, form: &Form) -> Result<Note, Fault> {
        let values = self.ask(asked, &Request::Show { prefix: "" }).await?;
        let (mut candidate, problems) = self.edit(asked, &form.edits(&values)).await?;
        if !problems.is_empty() {
            let texts = problems.into_iter().map(|Problem { text, .. }| text).collect();
            return Ok(Note::Wrong(400, texts));
        }
        let mut items = Items::default();
        let mut out = |item: Item<'_>| items.add(&item);
        let test = Request::Test { pool: "pool.1" };
        self.control.ask(&self.actor(asked)?, &mut candidate, &test, &mut out).await?;
        Ok(Note::Tried(items))
    }

    async fn answer(
        &self,
        asked: &Asked<'_>,
        request: Request<'_>,
        done: &'static str,
    ) -> Result<Note, Fault> {
        let Items { lines, .. } = self.ask(asked, &request).await?;
        if lines.is_empty() { Ok(Note::Done(done)) } else { Ok(Note::Wrong(200, lines)) }
    }

    /// Renders the page: the form for a logged-in user, else the log-in.
    async fn form(&self, asked: &Asked<'_>, form: &Form, note: Note) -> Result<Answer, Fault> {
        let status = note.status();
        let mut html = FRAME.to_owned();
        note.show(&mut html);
        match asked.bearer {
            None => self.show_log_in(&mut html),
            Some(bearer) => {
                let values = self.ask(asked, &Request::Show { prefix: "" }).await?;
                self.show_waiting(&mut html, bearer);
                self.show_settings(&mut html, bearer, form, &values);
                self.show_farm(&mut html, &values);
            }
        }
        html += "<p><a href=\"/basic\">Reload</a> · <a href=\"/\">The page with \
                 scripts</a></p>\n\
                 </main>\n</body>\n</html>\n";
        Ok(Answer::new(status, HTML, html.into_bytes()))
    }

    fn show_log_in(&self, html: &mut String) {
        *html += "<h2>Log in</h2>\n<form method=\"post\" action=\"/basic\" autocomplete=\"off\">\n";
        if self.access.is_first_run() {
            let help = "8 digits, printed on the serial line and in the log: set-up code";
            *html += &input("code", "Set-up code", "text", "", help);
        } else {
            *html += "<div class=\"field\"><label for=\"role\">Role</label>\
                      <select id=\"role\" name=\"role\">";
            for role in Role::ALL.iter().rev() {
                let _ = write!(html, "<option>{}</option>", role.name());
            }
            *html += "</select></div>\n";
            *html += &input("password", "Password", "password", "", "");
        }
        *html += "<p><button class=\"main\">Log in</button></p>\n</form>\n";
    }

    fn show_waiting(&self, html: &mut String, bearer: Bearer) {
        let Some(seconds) = self.control.seconds_left() else { return };
        let _ = write!(
            html,
            "<section class=\"care\"><p><strong>Keep the changes?</strong> Without an answer they \
             are taken back in {seconds} s.</p>\n{}\
             <button class=\"main\" id=\"keep\" name=\"do\" value=\"confirm\">Keep</button>\n\
             <button id=\"back\" name=\"do\" value=\"rollback\">Take back</button></form>\n\
             </section>\n",
            begin(bearer)
        );
    }

    fn show_settings(&self, html: &mut String, bearer: Bearer, form: &Form, values: &Items) {
        *html += "<h2>Settings</h2>\n";
        *html += &begin(bearer);
        if self.access.is_first_run() {
            let help = "For the admin of this gateway; at least 8 characters.";
            *html += &input("word", "New password", "password", "", help);
        }
        for (name, key) in KEYS {
            let typed = form.get(name);
            let (label, kind) = match name {
                "url" => ("Pool", "text"),
                "user" => ("Worker", "text"),
                "pool_password" => ("Password of the worker", "password"),
                _ => ("Port for the miners", "text"),
            };
            let shown = match (kind, typed) {
                ("password", _) => "",
                (_, "") => in_use(values, key),
                _ => typed,
            };
            let effect = Key::parse(key).map_or("", |key| key.field().effect);
            *html += &input(name, label, kind, shown, effect);
        }
        *html += "<p class=\"buttons\">\
                  <button class=\"main\" name=\"do\" value=\"save\">Use it</button>\n\
                  <button name=\"do\" value=\"test\">Try the pool</button>\n\
                  <button name=\"do\" value=\"leave\">Log out</button></p></form>\n";
    }

    /// Shows the farm's state, and the addresses to type into miners.
    fn show_farm(&self, html: &mut String, values: &Items) {
        let report = self.control.report();
        *html += "<h2>The farm</h2>\n<ul>\n";
        for link in &report.upstream {
            let error = link.error.as_deref().map(|error| format!(": {error}"));
            let text = format!("Pool {}: {}{}", link.pool, link.state, error.unwrap_or_default());
            let _ = writeln!(html, "<li>{}</li>", escape(&text));
        }
        let (miners, shares) = (report.miners.connected, report.ledger.accepted);
        let _ = writeln!(html, "<li>Miners: {miners}</li>\n<li>Shares: {shares}</li>\n</ul>");
        let addresses = escape(in_use(values, "listen.addresses"));
        let _ = writeln!(
            html,
            "<p>Miners connect to <code>{addresses}</code>; 0.0.0.0 is any address of \
             this gateway.</p>"
        );
    }
}

impl Note {
    fn status(&self) -> u16 {
        match self {
            Self::Wrong(status, _) => *status,
            _ => 200,
        }
    }

    fn show(&self, html: &mut String) {
        let (role, class, lines) = match self {
            Self::Nothing => return,
            Self::Done(text) => ("status", "good", vec![(*text).to_owned()]),
            Self::Wrong(_, lines) => ("alert", "bad", lines.clone()),
            Self::Tried(items) => {
                let problems = items.problems.iter().map(|problem| problem.text.clone());
                let pins = items.certificates.iter().map(|one| {
                    format!(
                        "{}, signed by {}, until {}: {}",
                        one.subject, one.issuer, one.until, one.pin
                    )
                });
                let lines: Vec<_> =
                    items.lines.iter().cloned().chain(pins).chain(problems).collect();
                let class = if items.problems.is_empty() { "good" } else { "bad" };
                ("status", class, lines)
            }
        };
        let _ = writeln!(html, "<ul role=\"{role}\" class=\"{class}\">");
        for line in lines {
            let _ = writeln!(html, "<li>{}</li>", escape(&line));
        }
        *html += "</ul>\n";
    }
}

impl From<Fault> for Note {
    fn from(fault: Fault) -> Self {
        Self::Wrong(fault.status, vec![fault.text])
    }
}

/// Opens a form that holds the session's token.
fn begin(bearer: Bearer) -> String {
    format!(
        "<form method=\"post\" action=\"/basic\" autocomplete=\"off\">\
         <input type=\"hidden\" name=\"csrf\" value=\"{}\">\n",
        bearer.token.csrf()
    )
}

/// Renders a field with its label; `id` is also its name.
fn input(id: &str, label: &str, kind: &str, value: &str, help: &str) -> String {
    format!(
        "<div class=\"field\"><label for=\"{id}\">{label}</label>\
         <input id=\"{id}\" name=\"{id}\" type=\"{kind}\" value=\"{}\" maxlength=\"300\" \
         aria-describedby=\"{id}-help\"><p id=\"{id}-help\">{}</p></div>\n",
        escape(value),
        escape(help)
    )
}

fn in_use<'v>(values: &'v Items, key: &str) -> &'v str {
    values.values.iter().find(|value| value.key == key).map_or("", |value| &value.value)
}

/// Escapes a text for HTML, between tags and in attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_filled_in() {
        let form = Form::read(b"url=pool.example%3A3334&user=a%26b+c&user=second&x");
        assert_eq!(form.get("url"), "pool.example:3334");
        assert_eq!(form.get("user"), "a&b c");
        assert_eq!((form.get("x"), form.get("y")), ("", ""));
        let edits = form.edits(&Items::default());
        let edits: Vec<_> = edits.iter().map(|e| (e.key.as_str(), e.value.as_deref())).collect();
        assert_eq!(
            edits,
            [
                ("pool.1.url", Some("stratum+ssl://pool.example:3334")),
                ("pool.1.user", Some("a&b c")),
            ]
        );
    }

    #[test]
    fn texts_of_others_are_no_html() {
        let field = input("url", "Pool", "text", "\"><script>'&", "");
        assert!(field.contains("value=\"&quot;&gt;&lt;script&gt;&#39;&amp;\""), "{field}");
        let mut html = String::new();
        Note::Wrong(400, vec!["<b>".to_owned()]).show(&mut html);
        assert!(html.contains("<li>&lt;b&gt;</li>"), "{html}");
    }
}
