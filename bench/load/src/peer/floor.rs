//! The floor as a peer: this binary once more, as a raw relay on the ring.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::BytesMut;

use super::child::{self, Child};
use super::{Peer, Promise, Setting};
use crate::dialect::Dialect;
use crate::dialect::raw::{self, HEAD_BYTES, Raw, to};

/// Connections beside the clients': the harness asks, and those that were closed linger.
const SLOTS_SPARE: u32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Floor {
    child: Child,
    address: SocketAddrV4,
}

impl Floor {
    pub(super) fn start(setting: &Setting) -> anyhow::Result<Self> {
        let address = child::free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        let slots = setting.clients.saturating_add(SLOTS_SPARE).to_string();
        command.args(["floor", "--listen", &address.to_string(), "--slots", &slots]);
        let mut child = Child::start("floor", &child::folder("floor")?, setting.core, &command)?;
        child.until(|| child::listens(address))?;
        Ok(Self { child, address })
    }
}

impl Peer for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn promise(&self) -> Promise {
        Promise::Nothing
    }

    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::new(Raw)
    }

    fn enters(&self) -> anyhow::Result<Option<u64>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut question = BytesMut::new();
        raw::put(to::ENTERS, &[], &mut question);
        stream.write_all(&question)?;
        let mut answer = [0; HEAD_BYTES + size_of::<u64>()];
        stream.read_exact(&mut answer).context("asking the floor for its enters")?;
        let frame = raw::first(&answer).map_err(anyhow::Error::msg)?.context("a cut answer")?;
        ensure!(frame.to == to::ENTERS, "the floor answers another question");
        Ok(Some(u64::from_le_bytes(frame.content().try_into()?)))
    }
}
