//! Answers to operators: read in the turn, nothing changed, nobody woken.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;

use super::Worker;
use crate::connection::{Speech, key};
use crate::connections::Seen;
use crate::output::Output;
use crate::question::{
    Answer, ConnectionFilter, ConnectionPage, ConnectionView, PAGE_SCAN_MAX, Question, Reply, Stage,
};

impl Worker {
    /// Answers a question; the driver carries the answer out.
    pub(super) fn ask(&mut self, question: Question, reply: Reply, now: Now) {
        let answer = match question {
            Question::Connections { from, rows_max, filter } => {
                Answer::Connections(self.page(from, rows_max, &filter, now))
            }
            Question::User(user) => Answer::User(self.shard.inspect_user(user)),
            Question::Message(ask) => Answer::Message(self.shard.inspect_message(ask)),
            Question::UnderWay { message_id, from } => {
                Answer::UnderWay(self.shard.search_under_way(message_id, from))
            }
        };
        self.outputs.push(Output::Answer { reply, answer });
    }

    fn page(
        &self,
        from: u32,
        rows_max: usize,
        filter: &ConnectionFilter,
        now: Now,
    ) -> ConnectionPage {
        let mut page = ConnectionPage::default();
        let end = self.connections.extent();
        for place in from..from.saturating_add(PAGE_SCAN_MAX).min(end) {
            if page.connections.len() >= rows_max {
                return ConnectionPage { next: Some(place), ..page };
            }
            let seen = self.connections.see(place);
            let seen = seen.map(|(slot, seen)| self.view(slot, &seen, now));
            page.connections.extend(seen.filter(|view| filter.takes(view)));
        }
        let next = from.saturating_add(PAGE_SCAN_MAX);
        ConnectionPage { next: (next < end).then_some(next), ..page }
    }

    fn view(&self, slot: Slot, seen: &Seen<'_>, now: Now) -> ConnectionView {
        let (connection, silent_since, expires_at) =
            (key(slot), seen.heard_at(), seen.expires_at());
        let session = self.shard.session(connection);
        let mut view = ConnectionView {
            connection,
            stage: Stage::SignedIn,
            speech: Speech::Undecided,
            user: session.map(|session| session.user),
            device: session.map(|session| session.device),
            caller: None,
            silent: now.mono.saturating_sub(silent_since),
            expires_in: (expires_at != Duration::MAX).then(|| expires_at.saturating_sub(now.mono)),
            pending_bytes: 0,
        };
        match seen {
            Seen::Idle(idle) => view.speech = idle.speech(),
            Seen::Awake(connection) => {
                view.stage = Stage::of(&connection.phase);
                view.speech = connection.speech;
                view.caller = connection.caller;
                view.pending_bytes = connection.pending_bytes();
            }
        }
        view
    }
}
