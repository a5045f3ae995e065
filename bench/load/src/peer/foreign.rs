//! A server of others: a process that is started, connected to and killed. What differs between
//! them is how they are called, what they promise as they are run here, and what clients speak.

use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use super::child::{self, Child};
use super::{Peer, Promise};
use crate::dialect::Dialect;

pub(super) struct Foreign {
    name: String,
    promise: Promise,
    child: Child,
    address: SocketAddrV4,
    dialect: Rc<dyn Dialect>,
    admit: Option<Admit>,
}

/// Makes users at a server that lets in no others.
type Admit = fn(SocketAddrV4, Range<u32>) -> anyhow::Result<()>;

impl Foreign {
    /// Starts what `command` makes of an address and a folder, and waits until it listens.
    pub(super) fn start(
        name: &str,
        promise: Promise,
        dialect: impl Dialect + 'static,
        core: usize,
        command: impl FnOnce(SocketAddrV4, &Path) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        let address = child::free_address()?;
        let folder = child::folder(name)?;
        let command = command(address, &folder)?;
        let mut child = Child::start(name, &folder, core, &command)?;
        child.until(|| child::listens(address))?;
        let (name, dialect) = (name.to_owned(), Rc::new(dialect));
        Ok(Self { name, promise, child, address, dialect, admit: None })
    }

    /// The same, where users must be made first.
    pub(super) fn admitting(self, admit: Admit) -> Self {
        Self { admit: Some(admit), ..self }
    }
}

impl Peer for Foreign {
    fn name(&self) -> &str {
        &self.name
    }

    fn promise(&self) -> Promise {
        self.promise
    }

    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::clone(&self.dialect)
    }

    fn admit(&mut self, users: Range<u32>) -> anyhow::Result<()> {
        self.admit.map_or(Ok(()), |admit| admit(self.address, users))
    }
}
