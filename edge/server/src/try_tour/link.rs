//! The two ways in which the tour's clients speak: binary frames on TCP, JSON over WebSocket.
//!
//! Owns the client's side of both, as small as the tour needs: blocking, one thread, no
//! fragments (the server sends none). Sources: PROTOCOL.md sections 2, 4 and 5; RFC 6455.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, BytesMut};
use ringpost_wire::command::Command;
use ringpost_wire::frame::{Header, PREAMBLE};
use ringpost_wire::limits::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use ringpost_wire::{CloseCode, Event, binary, json};
use uuid::Uuid;

/// How long the tour waits for anything that was promised.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Largest head of the answer to the upgrade, bytes.
const UPGRADE_HEAD_BYTES_MAX: usize = 4096;
/// The nonce of RFC 6455 section 1.3 and the answer that the section computes for it. A nonce
/// that everybody knows is good enough where no cache stands between.
const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const UPGRADE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;
const MASKED: u8 = 0x80;
/// Payload lengths that say: the length stands in the next 2, or 8, bytes.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What was heard.
pub(super) struct Heard {
    /// The event.
    pub(super) event: Event,
    /// The tag of the command that it answers, or 0.
    pub(super) tag: u16,
    /// As the transcript shows it.
    pub(super) shown: String,
}

/// A connection of a client.
pub(super) trait Link {
    /// Says a command; answers how the transcript shows it.
    fn send(&mut self, command: &Command<'_>, tag: u16) -> anyhow::Result<String>;

    /// Hears the next event.
    fn receive(&mut self) -> anyhow::Result<Heard>;
}

/// The binary protocol.
pub(super) struct BinaryLink(BufReader<TcpStream>);

impl BinaryLink {
    /// Connects and says the preamble.
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = connect(address)?;
        stream.write_all(&PREAMBLE)?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl Link for BinaryLink {
    fn send(&mut self, command: &Command<'_>, tag: u16) -> anyhow::Result<String> {
        let mut frame = BytesMut::new();
        binary::encode_command(command, tag, &mut frame);
        self.0.get_mut().write_all(&frame)?;
        let mut text = BytesMut::new();
        json::encode_command(command, tag, &mut text);
        shown_frame(frame.len(), &text)
    }

    fn receive(&mut self) -> anyhow::Result<Heard> {
        let header = Header::from_bytes(read_array::<HEADER_BYTES>(&mut self.0)?);
        let payload = read_bytes(&mut self.0, header.payload_bytes as usize)?;
        let event = binary::decode_event(header.kind, header.flags, &payload)?;
        let mut text = BytesMut::new();
        json::encode_event(&event, header.tag, &mut text);
        let shown = shown_frame(HEADER_BYTES + payload.len(), &text)?;
        Ok(Heard { event, tag: header.tag, shown })
    }
}

fn shown_frame(bytes: usize, json: &[u8]) -> anyhow::Result<String> {
    Ok(format!("[{bytes} bytes] {}", std::str::from_utf8(json)?))
}

/// `ringpost.v1.json` over WebSocket.
pub(super) struct JsonLink(BufReader<TcpStream>);

impl JsonLink {
    /// Connects and upgrades.
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = connect(address)?;
        write!(
            stream,
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {UPGRADE_KEY}\r\nSec-WebSocket-Protocol: ringpost.v1.json\r\n\r\n"
        )?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader)?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "expected an upgrade, got {head}");
        ensure!(head.contains(UPGRADE_ACCEPT), "expected {UPGRADE_ACCEPT} in {head}");
        Ok(Self(reader))
    }

    /// Writes one frame, masked as a client must.
    fn write(&mut self, head: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(payload.len() + 14);
        frame.put_u8(head);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < LENGTH_16 => frame.put_u8(MASKED | short),
            (_, Ok(medium)) => {
                frame.put_u8(MASKED | LENGTH_16);
                frame.put_u16(medium);
            }
            _ => {
                frame.put_u8(MASKED | LENGTH_64);
                frame.put_u64(payload.len() as u64);
            }
        }
        let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
        let mask = [a, b, c, d];
        frame.put_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.get_mut().write_all(&frame)
    }

    /// Reads one frame: its first byte and its payload.
    fn read(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let [head, length] = read_array(&mut self.0)?;
        let bytes = match length {
            LENGTH_16 => u64::from(u16::from_be_bytes(read_array(&mut self.0)?)),
            LENGTH_64 => u64::from_be_bytes(read_array(&mut self.0)?),
            short => u64::from(short),
        };
        Ok((head, read_bytes(&mut self.0, usize::try_from(bytes)?)?))
    }
}

impl Link for JsonLink {
    fn send(&mut self, command: &Command<'_>, tag: u16) -> anyhow::Result<String> {
        let mut text = BytesMut::new();
        json::encode_command(command, tag, &mut text);
        self.write(FINAL_TEXT, &text)?;
        Ok(std::str::from_utf8(&text)?.to_owned())
    }

    fn receive(&mut self) -> anyhow::Result<Heard> {
        loop {
            let (head, payload) = self.read()?;
            match head {
                FINAL_TEXT => {
                    let shown = String::from_utf8(payload)?;
                    let (event, tag) = json::decode_event(&shown)?;
                    return Ok(Heard { event, tag, shown });
                }
                FINAL_PING => self.write(FINAL_PING + 1, &payload)?,
                FINAL_CLOSE => {
                    let (number, reason) =
                        payload.split_first_chunk().context("a close frame without a code")?;
                    let number = u16::from_be_bytes(*number);
                    let detail = String::from_utf8(reason.to_vec())?;
                    let code = CloseCode::from_number(number)
                        .with_context(|| format!("close code {number} is not in PROTOCOL.md"))?;
                    let shown = format!("[close frame] {number} {}: {detail}", code.name());
                    let event = Event::Close { code, retry_after_ms: 0, detail: detail.into() };
                    return Ok(Heard { event, tag: 0, shown });
                }
                other => bail!("a frame that begins with {other:#04x} was not expected"),
            }
        }
    }
}

/// Connects with the tour's patience for reads and writes.
pub(super) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads the head of an HTTP answer and nothing behind it.
fn read_head(reader: &mut impl Read) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(
            head.len() < UPGRADE_HEAD_BYTES_MAX,
            "a head beyond {UPGRADE_HEAD_BYTES_MAX} bytes"
        );
        head.extend(read_array::<1>(reader)?);
    }
    Ok(String::from_utf8(head)?)
}

fn read_array<const N: usize>(reader: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

fn read_bytes(reader: &mut impl Read, count: usize) -> anyhow::Result<Vec<u8>> {
    ensure!(count <= 2 * PAYLOAD_BYTES_MAX, "{count} bytes are beyond every limit");
    let mut bytes = vec![0; count];
    reader.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

fn read_error(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow::anyhow!("nothing came within {} s", PATIENCE.as_secs())
        }
        ErrorKind::UnexpectedEof => anyhow::anyhow!("the server closed the connection"),
        _ => error.into(),
    }
}
