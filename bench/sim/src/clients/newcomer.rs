//! A user who comes for the first time in the middle of trouble, and who leaves at the worst moment:
//! right behind `welcome`, before it, or while signing out. Writes nothing, keeps what it is shown.

use std::time::Duration;

use bytes::Bytes;
use ringpost_ring::fake::FakePeer;
use ringpost_wire::command::Credential;
use ringpost_wire::event::NewMessage;
use ringpost_wire::{Command, Event, ServerId};

use crate::clients::catch_up::CatchUp;
use crate::clients::{Surroundings, hello};
use crate::content;
use crate::fact::{Fact, Who};
use crate::network::Link;
use crate::speech::Form;
use crate::tokens;

/// One comes back within this time.
const AWAY_MAX_MS: u64 = 1_500;

/// The first comes within this time.
const FIRST_WITHIN_MS: u64 = 3_000;

/// An answer of the front desk is waited for so long.
const SIGN_OUT_PATIENCE: Duration = Duration::from_secs(3);

/// One device of a user nobody has seen.
pub(crate) struct Newcomer {
    /// Its name.
    pub(crate) who: Who,
    link: Option<Link>,
    connect_at: Option<Duration>,
    ticket: Option<Bytes>,
    is_welcome: bool,
    /// It was told once that it is a device: from then on others may write to it.
    was_welcome: bool,
    unacked: Vec<ServerId>,
    last_push: u64,
    catch_up: CatchUp,
    /// It asks the front desk to sign out.
    wants_out: bool,
}

