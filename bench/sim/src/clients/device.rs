//! A device that keeps the rules: it repeats what was not answered with the same id, acks what it
//! keeps, and tells the trace all that it says and hears. It may forget everything but its name.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ringpost_ring::fake::FakePeer;
use ringpost_wire::command::{ClientStatus, Credential, Named, Receipt as Reading};
use ringpost_wire::event::{NewMessage, Receipt, Status};
use ringpost_wire::{CloseReason, Command, ErrorCode, Event, MessageId, ServerId, UserId};

use crate::clients::catch_up::CatchUp;
use crate::clients::keeping::Keeping;
use crate::clients::{RECONNECT_AFTER, Surroundings, hello, message};
use crate::content;
use crate::dice::Dice;
use crate::fact::{Canary, Fact, Step, Who};
use crate::network::Link;
use crate::plant::Plant;
use crate::speech::Form;
use crate::tokens::{self, user_id};

/// Messages that wait for their answer; a device writes no more before.
const UNANSWERED_MAX: usize = 12;

/// A message is repeated if it was not answered for so long.
const REPEAT_AFTER: Duration = Duration::from_secs(3);

struct Draft {
    to: u8,
    canary: Canary,
    body: Vec<u8>,
    repeat_at: Duration,
}

/// Messages that a device may say to have read.
const SEEN_MAX: usize = 8;

/// Pings that a device says at once when it says much: more than the narrowest budget of input has.
const FLOOD: u64 = 160;

/// Answered messages that a device may send again, because it forgot the answer.
const ANSWERED_MAX: usize = 8;

/// One device of a user who behaves.
pub(crate) struct Device {
    /// Its name.
    pub(crate) who: Who,
    link: Option<Link>,
    /// Connections that it has forgotten and not closed.
    half_open: Vec<Link>,
    connect_at: Duration,
    is_welcome: bool,
    is_known: bool,
    ticket: Option<Bytes>,
    drafts: BTreeMap<MessageId, Draft>,
    answered: VecDeque<(MessageId, Draft)>,
    /// Of the present connection, by push number: what it was shown.
    keeping: Keeping,
    /// The messages shown last, on whichever connection.
    seen: VecDeque<ServerId>,
    catch_up: CatchUp,
    last_told: BTreeMap<UserId, ServerId>,
    next_message: u64,
    ids_rise: bool,
    plant: Option<Plant>,
}

impl Device {
    /// A device that has never connected.
    pub(crate) fn new(who: Who, plant: Option<Plant>, dice: &mut Dice) -> Self {
        Self {
            who,
            link: None,
            half_open: Vec::new(),
            connect_at: Duration::ZERO,
            is_welcome: false,
            is_known: false,
            ticket: None,
            drafts: BTreeMap::new(),
            answered: VecDeque::new(),
            keeping: Keeping::new(dice),
            seen: VecDeque::new(),
            catch_up: CatchUp::default(),
            last_told: BTreeMap::new(),
            next_message: 0,
            ids_rise: dice.one_in(2),
            plant,
        }
    }

    /// Whether it wants a connection now.
    pub(crate) fn wants_connection(&self, now: Duration) -> bool {
        self.link.is_none() && now >= self.connect_at
    }

    /// Whether the server has told it once that nothing waits: from then on it is a device of its
    /// user, to which messages come.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether all that it wrote was answered and all that it was pushed was acked.
    pub(crate) fn is_at_rest(&self) -> bool {
        let has_all = self.keeping.is_at_rest() && self.catch_up.is_at_rest();
        self.is_welcome && self.drafts.is_empty() && has_all
    }

