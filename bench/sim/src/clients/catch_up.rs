//! What a device does about a gap: it reads history behind the told cursor to its end, page by page,
//! as a client of `GET /v1/messages?after=` does, and then says `gap_closed`.
//!
//! Where it is it remembers over connections, as PROTOCOL allows: one that is cut off again and again
//! gets to the end all the same. What it reads is answered by the store once that has applied all
//! that was durable when it was asked, as the server's fence has it.

use ringpost_shard::Position;
use ringpost_wire::event::Gap;
use ringpost_wire::{Command, HistoryCursor};

use crate::clients::Surroundings;
use crate::content;
use crate::fact::{Fact, Who};
use crate::tokens::{self, user_id};

/// Rows of a page: few, so that a gap takes several.
const PAGE_ROWS: usize = 3;

/// A device's way through a gap.
#[derive(Default)]
pub(crate) struct CatchUp {
    gap: Option<Gap>,
    /// The cursor that was told, and how far the device has read from it.
    begun: Option<String>,
    cursor: HistoryCursor,
    /// What must be applied before the page is answered; none is asked for.
    fence: Option<Position>,
    is_at_end: bool,
}

impl CatchUp {
    /// Whether no gap is known that was not closed.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.gap.is_none()
    }

    /// The connection is over: a gap will be told again.
    pub(crate) fn forget(&mut self) {
        (self.gap, self.fence, self.is_at_end) = (None, None, false);
    }

    /// `queue_empty` told this.
    pub(crate) fn told(&mut self, gap: Option<Gap>) {
        let Some(told) = gap else { return self.forget() };
        if self.begun.as_ref() != Some(&told.after) {
            self.cursor = HistoryCursor::from_text(&told.after).expect("a cursor of the server");
            self.begun = Some(told.after.clone());
        }
        // What was asked before the gap had grown does not answer for it.
        (self.gap, self.fence, self.is_at_end) = (Some(told), None, false);
    }

    /// Reads on, or says that all is read.
    pub(crate) fn step(
        &mut self,
        who: Who,
        is_calm: bool,
        it: &mut Surroundings<'_>,
    ) -> Option<Command<'static>> {
        self.gap.as_ref()?;
        if !is_calm && !it.dice.one_in(3) {
            return None;
        }
        if self.is_at_end {
            let gap = self.gap.take()?.number;
            it.trace.fact(Fact::GapClosed { who, gap });
            return Some(Command::GapClosed { gap });
        }
        let server = it.server.as_mut()?;
        let fence = *self.fence.get_or_insert_with(|| server.durable());
        let page = server.history(user_id(who.user), self.cursor, fence, PAGE_ROWS)?;
        for row in page.rows {
            let from = tokens::number_of(row.head.from);
            it.trace.fact(Fact::Fetched {
                who,
                from: from.map(|user| Who { user, device: row.head.from_device.number() }),
                id: row.head.id,
                canary: content::canaries(&row.body).first().copied(),
            });
        }
        self.cursor = HistoryCursor(page.next.0);
        (self.fence, self.is_at_end) = (None, !page.has_more);
        None
    }
}
