//! Detects edits of the settings file without a signal.
//!
//! Every few seconds the file's time, size and inode are compared. The file is read after two equal
//! looks that differ from the last read, so a half-saved edit is not read. A changed file then
//! takes the path of SIGHUP; a merely touched file changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::{DISK_RETRY_INTERVAL, FILE_CHECK_INTERVAL};
use tokio::time::sleep;

use super::Control;
use crate::gateway::base::clock;
use crate::gateway::base::event_loop::beside;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::operate::config;

/// A file's metadata; `None` if it is missing.
type Look = Option<(i64, i64, u64, u64)>;

fn look(path: &Path) -> Look {
    let data = fs::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}

/// The last looks at a file.
#[derive(Default)]
struct Looks {
    settled: Look,
    last: Look,
}

impl Looks {
    /// Notes a look; says whether the file changed and was stable for two looks.
    fn is_edited(&mut self, look: Look) -> bool {
        let is_still = look == self.last;
        self.last = look;
        if !is_still || look == self.settled {
            return false;
        }
        self.settled = look;
        true
    }
}

impl Control {
    /// Watches the settings file, the audit log and failed writes, for the life of the gateway. The
    /// file is checked beside the loop, since its disk may stall.
    pub async fn watch(self: Rc<Self>) {
        let path = self.sources.file.clone();
        let mut looks: Option<Looks> = None;
        let mut places = self.page_places();
        let mut retry_at = clock::now() + DISK_RETRY_INTERVAL;
        loop {
            if let Some(path) = path.clone()
                && let Ok(look) = beside(move || look(&path)).await
            {
                // The file may have been edited since the start as well.
                let is_edited = match &mut looks {
                    Some(looks) => looks.is_edited(look),
                    None => true,
                };
                looks.get_or_insert(Looks { settled: look, last: look });
                if is_edited && self.is_another().await {
                    self.reload().await;
                }
            }
            sleep(Duration::from_micros(FILE_CHECK_INTERVAL.as_micros())).await;
            let now = clock::now();
            self.audit.borrow_mut().flush(now);
            self.count_writes();
            // An address may come later, as at a first start without a cable.
            let new = self.page_places();
            for place in new.iter().filter(|place| !places.contains(place)) {
                log::info(Kind::Settings, format_args!("page at https://{place}"));
            }
            places = new;
            if now >= retry_at {
                retry_at = now + DISK_RETRY_INTERVAL;
                self.state.borrow().kept.retry();
                self.access.certificate.retry();
            }
        }
    }

    /// Says whether the file differs from the one read last.
    async fn is_another(&self) -> bool {
        let sources = self.sources.clone();
        let mark = beside(move || config::mark(&sources)).await;
        mark.is_ok_and(|mark| mark != self.state.borrow().tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_when_it_has_settled() {
        let first = Some((1, 0, 10, 5));
        let mut looks = Looks { settled: first, last: first };
        let half = Some((2, 0, 4, 5));
        let whole = Some((2, 9, 12, 5));
        let seen: Vec<bool> = [first, half, whole, whole, whole, None, None, first, half, half]
            .into_iter()
            .map(|look| looks.is_edited(look))
            .collect();
        let expected = [false, false, false, true, false, false, true, false, false, true];
        assert_eq!(seen, expected);
    }
}