    /// Signs in over a new connection. An older one is left to the server, half open.
    pub(crate) fn connect(
        &mut self,
        number: u64,
        peer: FakePeer,
        delay: Duration,
        it: &mut Surroundings<'_>,
    ) {
        if let Some(old) = self.link.take() {
            self.half_open.push(old);
        }
        self.lost(it);
        it.trace.fact(Fact::Greeted { who: self.who });
        let form = it.dice.pick(&Form::ALL);
        let mut link = Link::new(number, peer, form, delay, it.now.mono);
        let token = tokens::token(self.who);
        let credential = match &self.ticket {
            Some(ticket) => Credential::Ticket(ticket.to_vec().into()),
            None => Credential::Token(token.into()),
        };
        link.say(&hello(self.who, credential, 0), it.now.mono, it.dice);
        self.link = Some(link);
    }

    /// The server is gone, and with it every connection.
    pub(crate) fn server_died(&mut self, it: &mut Surroundings<'_>) {
        self.half_open.clear();
        if self.link.take().is_some() {
            self.lost(it);
        }
    }

    /// Its own troubles end: it reads at full speed again.
    pub(crate) fn heal(&mut self) {
        self.half_open.clear();
        self.link.iter_mut().for_each(Link::heal);
    }

    /// Hears, answers, repeats; when it is not calm it also writes and misbehaves as people do.
    pub(crate) fn step(&mut self, it: &mut Surroundings<'_>, is_calm: bool) {
        let Some(link) = &mut self.link else { return };
        let mut heard = link.pump(it.now.mono, it.dice);
        if self.plant == Some(Plant::HastyQueueEmpty) {
            heard.sort_by_key(|event| !matches!(event, Event::QueueEmpty { .. }));
        }
        for event in heard {
            let is_push = matches!(event, Event::NewMessage(_));
            if is_push && self.plant == Some(Plant::LosePush) && it.dice.one_in(20) {
                continue;
            }
            self.hear(event, it);
        }
        if self.link.as_ref().is_some_and(Link::is_over) {
            self.link = None;
            self.lost(it);
            return;
        }
        if !self.is_welcome {
            return;
        }
        if is_calm || it.dice.one_in(3) {
            self.ack(is_calm, it);
        }
        if let Some(command) = self.catch_up.step(self.who, is_calm, it)
            && let Some(link) = &mut self.link
        {
            link.say(&command, it.now.mono, it.dice);
        }
        if !is_calm {
            self.live(it);
        }
        self.repeat(it);
    }

    fn live(&mut self, it: &mut Surroundings<'_>) {
        match it.dice.below(60) {
            0..=9 => {
                for _ in 0..=it.dice.below(3) {
                    self.write(it);
                }
            }
            10 => self.read_something(it),
            11 if it.dice.one_in(4) => self.link.iter_mut().for_each(Link::reset),
            12 if it.dice.one_in(4) => self.link.iter_mut().for_each(Link::hang_up),
            13 if it.dice.one_in(4) => {
                let until = it.now.mono + Duration::from_millis(it.dice.below(3_000));
                self.link.iter_mut().for_each(|link| link.stall(until));
            }
            14 if it.dice.one_in(8) => {
                let now = it.now.mono;
                self.link.iter_mut().for_each(|link| link.trickle(now));
            }
            // A second connection beside the first.
            15 if it.dice.one_in(4) => {
                self.half_open.extend(self.link.take());
                self.lost(it);
                self.connect_at = it.now.mono;
            }
            // The application was installed anew: the ticket and what was shown are gone.
            16 if it.dice.one_in(6) => self.ticket = None,
            17 => self.say_answered(false, it),
            18 if it.dice.one_in(3) => self.say_answered(true, it),
            19 if it.dice.one_in(3) => self.flood(it),
            _ => {}
        }
    }

    /// Says much at once that is valid and asks for answers.
    fn flood(&mut self, it: &mut Surroundings<'_>) {
        let Some(link) = &mut self.link else { return };
        for nonce in 0..FLOOD {
            link.say(&Command::Ping { nonce }, it.now.mono, it.dice);
        }
        if self.plant == Some(Plant::CloseForRate) {
            self.hear(CloseReason::AssemblyTooSlow.event(), it);
        }
    }

