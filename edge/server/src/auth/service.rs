//! Signature checks off the worker's turn: a bounded queue and a few threads.
//!
//! An Ed25519 check costs about 42 us, in which a worker relays dozens of messages. Owns the
//! queue and the threads; does not know what a connection is: the caller's key comes back with
//! the answer. Full means refused at once, which the caller turns into `overloaded`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use ringpost_wire::limits::TOKEN_BYTES_MAX;

use super::token::TokenVerifier;
use super::{AuthError, Verified};
use crate::metrics::{Counter, MetricSource, Samples};

/// A token to check, for whoever `key` names.
#[derive(Debug)]
pub struct VerifyRequest<K> {
    /// Comes back with the answer.
    pub key: K,
    /// The token's text.
    pub token: Box<str>,
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Too many checks wait; try again later.
    #[error("too many token checks wait")]
    Full,
    /// No token is so long: it would be refused by every check.
    #[error("token too long")]
    TooLong,
}

/// What the service counts.
#[derive(Debug, Default)]
pub struct TokenCounters {
    good: Counter,
    bad: [Counter; AuthError::ALL.len()],
    refused: Counter,
    waiting: AtomicI64,
}

impl TokenCounters {
    fn on_answer(&self, answer: &Result<Verified, AuthError>) {
        self.waiting.fetch_sub(1, Relaxed);
        match answer {
            Ok(_) => self.good.increment(),
            Err(error) => {
                let index = AuthError::ALL.iter().position(|known| known == error);
                self.bad[index.expect("ALL lists every error")].increment();
            }
        }
    }
}

impl MetricSource for TokenCounters {
    fn collect(&self, out: &mut Samples) {
        let name = "ringpost_auth_token_checks";
        let help = "Access tokens checked for connections: ok, or why not.";
        out.counter(name, help, &[("outcome", "ok")], self.good.count());
        for (error, counter) in AuthError::ALL.into_iter().zip(&self.bad) {
            out.counter(name, help, &[("outcome", error.reason())], counter.count());
        }
        let help = "Token checks refused because too many waited.";
        out.counter("ringpost_auth_token_checks_refused", help, &[], self.refused.count());
        let help = "Token checks that wait now.";
        out.gauge("ringpost_auth_token_checks_waiting", help, &[], self.waiting.load(Relaxed));
    }
}

/// The threads that check tokens. Dropping it answers what waits and joins them.
pub struct TokenService<K: Send + 'static> {
    queue: Option<Sender<VerifyRequest<K>>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<TokenCounters>,
}

impl<K: Send + 'static> TokenService<K> {
    /// Starts `threads` threads behind a queue of `queue_max` requests. `now_ms` tells the date,
    /// `answer` is called once for each request taken, on one of the threads, and must not block
    /// for long.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        verifier: Arc<TokenVerifier>,
        threads: u8,
        queue_max: u32,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        answer: impl Fn(K, Result<Verified, AuthError>) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (queue, requests) = bounded(queue_max as usize);
        let (answer, now_ms) = (Arc::new(answer), Arc::new(now_ms));
        let counters = Arc::<TokenCounters>::default();
        let mut service =
            Self { queue: Some(queue), threads: Vec::new(), counters: Arc::clone(&counters) };
        for number in 0..threads.max(1) {
            let (requests, verifier): (Receiver<VerifyRequest<K>>, _) =
                (requests.clone(), Arc::clone(&verifier));
            let (answer, now_ms) = (Arc::clone(&answer), Arc::clone(&now_ms));
            let counters = Arc::clone(&counters);
            let thread =
                std::thread::Builder::new().name(format!("token-{number}")).spawn(move || {
                    for VerifyRequest { key, token } in requests {
                        let verified = verifier.verify(&token, now_ms());
                        counters.on_answer(&verified);
                        answer(key, verified);
                    }
                })?;
            service.threads.push(thread);
        }
        Ok(service)
    }

    /// Takes a token to check, or refuses at once. Never blocks.
    ///
    /// # Errors
    /// [`Refused`]; the request is dropped then and `answer` is not called.
    pub fn submit(&self, request: VerifyRequest<K>) -> Result<(), Refused> {
        if request.token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let queue = self.queue.as_ref().expect("the queue is taken only by drop");
        // Counted first: the answer may come before this call returns.
        self.counters.waiting.fetch_add(1, Relaxed);
        queue.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.counters.waiting.fetch_sub(1, Relaxed);
                self.counters.refused.increment();
                Refused::Full
            }
            TrySendError::Disconnected(_) => unreachable!("threads end after the queue, in drop"),
        })
    }

    /// What the service counts.
    pub fn counters(&self) -> Arc<TokenCounters> {
        Arc::clone(&self.counters)
    }
}

impl<K: Send + 'static> Drop for TokenService<K> {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            // A panic of such a thread is a bug; with `panic = "abort"` it never comes here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::auth::token::tests::{NOW, rig};

    #[test]
    fn every_taken_request_is_answered_once_with_its_key() {
        let rig = rig();
        let (answers, answered) = mpsc::channel();
        let service = TokenService::start(
            rig.verifier.clone(),
            2,
            64,
            || NOW,
            move |key: u32, answer| {
                answers.send((key, answer)).unwrap();
            },
        )
        .unwrap();
        for key in 0..20 {
            let token = if key % 2 == 0 { rig.token() } else { "no.token.here".into() };
            service.submit(VerifyRequest { key, token: token.into() }).unwrap();
        }
        drop(service);
        let mut all: Vec<_> = answered.iter().collect();
        all.sort_by_key(|(key, _)| *key);
        assert_eq!(all.len(), 20);
        for (key, answer) in all {
            assert_eq!(answer.is_ok(), key % 2 == 0, "{key}: {answer:?}");
        }
    }

    #[test]
    fn a_full_queue_and_an_overlong_token_are_refused_at_once() {
        let rig = rig();
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let wait_release = std::sync::Mutex::new(wait_release);
        let service = TokenService::start(
            rig.verifier.clone(),
            1,
            2,
            || NOW,
            move |_: u32, _| {
                entered.send(()).unwrap();
                let _ = wait_release.lock().unwrap().recv();
            },
        )
        .unwrap();
        let submit = |key| service.submit(VerifyRequest { key, token: "x".into() });
        submit(0).unwrap();
        wait_entered.recv().unwrap();
        submit(1).unwrap();
        submit(2).unwrap();
        assert_eq!(submit(3), Err(Refused::Full));
        let counters = service.counters();
        // Two in the queue; the one on the thread was counted when it was answered.
        assert_eq!(counters.waiting.load(Relaxed), 2);
        assert_eq!(counters.refused.count(), 1);
        let long = "x".repeat(TOKEN_BYTES_MAX + 1).into();
        assert_eq!(service.submit(VerifyRequest { key: 4, token: long }), Err(Refused::TooLong));
        drop(release);
        drop(service);
        assert_eq!(wait_entered.iter().count(), 2);
    }
}
