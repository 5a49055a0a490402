//! What is worth a line in the log, and could be caused without end: it is said the first time, and then now and then.

use crate::timeout::Tick;
use std::{cell::Cell, time::Duration};

/// Time between two lines about the same.
const EVERY: Duration = Duration::from_secs(10);

/// When the last line was, and what has had none since.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    said: Cell<Option<Tick>>,
    unsaid: Cell<u32>,
}

/// How many lines were left out; a field of the next one.
pub(crate) type Unsaid = Option<u32>;

// === impl Rarely ===

impl Rarely {
    /// Whether it is time for a line: then with the number of those that had none since the last one, if there were any.
    pub(crate) fn due(&self, now: Tick) -> Option<Unsaid> {
        if self.said.get().is_some_and(|said| now.since(said) < EVERY) {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
            return None;
        }
        self.said.set(Some(now));
        let unsaid = self.unsaid.replace(0);
        Some((unsaid > 0).then_some(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Timers;

    #[tokio::test(start_paused = true)]
    async fn a_line_now_and_then_says_how_many_had_none() {
        let (timers, rarely) = (Timers::new(), Rarely::default());
        assert_eq!(rarely.due(timers.now()), Some(None));
        assert_eq!(rarely.due(timers.now()), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(9))), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(10))), Some(Some(2)));
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(11))), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(40))), Some(Some(1)));
    }
}