    fn lost(&mut self, it: &mut Surroundings<'_>) {
        it.trace.fact(Fact::Left { who: self.who });
        self.is_welcome = false;
        self.catch_up.forget();
        self.keeping.forget();
        self.connect_at = it.now.mono + RECONNECT_AFTER;
        // The answers may have been under way: all is asked again.
        self.drafts.values_mut().for_each(|draft| draft.repeat_at = it.now.mono);
    }

    fn write(&mut self, it: &mut Surroundings<'_>) {
        let to = match it.newcomers {
            [] => it.dice.below(it.users.into()) as u8,
            newcomers if it.dice.one_in(3) => it.dice.pick(newcomers),
            _ => it.dice.below(it.users.into()) as u8,
        };
        if self.drafts.len() >= UNANSWERED_MAX || to == self.who.user {
            return;
        }
        let canary = *it.next_canary;
        *it.next_canary += 1;
        self.next_message += 1;
        let order = if self.ids_rise { self.next_message } else { it.dice.roll() };
        let id = MessageId((u128::from(order) << 64 | u128::from(canary)).to_be_bytes());
        let body = content::body(canary, it.dice.below(it.body_bytes_max) as usize);
        let repeat_at = it.now.mono + REPEAT_AFTER;
        self.drafts.insert(id, Draft { to, canary, body, repeat_at });
        self.say_draft(id, it);
        // People press twice.
        if it.dice.one_in(8) {
            self.say_draft(id, it);
        }
    }

