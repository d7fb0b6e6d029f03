//! The table of routes: every path and method, with its rights and body type.

use embedded_svc::http::Method;
use loka_stratum::control::Role;

use super::basic;
use super::page::{self, File};
use super::update;

/// One path with one method.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method; HEAD is answered for every GET.
    pub method: Method,
    /// The path without a query; a final `{id}` matches one path segment.
    pub path: &'static str,
    /// The rights it needs.
    pub who: Who,
    /// The type of its body.
    pub body: Body,
    /// Its action.
    pub call: Call,
}

/// The rights that a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Any peer that reaches a port.
    Anyone,
    /// Any peer on the status port; over TLS, at the page, a logged-in user.
    OnStatusPort,
    /// A user logged in with this role or a higher one.
    Role(Role),
}

/// The type of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None; a body is ignored.
    None,
    /// JSON.
    Json,
    /// A backup.
    Bytes,
    /// A submitted HTML form.
    Form,
    /// A file, read in pieces by its handler.
    File,
}

/// The action of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Page(&'static File),
    Basic,
    BasicForm,
    Metrics,
    Health,
    Ready,
    Status,
    OpenApi,
    Session,
    LogIn,
    LogOut,
    Sessions,
    EndSession,
    Fields,
    Settings,
    Check,
    Commit,
    Confirm,
    RollBack,
    Test,
    Miners,
    Admitted,
    Admit,
    Log,
    Frames,
    Audit,
    Password,
    Reset,
    Backup,
    Restore,
    Certificate,
    BringCertificate,
    DropCertificate,
    Update,
}

const VIEWER: Who = Who::Role(Role::Viewer);
const OPERATOR: Who = Who::Role(Role::Operator);
const ADMIN: Who = Who::Role(Role::Admin);

/// All routes.
pub const ROUTES: &[Route] = &[
    file(&page::INDEX),
    file(&page::STYLE),
    file(&page::SCRIPT),
    get(basic::PATH, Who::Anyone, Call::Basic),
    route(Method::Post, basic::PATH, Who::Anyone, Body::Form, Call::BasicForm),
    get("/metrics", Who::OnStatusPort, Call::Metrics),
    get("/healthz", Who::Anyone, Call::Health),
    get("/readyz", Who::OnStatusPort, Call::Ready),
    get("/api/v1/status", Who::OnStatusPort, Call::Status),
    get("/api/v1/openapi.json", Who::Anyone, Call::OpenApi),
    get("/api/v1/session", Who::Anyone, Call::Session),
    route(Method::Post, "/api/v1/session", Who::Anyone, Body::Json, Call::LogIn),
    route(Method::Delete, "/api/v1/session", VIEWER, Body::None, Call::LogOut),
    get("/api/v1/sessions", ADMIN, Call::Sessions),
    route(Method::Delete, "/api/v1/sessions/{id}", ADMIN, Body::None, Call::EndSession),
    get("/api/v1/fields", VIEWER, Call::Fields),
    get("/api/v1/settings", VIEWER, Call::Settings),
    route(Method::Post, "/api/v1/check", OPERATOR, Body::Json, Call::Check),
    route(Method::Post, "/api/v1/commit", OPERATOR, Body::Json, Call::Commit),
    route(Method::Post, "/api/v1/confirm", OPERATOR, Body::Json, Call::Confirm),
    route(Method::Post, "/api/v1/rollback", OPERATOR, Body::Json, Call::RollBack),
    route(Method::Post, "/api/v1/test", OPERATOR, Body::Json, Call::Test),
    get("/api/v1/miners", VIEWER, Call::Miners),
    get("/api/v1/admitted", VIEWER, Call::Admitted),
    route(Method::Post, "/api/v1/admit", OPERATOR, Body::Json, Call::Admit),
    get("/api/v1/log", VIEWER, Call::Log),
    get("/api/v1/frames", VIEWER, Call::Frames),
    get("/api/v1/audit", ADMIN, Call::Audit),
    route(Method::Post, "/api/v1/password", ADMIN, Body::Json, Call::Password),
    route(Method::Post, "/api/v1/reset", ADMIN, Body::Json, Call::Reset),
    get("/api/v1/backup", OPERATOR, Call::Backup),
    route(Method::Post, "/api/v1/restore", OPERATOR, Body::Bytes, Call::Restore),
    get("/api/v1/certificate", VIEWER, Call::Certificate),
    route(Method::Put, "/api/v1/certificate", ADMIN, Body::Json, Call::BringCertificate),
    route(Method::Delete, "/api/v1/certificate", ADMIN, Body::None, Call::DropCertificate),
    route(Method::Put, update::PATH, ADMIN, Body::File, Call::Update),
];

const fn file(file: &'static File) -> Route {
    get(file.path, Who::Anyone, Call::Page(file))
}

const fn get(path: &'static str, who: Who, call: Call) -> Route {
    route(Method::Get, path, who, Body::None, call)
}

const fn route(method: Method, path: &'static str, who: Who, body: Body, call: Call) -> Route {
    Route { method, path, who, body, call }
}

impl Route {
    /// Returns the segment that matches `{id}`, or an empty text without `{id}`; `None` if the path
    /// differs.
    fn fits<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.path.strip_suffix("{id}") {
            None => (self.path == path).then_some(""),
            Some(start) => {
                path.strip_prefix(start).filter(|id| !id.is_empty() && !id.contains('/'))
            }
        }
    }
}

/// Returns the route of a request and its `{id}`. If only the method differs, returns the path's
/// methods; an unknown path has none.
pub fn find(method: Method, path: &str) -> Result<(&'static Route, &str), Vec<Method>> {
    let of_path = || ROUTES.iter().filter_map(|route| Some((route, route.fits(path)?)));
    let wanted = if method == Method::Head { Method::Get } else { method };
    of_path()
        .find(|(route, _)| route.method == wanted)
        .ok_or_else(|| of_path().map(|(route, _)| route.method).collect())
}

/// Says whether the handler reads the body in pieces.
pub fn is_file(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path == path && route.body == Body::File)
}

/// Returns the name of a method.
pub fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        _ => "another",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gateway::doors::http::api::OPENAPI;

    #[test]
    fn the_description_has_every_route_of_the_api_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        // The page's own paths are not part of the API's description.
        let is_page =
            |route: &&Route| matches!(route.call, Call::Page(_) | Call::Basic | Call::BasicForm);
        let answered: BTreeSet<String> = ROUTES
            .iter()
            .filter(|route| !is_page(route))
            .map(|route| format!("{} {}", name(route.method), route.path))
            .collect();
        assert_eq!(described, answered);
    }

    #[test]
    fn an_id_is_one_part_of_a_path() {
        let find = |path| find(Method::Delete, path).map(|(route, id)| (route.call, id));
        assert_eq!(find("/api/v1/sessions/17"), Ok((Call::EndSession, "17")));
        assert_eq!(find("/api/v1/session"), Ok((Call::LogOut, "")));
        assert_eq!(find("/api/v1/sessions"), Err(vec![Method::Get]));
        for path in ["/api/v1/sessions/", "/api/v1/sessions/1/2", "/api/v1/sessions17"] {
            assert_eq!(find(path), Err(Vec::new()), "{path}");
        }
    }

    #[test]
    fn what_changes_something_is_behind_a_role_but_for_logging_in() {
        for route in ROUTES.iter().filter(|route| route.method != Method::Get) {
            // The basic form also logs in; after that it checks its own token.
            let is_log_in = matches!(route.call, Call::LogIn | Call::BasicForm);
            assert!(is_log_in || matches!(route.who, Who::Role(_)), "{route:?}");
        }
    }
}
