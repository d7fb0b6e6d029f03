//! The rooms of the sources, and which room may import which: arrows point down only (ADR 18).
//!
//! A room is a folder, or a file with its folder. A room imports only rooms above its own line of
//! [`ROOMS`], and only those that its line names, so no circle can arise. Doors never import each
//! other. Comments are not imports.

use super::{Finding, Source};

/// A room: its name in paths of modules, the start of its files' paths, the rooms it may import.
struct Room {
    name: &'static str,
    files: &'static [&'static str],
    imports: &'static [&'static str],
}

/// The rooms, the lowest first. The engine is a library of its own and imports none of them.
const ROOMS: [Room; 11] = [
    Room { name: "engine", files: &["src/engine/"], imports: &[] },
    Room { name: "base", files: &["src/gateway/base/"], imports: &[] },
    Room { name: "access", files: &["src/gateway/access"], imports: &["base"] },
    Room { name: "boards", files: &["src/gateway/boards/"], imports: &["base"] },
    Room { name: "runtime", files: &["src/gateway/runtime/"], imports: &["base", "access"] },
    Room { name: "observe", files: &["src/gateway/observe/"], imports: &["base", "runtime"] },
    Room {
        name: "operate",
        files: &["src/gateway/operate/"],
        imports: &["base", "access", "boards", "runtime", "observe"],
    },
    Room {
        name: "update",
        files: &["src/gateway/update"],
        imports: &["base", "runtime", "observe", "operate"],
    },
    Room {
        name: "doors",
        files: &["src/gateway/doors/"],
        imports: &["base", "access", "boards", "runtime", "observe", "operate", "update"],
    },
    Room { name: "ctl", files: &["src/ctl/"], imports: &["base", "observe"] },
    Room { name: "lab", files: &["src/lab/"], imports: &[] },
];

/// Checks what a file of a room imports; files of no room may import all, such as the wiring.
pub fn check(source: &Source) -> Vec<Finding> {
    let Source { path, text } = source;
    let Some(room) = ROOMS.iter().find(|room| room.files.iter().any(|f| path.starts_with(f)))
    else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let code = text.trim_start();
        if code.starts_with("//") {
            continue;
        }
        for import in imports(code) {
            let is_allowed = import == room.name || room.imports.contains(&import);
            if !is_allowed {
                let allowed = room.imports.join(", ");
                let name = room.name;
                let text = format!("{name} imports {import}, allowed: {allowed} (ADR 18)");
                findings.push(Finding::new(path, line, text));
            }
        }
        if let (Some(own), Some(other)) = (door(path), door_imported(code))
            && own != other
        {
            let text = format!("the door {own} imports the door {other} (ADR 18)");
            findings.push(Finding::new(path, line, text));
        }
    }
    findings
}

/// The rooms that a line of code names.
fn imports(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("crate::").filter_map(|(at, found)| {
        let path = &code[at + found.len()..];
        let path = path.strip_prefix("gateway::").unwrap_or(path);
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
        let name = &path[..end];
        ROOMS.iter().any(|room| room.name == name).then_some(name)
    })
}

/// The door that a file belongs to.
fn door(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/gateway/doors/")?;
    let name = rest.split(['/', '.']).next()?;
    (name != "mod").then_some(name)
}

/// The door that a line of code names.
fn door_imported(code: &str) -> Option<&str> {
    let (_, rest) = code.split_once("gateway::doors::")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check(&source).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_up_is_found_and_an_arrow_down_is_not() {
        let up = "use crate::gateway::doors::http::Ports;\n";
        assert_eq!(
            found("src/gateway/operate/control.rs", up),
            ["operate imports doors, allowed: base, access, boards, runtime, observe (ADR 18)"]
        );
        assert_eq!(found("src/gateway/doors/http/mod.rs", up), [""; 0]);
        assert_eq!(found("src/gateway/wiring.rs", up), [""; 0]);
        let inline = "    let x = crate::gateway::runtime::hub::address(y);\n";
        assert_eq!(found("src/gateway/base/log.rs", inline).len(), 1);
        assert_eq!(found("src/gateway/observe/report.rs", inline), [""; 0]);
        assert_eq!(found("src/lab/demo.rs", "use crate::gateway::base::say;\n").len(), 1);
        assert_eq!(found("src/ctl/find.rs", "use crate::lab::clock;\n").len(), 1);
    }

    #[test]
    fn a_comment_is_no_import_and_doors_do_not_know_each_other() {
        let comment = "/// As [`crate::gateway::doors::http`] does.\n";
        assert_eq!(found("src/gateway/base/log.rs", comment), [""; 0]);
        let other = "use crate::gateway::doors::serial;\n";
        assert_eq!(
            found("src/gateway/doors/mdns.rs", other),
            ["the door mdns imports the door serial (ADR 18)"]
        );
    }

    #[test]
    fn every_room_imports_rooms_above_it_alone_so_there_is_no_circle() {
        for (place, room) in ROOMS.iter().enumerate() {
            for import in room.imports {
                let above = ROOMS[..place].iter().any(|other| other.name == *import);
                assert!(above, "{} imports {import}, which does not stand above it", room.name);
            }
        }
    }
}