    fn repeat(&mut self, it: &mut Surroundings<'_>) {
        let mut due: Vec<(Canary, MessageId)> = self
            .drafts
            .iter()
            .filter(|(_, draft)| draft.repeat_at <= it.now.mono)
            .map(|(&id, draft)| (draft.canary, id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            let draft = self.drafts.get_mut(&id).expect("listed above");
            draft.repeat_at = it.now.mono + REPEAT_AFTER;
            self.say_draft(id, it);
        }
    }

    /// Says again what was answered: as it was, or, after a bug, with another content.
    fn say_answered(&mut self, is_altered: bool, it: &mut Surroundings<'_>) {
        if self.answered.is_empty() {
            return;
        }
        let (id, draft) = &self.answered[it.dice.index(self.answered.len())];
        let (Some(link), message, who) = (&mut self.link, *id, self.who) else { return };
        if is_altered {
            it.trace.fact(Fact::Altered { who, message });
            let body = [&draft.body[..], b"!"].concat();
            return link.say(
                &self::message(message, user_id(draft.to), &body),
                it.now.mono,
                it.dice,
            );
        }
        let (to, canary, connection) = (draft.to, draft.canary, link.number);
        let content = content::hash(&draft.body);
        it.trace.fact(Fact::Asked { who, to, message, canary, content, connection });
        link.say(&self::message(message, user_id(to), &draft.body), it.now.mono, it.dice);
    }

    fn say_draft(&mut self, id: MessageId, it: &mut Surroundings<'_>) {
        let (Some(link), Some(draft)) = (&mut self.link, self.drafts.get(&id)) else { return };
        let (who, to, canary, connection) = (self.who, draft.to, draft.canary, link.number);
        let content = content::hash(&draft.body);
        it.trace.fact(Fact::Asked { who, to, message: id, canary, content, connection });
        let command = message(id, user_id(draft.to), &draft.body);
        link.say(&command, it.now.mono, it.dice);
    }

    fn ack(&mut self, is_calm: bool, it: &mut Surroundings<'_>) {
        let Some(link) = &mut self.link else { return };
        for command in self.keeping.acks(self.who, is_calm, it) {
            link.say(&command, it.now.mono, it.dice);
        }
    }

    fn read_something(&mut self, it: &mut Surroundings<'_>) {
        let Some(link) = &mut self.link else { return };
        if self.seen.is_empty() {
            return;
        }
        let id = self.seen[it.dice.index(self.seen.len())];
        it.trace.fact(Fact::Read { who: self.who, id });
        let reading =
            Reading { message: Named::Id(id), status: ClientStatus::Read, client_timestamp_ms: 5 };
        link.say(&Command::Receipt(reading), it.now.mono, it.dice);
    }

    fn hear(&mut self, event: Event, it: &mut Surroundings<'_>) {
        let who = self.who;
        match event {
            Event::Welcome(welcome) => {
                self.ticket = Some(welcome.ticket);
                self.is_welcome = true;
                let connection = self.link.as_ref().map_or(0, |link| link.number);
                it.trace.fact(Fact::SignedIn { who, connection });
            }
            Event::Receipt(receipt) if receipt.status == Status::Sent => {
                if let Some(draft) = self.drafts.remove(&receipt.message_id) {
                    self.answered.truncate(ANSWERED_MAX - 1);
                    self.answered.push_front((receipt.message_id, draft));
                }
                let to = tokens::number_of(receipt.peer);
                let (message, id) = (receipt.message_id, receipt.id);
                it.trace.fact(Fact::Sent { who, to, message, id });
            }
            Event::Receipt(receipt) => self.told(receipt, it),
            Event::NewMessage(message) => self.shown(&message, it),
            Event::Error(error) => {
                let (message, code, id) = (error.message_id, error.code.name(), error.id);
                it.trace.fact(Fact::Refused { who, message, code, id });
                if let Some(draft) = self.drafts.get_mut(&message) {
                    let wait = Duration::from_millis(error.retry_after_ms.max(20).into());
                    draft.repeat_at = it.now.mono + wait;
                }
                if error.code == ErrorCode::UnknownRecipient {
                    self.drafts.remove(&message);
                }
            }
            Event::Ping { nonce } => {
                if let Some(link) = &mut self.link {
                    link.say(&Command::Pong { nonce }, it.now.mono, it.dice);
                }
            }
            Event::Close { code, .. } => {
                it.trace.fact(Fact::Closed { who, code: code.name() });
                // A ticket may be over; a token is always at hand.
                self.ticket = None;
            }
            Event::QueueEmpty { gap } => {
                self.is_known = true;
                let number = gap.as_ref().map(|gap| gap.number);
                it.trace.fact(Fact::QueueEmpty { who, gap: number });
                self.catch_up.told(gap);
            }
            Event::GoAway { .. } | Event::Pong { .. } => {}
            other => it.trace.note(&format!("{who:?} hears {other:?}")),
        }
    }

    fn told(&mut self, receipt: Receipt, it: &mut Surroundings<'_>) {
        self.keep(receipt.push, None, it);
        let step = if receipt.status == Status::Read { Step::Read } else { Step::Delivered };
        let mut id = receipt.id;
        if let Some(older) = self.last_told.insert(receipt.peer, id)
            && self.plant == Some(Plant::CursorBack)
        {
            id = older;
            self.last_told.insert(receipt.peer, ServerId::default());
        }
        let (who, push) = (self.who, receipt.push);
        let peer = tokens::number_of(receipt.peer);
        it.trace.fact(Fact::Told { who, push, peer, step, id });
    }

    fn shown(&mut self, message: &NewMessage, it: &mut Surroundings<'_>) {
        let connection = self.link.as_ref().map_or(0, |link| link.number);
        let from = tokens::number_of(message.from)
            .map(|user| Who { user, device: message.from_device.number() });
        it.trace.fact(Fact::Shown {
            who: self.who,
            connection,
            from,
            to: tokens::number_of(message.to),
            message: message.message_id,
            id: message.id,
            push: message.push,
            canary: content::canaries(&message.body).first().copied(),
            content: content::hash(&message.body),
        });
        self.seen.truncate(SEEN_MAX - 1);
        self.seen.push_front(message.id);
        self.keep(message.push, Some(message.id), it);
    }

    fn keep(&mut self, push: u64, id: Option<ServerId>, it: &mut Surroundings<'_>) {
        self.keeping.keep(push, id);
        if self.plant == Some(Plant::AckForDevice)
            && let Some(link) = &mut self.link
        {
            link.say(&Command::Ack { push }, it.now.mono, it.dice);
        }
    }
}
