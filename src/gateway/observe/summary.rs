//! The status of a gateway as text, laid out for people: for `status`, `ctl` and the consoles.

use std::time::Duration;

use serde_json::Value;

use crate::gateway::base::clock::Utc;

/// The first words of the table of a gateway that is not ready.
pub const NOT_READY: &str = "NOT READY";

/// Formats the status for people.
pub fn table(status: &Value) -> String {
    let board = &status["board"];
    let miners = &status["miners"];
    let ledger = &status["ledger"];
    let ready = if status["ready"] == true { "ready" } else { NOT_READY };
    let mut text = format!(
        "{ready}, version {}, up {}\n",
        word(&status["version"]),
        time(status["uptime_secs"].as_u64().unwrap_or(0))
    );
    for warning in status["warnings"].as_array().into_iter().flatten() {
        text += &format!("WARNING: {}\n", word(warning));
    }
    text += &format!(
        "\nboard      {}: at most {} of {} memory\n",
        word(&board["profile"]),
        megabytes(&board["memory_bytes"]),
        megabytes(&board["memory_bytes_max"]),
    );
    let flash = &status["flash"];
    text += &format!(
        "flash      {} writes, {} bytes since the start; settings written {} times in all\n",
        word(&flash["writes"]),
        word(&flash["bytes"]),
        word(&flash["settings_writes"]),
    );
    text += &update(&status["update"]);
    text += &format!(
        "miners     {} connected of {}; {} accepted, {} refused, {} ended\n\n",
        word(&miners["connected"]),
        word(&miners["max"]),
        word(&miners["accepted"]),
        sum(&miners["refused"]),
        sum(&miners["ended"]),
    );
    text += "pool  state        difficulty      extranonce2  answer     url\n";
    for link in status["upstream"].as_array().into_iter().flatten() {
        let active = if link["active"] == true { "*" } else { " " };
        text += &format!(
            "{:>3}{active}  {:<11}  {:<14}  {:<11}  {:<9}  {}\n",
            word(&link["pool"]),
            word(&link["state"]),
            word(&link["difficulty"]),
            with_unit(&link["extranonce2_size"], "bytes"),
            with_unit(&link["answer_ms"], "ms"),
            word(&link["url"]),
        );
        if let Some(message) = link["message"].as_str() {
            text += &format!("      it says: {message}\n");
        }
        if let Some(error) = link["error"].as_str() {
            text += &format!("      {error}\n");
        }
    }
    for goal in status["goals"].as_array().into_iter().flatten() {
        let switched = &goal["switched"];
        if switched.is_object() {
            text += &format!(
                "      at pool {} for {}: {}\n",
                word(&switched["pool"]),
                time(switched["secs_ago"].as_u64().unwrap_or(0)),
                word(&switched["why"]),
            );
        }
    }
    text + &books(ledger)
}

/// Formats the state of updates; empty if the system has none.
fn update(update: &Value) -> String {
    if update["supported"] != true {
        return String::new();
    }
    let mut text =
        format!("system     {} in slot {}", word(&update["version"]), word(&update["slot"]));
    let progress = &update["progress"];
    text += &match progress["phase"].as_str() {
        Some("receiving") => format!("; an update comes, {} bytes", word(&progress["bytes"])),
        Some("checking") => "; an update is read back".to_owned(),
        Some("restarting") => "; the machine reboots".to_owned(),
        Some("trial") => format!("; on trial for {} s", word(&progress["seconds_left"])),
        _ => String::new(),
    };
    text.push('\n');
    let last = &update["last"];
    if last.is_object() {
        let kept = if last["kept"] == true { "kept" } else { "left" };
        let when = Utc(Duration::from_secs(last["when"].as_u64().unwrap_or(0)));
        let (from, to, why) = (word(&last["from"]), word(&last["to"]), word(&last["why"]));
        text += &format!("           update from {from} to {to}: {kept} {when}, {why}\n");
    }
    text
}

fn books(ledger: &Value) -> String {
    let mut text = String::from("\n");
    let mut row = |indent: usize, name: &str, count: String| {
        let width = 24 - indent;
        text += &format!("{:indent$}{name:<width$}{count:>14}\n", "");
    };
    row(0, "submitted", word(&ledger["submitted"]));
    row(2, "accepted", word(&ledger["accepted"]));
    row(4, "below upstream", word(&ledger["below_upstream"]));
    row(4, "forwarded", word(&ledger["forwarded"]));
    row(6, "accepted by pool", word(&ledger["pool_accepted"]));
    row(6, "pending", word(&ledger["pending"]));
    row(6, "held", word(&ledger["held"]));
    for (indent, title, key) in [
        (6, "rejected by pool", "pool_rejected"),
        (6, "orphaned", "orphaned"),
        (2, "rejected", "rejected"),
    ] {
        row(indent, title, sum(&ledger[key]).to_string());
        for (reason, count) in ledger[key].as_object().into_iter().flatten() {
            if count.as_u64() != Some(0) {
                row(indent + 2, reason, word(count));
            }
        }
    }
    text
}

/// Formats a value without quotes. The gateway's text is escaped, since it may come from a network.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

fn with_unit(value: &Value, unit: &str) -> String {
    if value.is_null() { word(value) } else { format!("{} {unit}", word(value)) }
}

fn megabytes(bytes: &Value) -> String {
    bytes.as_f64().map_or_else(|| word(bytes), |bytes| format!("{:.1} MB", bytes / 1e6))
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

fn time(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    format!("{days} d {hours:02}:{minutes:02}:{:02}", secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_laid_out() {
        let status = json!({
            "version": "0.1.0", "uptime_secs": 93_784, "ready": true, "warnings": ["plain TCP"],
            "board": {"profile": "raspberry-pi-4", "links_max": 10, "memory_bytes": 98_765_432,
                "memory_bytes_max": 134_217_728},
            "flash": {"writes": 7, "bytes": 890, "settings_writes": 12},
            "update": {"supported": true, "version": "0.2.0", "slot": "b",
                "progress": {"phase": "trial", "seconds_left": 280},
                "last": {"from": "0.1.0", "to": "0.1.5", "when": 1_795_220_164, "kept": false,
                    "why": "no pool"}},
            "miners": {"connected": 3, "max": 1024, "accepted": 5, "refused": {"a": 1, "b": 2},
                "ended": {}},
            "upstream": [{"pool": 1, "url": "stratum+ssl://a.example:1", "state": "live",
                "active": true, "extranonce2_size": 8, "difficulty": 8192.0, "answer_ms": 41.5,
                "error": null}],
            "ledger": {"submitted": 10, "accepted": 9, "below_upstream": 8, "forwarded": 1,
                "pool_accepted": 1, "pool_rejected": {"21": 0}, "rejected": {"stale": 1},
                "pending": 0, "held": 0, "orphaned": {}},
        });
        let text = table(&status);
        for part in [
            "ready, version 0.1.0, up 1 d 02:03:04",
            "WARNING: plain TCP",
            "board      raspberry-pi-4: at most 98.8 MB of 134.2 MB memory\n",
            "flash      7 writes, 890 bytes since the start; settings written 12 times in all\n",
            "system     0.2.0 in slot b; on trial for 280 s\n           update from 0.1.0 to 0.1.5: left 2026-11-21T",
            "3 connected of 1024; 5 accepted, 3 refused, 0 ended",
            "  1*  live         8192.0          8 bytes      41.5 ms    stratum+ssl://a.example:1",
            "    stale                            1",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
