//! A user who lies: acks what was never pushed, reuses ids for other content, claims to be another
//! device, sends bytes without meaning. Nothing is promised to it; others must not notice it.

use std::time::Duration;

use ringpost_ring::fake::FakePeer;
use ringpost_wire::command::{ClientStatus, Credential, Named, Receipt};
use ringpost_wire::{Command, Event, MessageId, ServerId};

use crate::clients::{RECONNECT_AFTER, Surroundings, hello, message};
use crate::content;
use crate::fact::{Fact, Who};
use crate::network::Link;
use crate::speech::Form;
use crate::tokens;

/// One device of a liar.
pub(crate) struct Liar {
    /// Its true name.
    pub(crate) who: Who,
    link: Option<Link>,
    connect_at: Duration,
}

impl Liar {
    /// A liar who has never connected.
    pub(crate) fn new(who: Who) -> Self {
        Self { who, link: None, connect_at: Duration::ZERO }
    }

    /// Whether it wants a connection now.
    pub(crate) fn wants_connection(&self, now: Duration) -> bool {
        self.link.is_none() && now >= self.connect_at
    }

    /// Connects, and says who it is, or somebody else.
    pub(crate) fn connect(
        &mut self,
        number: u64,
        peer: FakePeer,
        delay: Duration,
        it: &mut Surroundings<'_>,
    ) {
        let form = it.dice.pick(&Form::ALL);
        let mut link = Link::new(number, peer, form, delay, it.now.mono);
        let token = match it.dice.below(6) {
            0 => "token-0".to_owned(),
            1 => "no token at all".to_owned(),
            2 => tokens::token(Who { device: self.who.device + 1, ..self.who }),
            _ => tokens::token(self.who),
        };
        let hello = hello(self.who, Credential::Token(token.into()), it.dice.below(3) as u32);
        link.say(&hello, it.now.mono, it.dice);
        self.link = Some(link);
    }

    /// The server is gone.
    pub(crate) fn server_died(&mut self) {
        self.link = None;
    }

    /// Lies.
    pub(crate) fn step(&mut self, it: &mut Surroundings<'_>) {
        let Some(link) = &mut self.link else { return };
        for event in link.pump(it.now.mono, it.dice) {
            if let Event::NewMessage(message) = event {
                // What it is shown must be meant for it, as for anybody.
                it.trace.fact(Fact::Shown {
                    who: self.who,
                    connection: link.number,
                    from: tokens::number_of(message.from)
                        .map(|user| Who { user, device: message.from_device.number() }),
                    to: tokens::number_of(message.to),
                    message: message.message_id,
                    id: message.id,
                    push: message.push,
                    canary: content::canaries(&message.body).first().copied(),
                    content: content::hash(&message.body),
                });
            }
        }
        if link.is_over() {
            self.link = None;
            self.connect_at = it.now.mono + RECONNECT_AFTER;
            return;
        }
        let number = it.dice.below(8);
        let to = tokens::user_id(it.dice.below(it.users.into()) as u8);
        let body = vec![b'x'; it.dice.below(600) as usize];
        let id = MessageId(u128::from(number + 1).to_be_bytes());
        let command = match it.dice.below(80) {
            0 => Command::Ack { push: it.dice.roll() },
            1 => Command::Ack { push: it.dice.below(4) },
            2..=5 => message(id, to, &body),
            6 => Command::Receipt(Receipt {
                message: Named::Id(ServerId(u128::from(it.dice.roll()).to_be_bytes())),
                status: ClientStatus::Delivered,
                client_timestamp_ms: 0,
            }),
            7 => Command::Receipt(Receipt {
                message: Named::MessageId(id),
                status: ClientStatus::Read,
                client_timestamp_ms: 0,
            }),
            8 => Command::Auth { token: "token-0-1".into() },
            9 => {
                let bytes: Vec<u8> =
                    (0..1 + it.dice.below(30)).map(|_| it.dice.roll() as u8).collect();
                return link.write(&bytes, it.now.mono, it.dice);
            }
            10 => return link.hang_up(),
            11 => Command::GapClosed { gap: it.dice.below(200) },
            _ => return,
        };
        link.say(&command, it.now.mono, it.dice);
    }
}
