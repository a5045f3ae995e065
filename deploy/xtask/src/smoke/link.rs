//! A blocking client of the binary protocol, light enough for ten thousand of them.
//!
//! What is read goes through a buffer that the caller lends, so an idle link owns no memory but
//! its decoder.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::BytesMut;
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::command::{Credential, Hello};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, DeviceId, Event};

/// Bytes read at a time.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(super) struct Link {
    stream: TcpStream,
    decoder: FrameDecoder,
    unsent: BytesMut,
}

impl Link {
    /// Connects and says hello; the answer is [`Link::welcomed`].
    pub(super) fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let unsent = BytesMut::from(&PREAMBLE[..]);
        let mut link = Self { stream, decoder: FrameDecoder::default(), unsent };
        link.put(&Command::Hello(Hello {
            credential: Credential::Token(Cow::Borrowed(token)),
            device: device(),
            window_pushes: 0,
            window_bytes: 0,
            intents: 0,
        }));
        link.flush()?;
        Ok(link)
    }

    /// Waits until the session stands and its queue, which must be empty, was pushed.
    pub(super) fn welcomed(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let (mut welcome, mut live) = (false, false);
        while !live {
            self.read(buffer, |event| match event {
                Event::Welcome(_) => {
                    welcome = true;
                    Ok(())
                }
                Event::QueueEmpty { gap: false, .. } => {
                    live = true;
                    Ok(())
                }
                other => bail!("expected to be welcomed, got {other:?}"),
            })?;
        }
        ensure!(welcome, "queue_empty came before welcome");
        // An idle link keeps nothing.
        self.unsent = BytesMut::new();
        Ok(())
    }

    /// Adds a command to what the next flush writes.
    pub(super) fn put(&mut self, command: &Command<'_>) {
        encode_command(command, 0, &mut self.unsent);
    }

    /// Writes all that was put, in one write.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// Reads once, waiting for at least a byte, and hands out what is whole.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        mut handle: impl FnMut(Event) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("nothing came within {} s", PATIENCE.as_secs())
            }
            Err(error) => return Err(error.into()),
        };
        let mut input = &buffer[..count];
        loop {
            let step = self.decoder.decode(input, PAYLOAD_BYTES_MAX)?;
            input = &input[step.consumed..];
            let Some(frame) = step.frame else { return Ok(()) };
            handle(decode_event(frame.header.kind, frame.header.flags, frame.payload)?)?;
        }
    }
}

/// Every user of a run has this one device.
pub(super) fn device() -> DeviceId {
    DeviceId::new(1).expect("1 is a device number")
}

/// Signs one device of each user in. Few at a time: those who have not proved who they are are
/// limited by address.
pub(super) fn sign_in(address: SocketAddr, tokens: &[String]) -> anyhow::Result<Vec<Link>> {
    const AT_A_TIME: usize = 64;
    let mut buffer = vec![0; READ_BYTES];
    let mut links = Vec::with_capacity(tokens.len());
    for some in tokens.chunks(AT_A_TIME) {
        let mut opened = some
            .iter()
            .map(|token| Link::open(address, token))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for link in &mut opened {
            link.welcomed(&mut buffer)?;
        }
        links.append(&mut opened);
    }
    Ok(links)
}
