//! What the REST service counts.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use ringpost_conn::caller::Naming;
use ringpost_conn::http::Rejection;

use super::problem::Problem;
use crate::metrics::{Counter, MetricSource, Samples};

/// A limit of the REST service that a request, a code or a token has hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hit {
    /// Calls of the sign-in endpoints from one address.
    AddressRate,
    /// Texts to one phone.
    PhoneRate,
    /// Those of them that one address may cause.
    PhoneAddressRate,
    /// Pages of history for one user.
    UserRate,
    /// The time of a request's head.
    HeaderDeadline,
    /// The time of a connection without a request.
    IdleDeadline,
    /// Connections of one address, each busy with a request.
    AddressConnections,
    /// A connection without a request, whose place somebody else needed.
    ConnectionLetGo,
    /// The time of a request.
    RequestDeadline,
    /// Deliveries of codes under way.
    Deliveries,
    /// Codes that wait to be typed in.
    Codes,
    /// The life of a code.
    CodeLife,
    /// The wrong guesses that a code bears.
    CodeAttempts,
    /// The life of a refresh token.
    RefreshLife,
}

impl Hit {
    /// Each with its label, in the order of their numbers.
    const ALL: [(Self, &'static str); 14] = [
        (Self::AddressRate, "address_rate"),
        (Self::PhoneRate, "phone_rate"),
        (Self::PhoneAddressRate, "phone_address_rate"),
        (Self::UserRate, "user_rate"),
        (Self::HeaderDeadline, "header_deadline"),
        (Self::IdleDeadline, "idle_deadline"),
        (Self::AddressConnections, "address_connections"),
        (Self::ConnectionLetGo, "connection_let_go"),
        (Self::RequestDeadline, "request_deadline"),
        (Self::Deliveries, "deliveries"),
        (Self::Codes, "codes"),
        (Self::CodeLife, "code_life"),
        (Self::CodeAttempts, "code_attempts"),
        (Self::RefreshLife, "refresh_life"),
    ];
}

/// Counters of the REST service.
#[derive(Debug, Default)]
pub struct RestCounters {
    /// Connections open now.
    pub(super) open: AtomicI64,
    /// Connections refused because too many were open.
    pub(super) connections_refused: Counter,
    /// Connections given back to a worker, because a request asked for a WebSocket.
    pub(super) given_back: Counter,
    /// Requests answered with success.
    pub(super) succeeded: Counter,
    /// Requests refused, by the problem.
    refused: [Counter; Problem::NAMES.len()],
    /// Requests that no endpoint saw, by what was wrong with them.
    rejections: [Counter; Rejection::LABELS.len()],
    /// What was made of the word of proxies, by [`Naming`].
    named: [Counter; Naming::ALL.len()],
    /// Limits hit, by [`Hit`].
    hits: [Counter; Hit::ALL.len()],
    /// One-time codes handed to the sender, and how that ended.
    pub(super) codes_delivered: Counter,
    pub(super) codes_failed: Counter,
    /// Requests for a code that were answered and sent nothing, for the phone had its texts.
    pub(super) codes_held_back: Counter,
    pub(super) codes_wrong: Counter,
    /// Refresh tokens that came a second time where that signs the device out.
    pub(super) refresh_reused: Counter,
    /// Those that came a second time in their grace, and were answered again.
    pub(super) refresh_repeated: Counter,
    /// Requests from web pages that are not on the list.
    pub(super) foreign_origins: Counter,
}

impl RestCounters {
    pub(super) fn on_hit(&self, hit: Hit) {
        self.hits[hit as usize].increment();
    }

    pub(super) fn on_rejection(&self, rejection: Rejection) {
        let index = Rejection::LABELS.iter().position(|label| *label == rejection.label());
        self.rejections[index.expect("LABELS lists every label")].increment();
    }

    pub(super) fn on_naming(&self, naming: Naming) {
        self.named[naming as usize].increment();
    }