impl Newcomer {
    /// One that has never connected.
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            link: None,
            connect_at: None,
            ticket: None,
            is_welcome: false,
            was_welcome: false,
            unacked: Vec::new(),
            last_push: 0,
            catch_up: CatchUp::default(),
            wants_out: false,
        }
    }

    /// Whether it wants a connection now.
    pub(crate) fn wants_connection(&self, now: Duration) -> bool {
        self.link.is_none() && self.connect_at.is_some_and(|at| at <= now)
    }

    /// Whether somebody may write to it.
    pub(crate) fn was_welcome(&self) -> bool {
        self.was_welcome
    }

    /// Whether it is here and has acked all that it was shown.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_welcome && self.unacked.is_empty() && self.catch_up.is_at_rest()
    }

    /// Takes its wish to sign out, once.
    pub(crate) fn signs_out(&mut self) -> bool {
        std::mem::take(&mut self.wants_out)
    }

    /// The front desk has answered.
    pub(crate) fn told_out(&mut self, done: bool, it: &mut Surroundings<'_>) {
        if done {
            self.ticket = None;
            it.trace.fact(Fact::SignedOut { who: self.who });
        }
        self.come_back(it);
    }

    /// Signs in over a new connection, by ticket if it has one and remembers it.
    pub(crate) fn connect(
        &mut self,
        number: u64,
        peer: FakePeer,
        delay: Duration,
        it: &mut Surroundings<'_>,
    ) {
        it.trace.fact(Fact::Greeted { who: self.who });
        let form = it.dice.pick(&Form::ALL);
        let mut link = Link::new(number, peer, form, delay, it.now.mono);
        let credential = match self.ticket.as_ref().filter(|_| !it.dice.one_in(4)) {
            Some(ticket) => Credential::Ticket(ticket.to_vec().into()),
            None => Credential::Token(tokens::token(self.who).into()),
        };
        link.say(&hello(self.who, credential, 0), it.now.mono, it.dice);
        self.link = Some(link);
    }

    /// The server is gone.
    pub(crate) fn server_died(&mut self, it: &mut Surroundings<'_>) {
        if self.link.is_some() {
            self.lost(it);
        }
    }

    /// Hears, acks, and leaves when it should not; when it is calm it stays.
    pub(crate) fn step(&mut self, it: &mut Surroundings<'_>, is_calm: bool) {
        if self.connect_at.is_none() {
            let within = Duration::from_millis(it.dice.below(FIRST_WITHIN_MS));
            self.connect_at = Some(it.now.mono + within);
        }
        let Some(link) = &mut self.link else { return };
        for event in link.pump(it.now.mono, it.dice) {
            self.hear(event, it);
        }
        if self.link.as_ref().is_some_and(Link::is_over) {
            return self.lost(it);
        }
        if !is_calm && self.leaves(it) {
            return self.lost(it);
        }
        if self.is_welcome {
            self.ack(it);
        }
        if let Some(command) = self.catch_up.step(self.who, is_calm, it)
            && let Some(link) = &mut self.link
        {
            link.say(&command, it.now.mono, it.dice);
        }
    }

    /// Whether it goes now: as it came, in the middle of its sign-in, or to sign out.
    fn leaves(&mut self, it: &mut Surroundings<'_>) -> bool {
        if self.is_welcome && it.dice.one_in(40) {
            it.trace.fact(Fact::SigningOut { who: self.who });
            self.wants_out = true;
            return true;
        }
        let one_in = if self.is_welcome { 3 } else { 60 };
        it.dice.one_in(one_in)
    }

    fn lost(&mut self, it: &mut Surroundings<'_>) {
        it.trace.fact(Fact::Left { who: self.who });
        if let Some(mut link) = self.link.take() {
            if it.dice.one_in(2) {
                link.hang_up()
            } else {
                link.reset()
            }
            link.pump(it.now.mono, it.dice);
        }
        self.is_welcome = false;
        self.unacked.clear();
        self.catch_up.forget();
        self.last_push = 0;
        self.connect_at = Some(it.now.mono + SIGN_OUT_PATIENCE);
        if !self.wants_out {
            self.come_back(it);
        }
    }

    fn come_back(&mut self, it: &mut Surroundings<'_>) {
        let away = Duration::from_millis(it.dice.below(AWAY_MAX_MS));
        self.connect_at = Some(it.now.mono + away);
    }

    fn ack(&mut self, it: &mut Surroundings<'_>) {
        let Some(link) = self.link.as_mut().filter(|_| !self.unacked.is_empty()) else { return };
        for id in self.unacked.drain(..) {
            it.trace.fact(Fact::Acked { who: self.who, id });
        }
        link.say(&Command::Ack { push: self.last_push }, it.now.mono, it.dice);
    }

    fn hear(&mut self, event: Event, it: &mut Surroundings<'_>) {
        let who = self.who;
        match event {
            Event::Welcome(welcome) => {
                self.ticket = Some(welcome.ticket);
                self.is_welcome = true;
                self.was_welcome = true;
                let connection = self.link.as_ref().map_or(0, |link| link.number);
                it.trace.fact(Fact::SignedIn { who, connection });
            }
            Event::NewMessage(message) => self.shown(&message, it),
            Event::QueueEmpty { gap } => {
                let number = gap.as_ref().map(|gap| gap.number);
                it.trace.fact(Fact::QueueEmpty { who, gap: number });
                self.catch_up.told(gap);
            }
            Event::Ping { nonce } => {
                if let Some(link) = &mut self.link {
                    link.say(&Command::Pong { nonce }, it.now.mono, it.dice);
                }
            }
            Event::Close { code, .. } => {
                it.trace.note(&format!("{who:?} is closed: {}", code.name()));
                self.ticket = None;
            }
            other => it.trace.note(&format!("{who:?} hears {other:?}")),
        }
    }

    fn shown(&mut self, message: &NewMessage, it: &mut Surroundings<'_>) {
        let from = tokens::number_of(message.from)
            .map(|user| Who { user, device: message.from_device.number() });
        it.trace.fact(Fact::Shown {
            who: self.who,
            connection: self.link.as_ref().map_or(0, |link| link.number),
            from,
            to: tokens::number_of(message.to),
            message: message.message_id,
            id: message.id,
            push: message.push,
            canary: content::canaries(&message.body).first().copied(),
            content: content::hash(&message.body),
        });
        self.last_push = message.push;
        self.unacked.push(message.id);
    }
}
