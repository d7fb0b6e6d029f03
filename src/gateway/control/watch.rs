//! Notices by itself that the settings file was edited.
//!
//! A look at the file's time, size and place every few seconds costs nothing; it is read when two
//! looks in a row saw the same and it is another than before, so that an editor has finished. What
//! is then read goes the way of SIGHUP. A file that was only touched changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::{DISK_RETRY_INTERVAL, FILE_CHECK_INTERVAL};
use tokio::time::sleep;

use super::Control;
use crate::gateway::event_loop::beside;
use crate::gateway::log::{self, Kind};
use crate::gateway::{clock, config};

/// What is seen of a file without reading it; none where there is none.
type Look = Option<(i64, i64, u64, u64)>;

fn look(path: &Path) -> Look {
    let data = fs::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}

/// What the looks at a file come to.
#[derive(Default)]
struct Looks {
    settled: Look,
    last: Look,
}

impl Looks {
    /// Takes a look; says whether the file is another now and has stayed so for two looks.
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
    /// Looks after the file, the audit log and what could not be written, for as long as the
    /// gateway runs. The file is looked at beside the loop: it may lie on a disk that stalls.
    pub async fn watch(self: Rc<Self>) {
        let path = self.sources.file.clone();
        let mut looks: Option<Looks> = None;
        let mut places = self.page_places();
        let mut retry_at = clock::now() + DISK_RETRY_INTERVAL;
        loop {
            if let Some(path) = path.clone()
                && let Ok(look) = beside(move || look(&path)).await
            {
                // It may have been edited since the start as well.
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
            // An address that a network gives later, as at a first start without its cable.
            let new = self.page_places();
            for place in new.iter().filter(|place| !places.contains(place)) {
                log::info(Kind::Settings, format_args!("page at https://{place}"));
            }
            places = new;
            if now >= retry_at {
                retry_at = now + DISK_RETRY_INTERVAL;
                self.state.borrow().kept.retry();
            }
        }
    }

    /// Says whether the file is another than the one that was read last.
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
