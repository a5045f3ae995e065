//! One connection of the binary protocol, over a blocking socket: commands in, events out.
//!
//! Knows frames and nothing of sessions. A connection that ends is expected here; bytes that are
//! no events are not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, Event};

/// How long a read waits for the next byte: the tempo of a client's turn.
const READ_PATIENCE: Duration = Duration::from_millis(5);

/// How long a write waits for a server that takes nothing.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Why there are no more events.
#[derive(Debug)]
pub(super) enum End {
    /// The connection is gone, or was never made.
    Lost,
    /// The server broke the protocol: how.
    Broken(String),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Lost
    }
}

/// A connection.
pub(super) struct Link {
    stream: TcpStream,
    decoder: FrameDecoder,
    input: Box<[u8]>,
    output: BytesMut,
}

impl Link {
    /// Connects and puts the preamble in front of the first command.
    pub(super) fn open(address: SocketAddr) -> Result<Self, End> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_PATIENCE))?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok(Self {
            stream,
            decoder: FrameDecoder::default(),
            input: vec![0; READ_BYTES].into_boxed_slice(),
            output: BytesMut::from(&PREAMBLE[..]),
        })
    }

    /// Puts a command behind those that wait to be written.
    pub(super) fn put(&mut self, command: &Command<'_>) {
        encode_command(command, 0, &mut self.output);
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        let bytes = self.output.split();
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The events of one read; none if nothing came in time.
    pub(super) fn read(&mut self) -> Result<Vec<Event>, End> {
        let length = match self.stream.read(&mut self.input) {
            Ok(0) => return Err(End::Lost),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => return Err(End::Lost),
        };
        let mut input = &self.input[..length];
        let mut events = Vec::new();
        let broken = |error: ringpost_wire::DecodeError| End::Broken(error.to_string());
        loop {
            let step = self.decoder.decode(input, PAYLOAD_BYTES_MAX).map_err(broken)?;
            input = &input[step.consumed..];
            let Some(frame) = step.frame else { return Ok(events) };
            let header = frame.header;
            events.push(decode_event(header.kind, header.flags, frame.payload).map_err(broken)?);
        }
    }
}