    pub(super) fn on_problem(&self, problem: Problem) {
        let index = Problem::NAMES.iter().position(|name| *name == problem.name());
        self.refused[index.expect("NAMES lists every problem")].increment();
    }

    /// How often requests were refused with this problem (see [`Problem::name`]).
    pub fn refused(&self, name: &str) -> u64 {
        let index = Problem::NAMES.iter().position(|known| *known == name);
        index.map_or(0, |index| self.refused[index].count())
    }

    /// How often a limit was hit, by its label in `ringpost_rest_limits_hit_total`; 0 for one that
    /// there is not.
    pub fn hits(&self, limit: &str) -> u64 {
        let index = Hit::ALL.iter().position(|(_, label)| *label == limit);
        index.map_or(0, |index| self.hits[index].count())
    }
}

impl MetricSource for RestCounters {
    fn collect(&self, out: &mut Samples) {
        let help = "REST connections open now.";
        out.gauge("ringpost_rest_connections", help, &[], self.open.load(Relaxed));
        let help = "REST connections refused because too many were open.";
        let refused = self.connections_refused.count();
        out.counter("ringpost_rest_connections_refused", help, &[], refused);
        let help = "REST connections given back to a worker, for a WebSocket.";
        let given_back = self.given_back.count();
        out.counter("ringpost_rest_connections_given_back", help, &[], given_back);
        let help = "REST requests by how they ended: ok, or the name of the problem.";
        let name = "ringpost_rest_requests";
        out.counter(name, help, &[("outcome", "ok")], self.succeeded.count());
        for (problem, counter) in Problem::NAMES.into_iter().zip(&self.refused) {
            out.counter(name, help, &[("outcome", problem)], counter.count());
        }
        let help = "Limits of the REST service that were hit, by limit.";
        for ((_, limit), counter) in Hit::ALL.into_iter().zip(&self.hits) {
            let labels = [("limit", limit)];
            out.counter("ringpost_rest_limits_hit", help, &labels, counter.count());
        }
        let help = "Requests behind the first of a connection that were refused at the door.";
        for (reason, counter) in Rejection::LABELS.into_iter().zip(&self.rejections) {
            let labels = [("reason", reason)];
            out.counter("ringpost_rest_upgrades_refused", help, &labels, counter.count());
        }
        let help = "What was made of the word of proxies about who calls.";
        for (naming, counter) in Naming::ALL.into_iter().zip(&self.named) {
            let labels = [("by", naming.label())];
            out.counter("ringpost_rest_callers_named", help, &labels, counter.count());
        }
        let help = "REST requests from web pages whose origin is not in limits.origins.";
        out.counter("ringpost_rest_foreign_origins", help, &[], self.foreign_origins.count());
        let help = "One-time codes by what became of them.";
        let name = "ringpost_auth_codes";
        out.counter(name, help, &[("outcome", "delivered")], self.codes_delivered.count());
        out.counter(name, help, &[("outcome", "undelivered")], self.codes_failed.count());
        out.counter(name, help, &[("outcome", "held_back")], self.codes_held_back.count());
        out.counter(name, help, &[("outcome", "wrong")], self.codes_wrong.count());
        let help = "Refresh tokens presented a second time: their device was signed out.";
        out.counter("ringpost_auth_refresh_reused", help, &[], self.refresh_reused.count());
        let help = "Refresh tokens presented a second time in their grace: answered again.";
        out.counter("ringpost_auth_refresh_repeated", help, &[], self.refresh_repeated.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::problem::tests::ALL;

    #[test]
    fn every_limit_stands_at_its_number() {
        for (number, (hit, _)) in Hit::ALL.into_iter().enumerate() {
            assert_eq!(hit as usize, number);
        }
    }

    #[test]
    fn every_problem_has_its_counter() {
        let counters = RestCounters::default();
        for problem in ALL {
            counters.on_problem(problem);
            assert_eq!(counters.refused(problem.name()), 1);
        }
    }
}
